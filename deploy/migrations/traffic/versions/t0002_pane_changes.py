"""At which position of the record a pane changed last.

Panes of before get 0, which is before every position: no window that was judged takes them for changed until a row comes.
"""

import sqlalchemy as sa
from alembic import op

revision = "t0002"
down_revision = "t0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("panes", sa.Column("changed", sa.Integer, nullable=False, server_default="0"))
    op.create_index("panes_by_change", "panes", ["workload", "pane_start", "changed"])


def downgrade() -> None:
    op.drop_index("panes_by_change", "panes")
    op.drop_column("panes", "changed")
