"""Ids of corrections are unique within their workload and source: a source is only a claim. Rows of before keep their id."""

from alembic import op

revision = "l0012"
down_revision = "l0011"
branch_labels = None
depends_on = None
minimum_version = "0.2.0"


def upgrade() -> None:
    for table in ("submissions", "corrections"):
        op.drop_index(f"{table}_by_given_id", table)
        op.create_index(f"{table}_by_given_id", table, ["given_id", "source", "workload"], unique=True)
    # Counts and the newest page are read from these alone.
    op.drop_index("corrections_by_state", "corrections")
    op.create_index("corrections_by_state", "corrections", ["workload", "state", "decided_at", "id", "held_out"])
    op.create_index("corrections_by_time", "corrections", ["workload", "decided_at", "id"])


def downgrade() -> None:
    raise NotImplementedError("restore the backup from before the upgrade")
