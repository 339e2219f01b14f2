"""The data keys of subjects: sealed in the ledger, one for each subject. Without its key a subject's content is erased.

In: subjects, as keyed digests. Out: their data keys. A subject's name is not stored here, and no content either.
"""

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, Engine, Integer, LargeBinary, String, Table, select
from sqlalchemy.dialects.sqlite import insert

from flywheel.errors import CannotRun
from flywheel.ids import WorkloadId
from services.stores.database import IDS_A_QUERY, metadata, reading, to_text, writing
from services.stores.sealing import KEY_BYTES, DataKey, SealBroken, SealingKey, sealing_key

subject_keys = Table(
    "subject_keys",
    metadata,
    Column("id", Integer, primary_key=True),  # never used again: a subject that comes back after its erasure gets another
    Column("subject", LargeBinary, nullable=False, unique=True),  # keyed digest of workload, field and value
    Column("workload", String, nullable=False),
    Column("sealed_key", LargeBinary, nullable=False),
    Column("created_at", String, nullable=False),
    sqlite_autoincrement=True,
)


@dataclass(frozen=True, kw_only=True)
class SubjectKey:
    """A subject's data key, and the number under which sealed content names it."""

    id: int
    key: DataKey


class LedgerSubjectKeys:
    """Data keys on SQL. None is kept in memory: a key that another process destroys opens nothing more."""

    def __init__(self, engine: Engine, sealing: SealingKey) -> None:
        self._engine, self._sealing = engine, sealing

    def digest(self, workload: WorkloadId, subject: tuple[str, str]) -> bytes:
        """What stands for a subject in the ledger: it cannot be guessed without the sealing key."""
        return self._sealing.digest(workload, *subject)

    def held(self, ids: Collection[int]) -> dict[int, DataKey | None]:
        """Those of the keys that are there. None: it was not sealed by our sealing key, or was changed."""
        with reading(self._engine) as connection:
            return {row.id: self._opened(row) for row in _rows(connection, subject_keys.c.id, sorted(ids))}

    def ensured(self, subjects: Mapping[bytes, WorkloadId], *, at: datetime) -> dict[bytes, SubjectKey]:
        """The key of each subject; made where there is none. Processes that make one at once get the same.

        Raises CannotRun for a key that cannot be opened.
        """
        with reading(self._engine) as connection:
            found = _rows(connection, subject_keys.c.subject, sorted(subjects))
        if missing := sorted(subjects.keys() - {row.subject for row in found}):
            made = [self._new(subject, subjects[subject], at) for subject in missing]
            with writing(self._engine) as connection:
                connection.execute(insert(subject_keys).on_conflict_do_nothing(index_elements=["subject"]), made)
                found += _rows(connection, subject_keys.c.subject, missing)
        return {row.subject: SubjectKey(id=row.id, key=self._usable(row)) for row in found}

    def _new(self, subject: bytes, workload: WorkloadId, at: datetime) -> dict[str, object]:
        sealed = self._sealing.seal(os.urandom(KEY_BYTES), bound_to=subject)
        return {"subject": subject, "workload": workload, "sealed_key": sealed, "created_at": to_text(at)}

    def _opened(self, row: Any) -> DataKey | None:
        try:
            return DataKey(self._sealing.open(row.sealed_key, bound_to=row.subject))
        except SealBroken:
            return None

    def _usable(self, row: Any) -> DataKey:
        key = self._opened(row)
        if key is None:
            raise CannotRun(
                "the subject's key cannot be opened with the sealing key",
                where=f"ledger: subject_keys, {self._sealing.file}",
                value=row.id,
                remedy="Restore the ledger from its backup. Deleting this key erases what it sealed.",
            )
        return key


def open_subject_keys(engine: Engine, *, data_dir: Path, configured: Path | None) -> LedgerSubjectKeys:
    """Raises CannotRun for a sealing key that cannot be used, or is another than the one that sealed the keys in this ledger."""
    with reading(engine) as connection:
        one = connection.execute(select(subject_keys).limit(1)).first()
    sealing = sealing_key(data_dir, configured=configured, in_use=one is not None)
    if one is not None:
        try:
            sealing.open(one.sealed_key, bound_to=one.subject)
        except SealBroken:
            raise CannotRun(
                "is not the sealing key that the ledger's keys were sealed with",
                where=str(sealing.file),
                remedy="Put back the file that was used before; recorded content cannot be read without it.",
            ) from None
    return LedgerSubjectKeys(engine, sealing)


def _rows(connection: Connection, column: ColumnElement[Any], values: Sequence[object]) -> list[Any]:
    parts = (values[at : at + IDS_A_QUERY] for at in range(0, len(values), IDS_A_QUERY))
    wanted = select(subject_keys.c.id, subject_keys.c.subject, subject_keys.c.sealed_key)
    return [row for part in parts for row in connection.execute(wanted.where(column.in_(part)))]
