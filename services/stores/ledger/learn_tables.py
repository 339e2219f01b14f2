"""Tables of the learning part of the ledger; the migration l0003 makes exactly these."""

from sqlalchemy import Boolean, Column, Index, Integer, PrimaryKeyConstraint, String, Table, UniqueConstraint, text

from services.stores.database import metadata

submission_table = Table(
    "submissions",
    metadata,
    Column("id", String, primary_key=True),
    Column("workload", String, nullable=False, index=True),
    Column("source", String, nullable=False),
    Column("submitted_by", String, nullable=False),
    Column("body_digest", String, nullable=False),
    Column("at", String, nullable=False),
    Column("repeats", Integer, nullable=False),  # how often the same body came again
)
turned_away_table = Table(
    "submissions_turned_away",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("kind", String, nullable=False),  # "rejected" or "forged"
    Column("reason", String, nullable=False),
    Column("source", String, nullable=False),
    Column("at", String, nullable=False),
)
correction_table = Table(
    "corrections",
    metadata,
    Column("id", String, primary_key=True),
    Column("workload", String, nullable=False),
    Column("state", String, nullable=False),
    Column("reason", String, nullable=False),
    Column("decided_at", String, nullable=False),
    Column("entity", String, nullable=False),
    Column("held_out", Boolean, nullable=False),
    Column("prompt_key", String, nullable=False),
    Column("answer_key", String, nullable=False),
    Column("body", String, nullable=False),
    Index("corrections_by_state", "workload", "state"),
    # Two accepted fixes of one prompt are a duplicate or a contradiction: the database itself lets only one in.
    Index(
        "corrections_one_per_prompt", "workload", "prompt_key", unique=True, sqlite_where=text("state = 'accepted' AND prompt_key <> ''")
    ),
)
case_table = Table(
    "cases",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("id", String, nullable=False, unique=True),
    Column("workload", String, nullable=False),
    Column("tier", String, nullable=False),
    Column("body", String, nullable=False),
    Index("cases_by_tier", "workload", "tier"),
)
general_table = Table(
    "general_examples",
    metadata,
    Column("workload", String, nullable=False),
    Column("id", String, nullable=False),
    Column("body", String, nullable=False),
    PrimaryKeyConstraint("workload", "id"),
)
golden_table = Table(
    "golden_sets",
    metadata,
    Column("workload", String, nullable=False),
    Column("version", Integer, nullable=False),
    Column("id", String, nullable=False),
    Column("frozen_by", String, nullable=False),
    Column("frozen_at", String, nullable=False),
    Column("body", String, nullable=False),
    PrimaryKeyConstraint("workload", "version"),
)
snapshot_table = Table(
    "snapshots",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("id", String, nullable=False),
    Column("workload", String, nullable=False, index=True),
    Column("cut_off", String, nullable=False),
    Column("counts", String, nullable=False),
    Column("warnings", String, nullable=False),
    Column("audit", String, nullable=False),
    Column("path", String, nullable=False),
    UniqueConstraint("id"),
)
