"""The data keys of subjects, sealed."""

import sqlalchemy as sa
from alembic import op

revision = "l0009"
down_revision = "l0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "subject_keys",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("subject", sa.LargeBinary, nullable=False, unique=True),
        sa.Column("workload", sa.String, nullable=False),
        sa.Column("sealed_key", sa.LargeBinary, nullable=False),
        sa.Column("created_at", sa.String, nullable=False),
        sqlite_autoincrement=True,
    )


def downgrade() -> None:
    op.drop_table("subject_keys")
