"""Whose error each attempt was.

Rows of before have none: it is derived from their status.
"""

import sqlalchemy as sa
from alembic import op

revision = "t0004"
down_revision = "t0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("inferences", sa.Column("outcome", sa.String))


def downgrade() -> None:
    op.drop_column("inferences", "outcome")
