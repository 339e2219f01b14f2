"""Submissions, corrections, cases, golden sets, snapshots."""

import sqlalchemy as sa
from alembic import op

revision = "l0003"
down_revision = "l0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "submissions",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("workload", sa.String, nullable=False, index=True),
        sa.Column("source", sa.String, nullable=False),
        sa.Column("submitted_by", sa.String, nullable=False),
        sa.Column("body_digest", sa.String, nullable=False),
        sa.Column("at", sa.String, nullable=False),
        sa.Column("repeats", sa.Integer, nullable=False),
    )
    op.create_table(
        "submissions_turned_away",
        sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("reason", sa.String, nullable=False),
        sa.Column("source", sa.String, nullable=False),
        sa.Column("at", sa.String, nullable=False),
    )
    op.create_table(
        "corrections",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("workload", sa.String, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("reason", sa.String, nullable=False),
        sa.Column("decided_at", sa.String, nullable=False),
        sa.Column("entity", sa.String, nullable=False),
        sa.Column("held_out", sa.Boolean, nullable=False),
        sa.Column("prompt_key", sa.String, nullable=False),
        sa.Column("answer_key", sa.String, nullable=False),
        sa.Column("body", sa.String, nullable=False),
    )
    op.create_index("corrections_by_state", "corrections", ["workload", "state"])
    op.create_index(
        "corrections_one_per_prompt",
        "corrections",
        ["workload", "prompt_key"],
        unique=True,
        sqlite_where=sa.text("state = 'accepted' AND prompt_key <> ''"),
    )
    op.create_table(
        "cases",
        sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("id", sa.String, nullable=False, unique=True),
        sa.Column("workload", sa.String, nullable=False),
        sa.Column("tier", sa.String, nullable=False),
        sa.Column("body", sa.String, nullable=False),
    )
    op.create_index("cases_by_tier", "cases", ["workload", "tier"])
    op.create_table(
        "general_examples",
        sa.Column("workload", sa.String, nullable=False),
        sa.Column("id", sa.String, nullable=False),
        sa.Column("body", sa.String, nullable=False),
        sa.PrimaryKeyConstraint("workload", "id"),
    )
    op.create_table(
        "golden_sets",
        sa.Column("workload", sa.String, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("id", sa.String, nullable=False),
        sa.Column("frozen_by", sa.String, nullable=False),
        sa.Column("frozen_at", sa.String, nullable=False),
        sa.Column("body", sa.String, nullable=False),
        sa.PrimaryKeyConstraint("workload", "version"),
    )
    op.create_table(
        "snapshots",
        sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("id", sa.String, nullable=False),
        sa.Column("workload", sa.String, nullable=False, index=True),
        sa.Column("cut_off", sa.String, nullable=False),
        sa.Column("counts", sa.String, nullable=False),
        sa.Column("warnings", sa.String, nullable=False),
        sa.Column("audit", sa.String, nullable=False),
        sa.Column("path", sa.String, nullable=False),
        sa.UniqueConstraint("id"),
    )


def downgrade() -> None:
    for table in ("snapshots", "golden_sets", "general_examples", "cases", "corrections", "submissions_turned_away", "submissions"):
        op.drop_table(table)
