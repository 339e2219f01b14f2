"""References, judged windows, alerts, notices."""

import sqlalchemy as sa
from alembic import op

revision = "l0002"
down_revision = "l0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "drift_reference",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("workload", sa.String, nullable=False, index=True),
        sa.Column("adapter", sa.String, nullable=False),
        sa.Column("start", sa.String, nullable=False),
        sa.Column("end", sa.String, nullable=False),
        sa.Column("maturity", sa.String, nullable=False),
        sa.Column("pinned_by", sa.String, nullable=False),
        sa.Column("pinned_at", sa.String, nullable=False),
        sa.Column("counts", sa.String, nullable=False),
        sa.Column("meta", sa.String, nullable=False),
    )
    op.create_table(
        "drift_window",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("workload", sa.String, nullable=False, index=True),
        sa.Column("start", sa.String, nullable=False),
        sa.Column("end", sa.String, nullable=False),
        sa.Column("reference", sa.String, nullable=False),
        sa.Column("traffic", sa.String, nullable=False),
        sa.Column("verdicts", sa.String, nullable=False),
        sa.Column("second_opinions", sa.String, nullable=False),
    )
    op.create_table(
        "alert",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("workload", sa.String, nullable=False, index=True),
        sa.Column("fingerprint", sa.String, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("started_at", sa.String, nullable=False),
        sa.Column("body", sa.String, nullable=False),
    )
    op.create_table(
        "alert_notice",
        sa.Column("alert", sa.String, primary_key=True),
        sa.Column("kind", sa.String, primary_key=True),
        sa.Column("at", sa.String, nullable=False),
        sa.Column("detail", sa.String, nullable=False),
    )


def downgrade() -> None:
    for table in ("alert_notice", "alert", "drift_window", "drift_reference"):
        op.drop_table(table)
