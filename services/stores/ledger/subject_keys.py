"""The data keys of subjects: sealed in the ledger, one for each subject. Without its key a subject's content is erased.

In: subjects, as keyed digests. Out: their data keys. A subject's name is not stored here, and no content either.
"""

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Column, Connection, Engine, Index, Integer, LargeBinary, Row, String, Table, select, update
from sqlalchemy.dialects.sqlite import insert

from flywheel.errors import CannotRun, FlywheelError
from flywheel.ids import WorkloadId
from services.stores.database import IDS_A_QUERY, metadata, reading, rows_with, to_text, writing
from services.stores.sealing import KEY_BYTES, DataKey, SealBroken, SealingKey, sealing_key

KEYS_TO_TRY = 50  # at the start; one damaged key among them says nothing of the sealing key
subject_keys = Table(
    "subject_keys",
    metadata,
    Column("id", Integer, primary_key=True),  # never used again: a subject that comes back after its erasure gets another
    Column("subject", LargeBinary, nullable=False, unique=True),  # keyed digest of workload, field and value
    Column("workload", String, nullable=False),
    Column("sealed_key", LargeBinary, nullable=False),
    Column("created_at", String, nullable=False),
    Column("used_at", String, nullable=False, server_default=""),  # the first use of the last day; "" of a version that did not write it
    Index("subject_keys_by_use", "workload", "used_at"),
    sqlite_autoincrement=True,
)
USED_WITHIN = timedelta(days=1, hours=1)
"""A key may have sealed content up to so long after ``used_at``: it is written once a day."""


@dataclass(frozen=True, kw_only=True)
class SubjectKey:
    """A subject's data key, and the number under which sealed content names it."""

    id: int
    key: DataKey


class UnusableKey(FlywheelError):
    """One subject's key was changed: what it sealed cannot be read, and nothing more can be sealed for this subject."""


class LedgerSubjectKeys:
    """Data keys on SQL. None is kept in memory: a key that another process destroys opens nothing more."""

    def __init__(self, engine: Engine, sealing: SealingKey) -> None:
        self._engine, self.sealing = engine, sealing

    def digest(self, workload: WorkloadId, subject: tuple[str, str]) -> bytes:
        """What stands for a subject in the ledger: it cannot be guessed without the sealing key."""
        return self.sealing.digest(workload, *subject)

    def in_use(self) -> bool:
        """Whether some content was recorded and is not erased."""
        with reading(self._engine) as connection:
            return connection.execute(select(subject_keys.c.id).limit(1)).first() is not None

    def held(self, ids: Collection[int]) -> dict[int, DataKey | None]:
        """Those of the keys that are there. None: it was not sealed by our sealing key, or was changed."""
        with reading(self._engine) as connection:
            return {row.id: self._opened(row) for row in _rows(connection, "id", sorted(ids))}

    def ensured(self, subjects: Mapping[bytes, WorkloadId], *, at: datetime) -> dict[bytes, SubjectKey | UnusableKey]:
        """The key of each subject, or why it cannot be used; made where there is none. Processes that make one at once get the same."""
        with reading(self._engine) as connection:
            found = _rows(connection, "subject", sorted(subjects))
        missing = sorted(subjects.keys() - {row.subject for row in found})
        not_today = [row.id for row in found if row.used_at[:10] < to_text(at)[:10]]
        if missing or not_today:
            made = [self._new(subject, subjects[subject], at) for subject in missing]
            with writing(self._engine) as connection:
                if made:
                    connection.execute(insert(subject_keys).on_conflict_do_nothing(index_elements=["subject"]), made)
                    found += _rows(connection, "subject", missing)
                if _use(connection, not_today, at=at) < len(not_today):
                    found = []
        if subjects and not found:  # a key was deleted after it was read, because it had not been used for long: a new one is made
            return self.ensured(subjects, at=at)
        return {row.subject: self._usable(row) for row in found}

    def opens(self, row: Any) -> bool:
        """Whether our sealing key opens this row of the table."""
        return self._opened(row) is not None

    def _new(self, subject: bytes, workload: WorkloadId, at: datetime) -> dict[str, object]:
        sealed = self.sealing.seal(os.urandom(KEY_BYTES), bound_to=subject)
        return {"subject": subject, "workload": workload, "sealed_key": sealed, "created_at": to_text(at), "used_at": to_text(at)}

    def _opened(self, row: Any) -> DataKey | None:
        try:
            return DataKey(self.sealing.open(row.sealed_key, bound_to=row.subject))
        except (SealBroken, ValueError, TypeError):  # the last two: what was sealed is no key
            return None

    def _usable(self, row: Any) -> SubjectKey | UnusableKey:
        if (key := self._opened(row)) is not None:
            return SubjectKey(id=row.id, key=key)
        return UnusableKey(
            "the key of this exchange's subject cannot be opened with the sealing key",
            where=f"ledger: subject_keys, id {row.id}",
            remedy="Restore the row from a backup of the ledger, or delete it, which erases what it sealed.",
        )


def open_subject_keys(engine: Engine, *, data_dir: Path, configured: Path | None) -> LedgerSubjectKeys:
    """Raises CannotRun for a sealing key that cannot be used, or that opens none of the ledger's newest keys: it is another one then."""
    with reading(engine) as connection:
        newest = list(connection.execute(select(subject_keys).order_by(subject_keys.c.id.desc()).limit(KEYS_TO_TRY)))
    sealing = sealing_key(data_dir, configured=configured, in_use=bool(newest))
    keys = LedgerSubjectKeys(engine, sealing)
    if newest and not any(keys.opens(row) for row in newest):
        raise CannotRun(
            "is not the sealing key that the ledger's keys were sealed with",
            where=str(sealing.file),
            remedy="Put back the file that was used before; recorded content cannot be read without it.",
        )
    return keys


def _use(connection: Connection, ids: Sequence[int], *, at: datetime) -> int:
    """How many of them are there."""
    there = 0
    for start in range(0, len(ids), IDS_A_QUERY):
        part = subject_keys.c.id.in_(ids[start : start + IDS_A_QUERY])
        there += connection.execute(update(subject_keys).where(part).values(used_at=to_text(at))).rowcount
    return there


def _rows(connection: Connection, column: str, values: Sequence[object]) -> list[Row[tuple[Any, ...]]]:
    return rows_with(connection, subject_keys, column=column, values=values, wanted=["id", "subject", "sealed_key", "used_at"])
