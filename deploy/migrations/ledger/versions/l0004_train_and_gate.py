"""Runs, adapters, gates and the answers gates were decided on."""

import sqlalchemy as sa
from alembic import op

revision = "l0004"
down_revision = "l0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "runs",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("workload", sa.String, nullable=False, index=True),
        sa.Column("adapter", sa.String, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("requested_at", sa.String, nullable=False),
        sa.Column("body", sa.String, nullable=False),
    )
    op.create_table(
        "adapters",
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("workload", sa.String, nullable=False, index=True),
        sa.Column("run", sa.String, nullable=False),
        sa.Column("path", sa.String, nullable=False),
        sa.Column("digest", sa.String, nullable=False),
        sa.Column("base_digest", sa.String, nullable=False),
        sa.Column("made_at", sa.String, nullable=False),
    )
    op.create_table(
        "gates",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("workload", sa.String, nullable=False, index=True),
        sa.Column("adapter", sa.String, nullable=False),
        sa.Column("champion", sa.String, nullable=False),
        sa.Column("golden_version", sa.Integer, nullable=False),
        sa.Column("verdict", sa.String, nullable=False),
        sa.Column("at", sa.String, nullable=False),
        sa.Column("decision", sa.String, nullable=False),
    )
    op.create_table(
        "gate_answers",
        sa.Column("key", sa.String, primary_key=True),
        sa.Column("answer", sa.String, nullable=False),
    )


def downgrade() -> None:
    for table in ("gate_answers", "gates", "adapters", "runs"):
        op.drop_table(table)
