"""Dead letters get a cause, a state and sealed content.

Letters of before keep their content in ``raw`` until the recorder seals it at its start. Older code goes on writing there.
"""

import sqlalchemy as sa
from alembic import op

revision = "t0006"
down_revision = "t0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("dead_letters", sa.Column("cause", sa.String, nullable=False, server_default="unreadable"))
    op.add_column("dead_letters", sa.Column("state", sa.String, nullable=False, server_default="waiting"))
    op.add_column("dead_letters", sa.Column("size", sa.Integer, nullable=False, server_default="0"))
    op.add_column("dead_letters", sa.Column("sealed", sa.LargeBinary))
    op.execute("UPDATE dead_letters SET size = length(raw)")
    op.create_index("dead_letters_by_time", "dead_letters", ["at", "size"], sqlite_where=sa.text("sealed IS NOT NULL"))
    op.create_index("dead_letters_retried", "dead_letters", ["id"], sqlite_where=sa.text("state = 'retried'"))


def downgrade() -> None:
    raise NotImplementedError("restore the backup from before the upgrade")
