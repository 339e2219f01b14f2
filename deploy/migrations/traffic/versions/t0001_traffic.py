"""Rows, seen ids, panes, counts, positions, dead letters."""

import sqlalchemy as sa
from alembic import op

revision = "t0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "inferences",
        sa.Column("event_id", sa.String, primary_key=True),
        sa.Column("request_id", sa.String, nullable=False),
        sa.Column("workload", sa.String, nullable=False),
        sa.Column("adapter", sa.String, nullable=False),
        sa.Column("arm", sa.String, nullable=False),
        sa.Column("session", sa.String, nullable=False),
        sa.Column("client", sa.String, nullable=False),
        sa.Column("occurred_at", sa.String, nullable=False),
        sa.Column("messages", sa.String, nullable=False),
        sa.Column("answer", sa.String),
        sa.Column("finish_reason", sa.String),
        sa.Column("status", sa.Integer, nullable=False),
        sa.Column("error", sa.String),
        sa.Column("latency_ms", sa.Float, nullable=False),
        sa.Column("prompt_tokens", sa.Integer),
        sa.Column("answer_tokens", sa.Integer),
        sa.Column("dimensions", sa.String, nullable=False),
        sa.Column("truncated", sa.Integer, nullable=False),
        sa.Column("route_version", sa.Integer, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("features", sa.String, nullable=False),
        sa.Column("sample_rank", sa.Integer, nullable=False),
        sa.Column("recorded_at", sa.String, nullable=False),
    )
    op.create_index("inferences_by_time", "inferences", ["workload", "occurred_at"])
    op.create_index("inferences_by_request", "inferences", ["request_id"])
    op.create_table(
        "seen_ids",
        sa.Column("event_id", sa.String, primary_key=True),
        sa.Column("at", sa.String, nullable=False),
    )
    op.create_table(
        "panes",
        sa.Column("workload", sa.String, primary_key=True),
        sa.Column("pane_start", sa.String, primary_key=True),
        sa.Column("topic", sa.String, primary_key=True),
        sa.Column("partition", sa.Integer, primary_key=True),
        sa.Column("counts", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "traffic_counts",
        sa.Column("workload", sa.String, primary_key=True),
        sa.Column("recorded", sa.Integer, nullable=False),
        sa.Column("duplicates_ignored", sa.Integer, nullable=False),
        sa.Column("dead_lettered", sa.Integer, nullable=False),
        sa.Column("newest", sa.String),
    )
    op.create_table(
        "positions",
        sa.Column("log", sa.String, primary_key=True),
        sa.Column("topic", sa.String, primary_key=True),
        sa.Column("partition", sa.Integer, primary_key=True),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("next_offset", sa.Integer, nullable=False),
    )
    op.create_table(
        "dead_letters",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("event_id", sa.String, nullable=False, index=True),
        sa.Column("workload", sa.String, nullable=False),
        sa.Column("topic", sa.String, nullable=False),
        sa.Column("partition", sa.Integer, nullable=False),
        sa.Column("offset", sa.Integer, nullable=False),
        sa.Column("reason", sa.String, nullable=False),
        sa.Column("path", sa.String, nullable=False),
        sa.Column("at", sa.String, nullable=False),
        sa.Column("raw", sa.LargeBinary, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
    )


def downgrade() -> None:
    for table in ("dead_letters", "positions", "traffic_counts", "panes", "seen_ids", "inferences"):
        op.drop_table(table)
