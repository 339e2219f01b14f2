"""General rows and snapshots in the ledger. A snapshot's examples are in its file; the ledger has counts and path."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Column, Engine, Integer, PrimaryKeyConstraint, String, Table, UniqueConstraint, select
from sqlalchemy.dialects.sqlite import insert

from flywheel.ids import SnapshotId, WorkloadId
from flywheel.journal import JournalEntry
from flywheel.training_set.example import Example
from flywheel.training_set.snapshot import Snapshot, example_of, line
from services.stores.database import metadata, reading, to_json, to_moment, to_text, writing
from services.stores.ledger.journal import append_entries
from services.stores.snapshot_files import read_examples

general_table = Table(
    "general_examples",
    metadata,
    Column("workload", String, nullable=False),
    Column("id", String, nullable=False),
    Column("body", String, nullable=False),
    PrimaryKeyConstraint("workload", "id"),
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


class LedgerTrainingSets:
    """TrainingSetLedger on SQL."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def general_examples(self, workload: WorkloadId) -> Sequence[Example]:
        query = select(general_table).where(general_table.c.workload == workload).order_by(general_table.c.id)
        with reading(self._engine) as connection:
            return [example_of(row.body) for row in connection.execute(query)]

    def add_general_examples(self, workload: WorkloadId, examples: Sequence[Example], entry: JournalEntry) -> None:
        with writing(self._engine) as connection:
            for example in examples:
                connection.execute(
                    insert(general_table).values(workload=workload, id=example.id, body=line(example)).on_conflict_do_nothing()
                )
            append_entries(connection, entry)

    def keep_snapshot(self, snapshot: Snapshot, *, path: str, entry: JournalEntry) -> None:
        with writing(self._engine) as connection:
            done = connection.execute(
                insert(snapshot_table).values(**snapshot_values(snapshot, path=path)).on_conflict_do_nothing(index_elements=["id"])
            )
            if done.rowcount == 1:  # the same rows again are the same snapshot, and it was built once
                append_entries(connection, entry)

    def snapshot(self, snapshot_id: SnapshotId) -> tuple[Snapshot, str] | None:
        with reading(self._engine) as connection:
            row = connection.execute(select(snapshot_table).where(snapshot_table.c.id == snapshot_id)).first()
        if row is None:
            return None
        examples = read_examples(Path(row.path), snapshot_id=SnapshotId(row.id), workload=WorkloadId(row.workload))
        return snapshot_from(row, examples=tuple(examples)), str(row.path)

    def snapshots(self, workload: WorkloadId) -> Sequence[Snapshot]:
        query = select(snapshot_table).where(snapshot_table.c.workload == workload).order_by(snapshot_table.c.seq.desc())
        with reading(self._engine) as connection:
            return [snapshot_from(row, examples=()) for row in connection.execute(query)]


def snapshot_values(snapshot: Snapshot, *, path: str) -> dict[str, Any]:
    """Columns of ``snapshots``, without the examples, which are in the file."""
    return {
        "id": snapshot.id,
        "workload": snapshot.workload,
        "cut_off": to_text(snapshot.cut_off),
        "counts": to_json(dict(snapshot.counts)),
        "warnings": to_json(list(snapshot.warnings)),
        "audit": snapshot.audit,
        "path": path,
    }


def snapshot_from(row: Any, *, examples: tuple[Example, ...]) -> Snapshot:
    """The inverse of ``snapshot_values``."""
    return Snapshot(
        id=SnapshotId(row.id),
        workload=WorkloadId(row.workload),
        cut_off=to_moment(row.cut_off),
        examples=examples,
        counts=json.loads(row.counts),
        warnings=tuple(json.loads(row.warnings)),
        audit=row.audit,
    )
