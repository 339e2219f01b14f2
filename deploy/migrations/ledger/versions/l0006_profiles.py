"""What a reference held at each hour of the day, on weekdays and on weekends."""

import sqlalchemy as sa
from alembic import op

revision = "l0006"
down_revision = "l0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "drift_profile",
        sa.Column("reference", sa.String, primary_key=True),
        sa.Column("weekend", sa.Integer, primary_key=True),
        sa.Column("hour", sa.Integer, primary_key=True),
        sa.Column("counts", sa.LargeBinary, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("drift_profile")
