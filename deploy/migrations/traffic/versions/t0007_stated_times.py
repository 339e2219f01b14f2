"""The gateway's own time of an event that lay in the future when it was recorded.

Rows of before have none: such events were dead letters.
"""

import sqlalchemy as sa
from alembic import op

revision = "t0007"
down_revision = "t0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("inferences", sa.Column("stated_at", sa.String))


def downgrade() -> None:
    op.drop_column("inferences", "stated_at")
