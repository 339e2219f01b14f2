"""Deletes old records from ledger.db: judged windows, work that is done, data keys without content, messages that were refused.

In: a kind, a workload, a period, how many at most. Out: how many were deleted. The journal is never shortened: the database refuses it.
"""

from collections.abc import Collection
from datetime import timedelta

from sqlalchemy import ColumnElement, Engine, Table, and_, delete, func, select

from flywheel.ids import WorkloadId
from flywheel.retention import OldPeriod, RecordKind
from services.stores.database import newest_row, reading, row_number, to_text, writing
from services.stores.free_pages import give_pages_back
from services.stores.ledger.corrections import turned_away_table
from services.stores.ledger.drift import window_table
from services.stores.ledger.judgements import judgement_table
from services.stores.ledger.outbox import NEVER_AGAIN, outbox_table
from services.stores.ledger.subject_keys import USED_WITHIN, subject_keys
from services.stores.ledger.work_queue import work_table

OF_NONE = WorkloadId("")


class OldLedger:
    """OldRecords on the ledger. For one thread at a time."""

    kinds = frozenset({RecordKind.KEYS, RecordKind.EVIDENCE, RecordKind.WORK, RecordKind.DEAD_LETTERS})

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def workloads(self) -> Collection[WorkloadId]:
        with reading(self._engine) as connection:
            known = connection.execute(select(window_table.c.workload).union(select(work_table.c.workload))).scalars()
            return {WorkloadId(name) for name in known} | {OF_NONE}

    def delete_some(self, kind: RecordKind, workload: WorkloadId | None, period: OldPeriod, *, at_most: int) -> int:
        assert workload is not None
        match kind:
            case RecordKind.KEYS:
                return self._delete_keys(workload, period, at_most)
            case RecordKind.EVIDENCE:
                return self._delete_windows(workload, period, at_most)
            case RecordKind.WORK:
                ended = work_table.c.state.in_(("done", "failed"))
                return self._delete(work_table, and_(ended, _of(work_table, workload, "lease_until", period)), at_most)
            case _:
                return self._delete_refused(period, at_most) if workload == OF_NONE else 0

    def start_anew(self) -> None:
        """Nothing is remembered."""

    def give_back(self) -> bool:
        return give_pages_back(self._engine)

    def _delete_keys(self, workload: WorkloadId, period: OldPeriod, at_most: int) -> int:
        """Of subjects all of whose exchanges lie in the period. A key that was made or used near its ends stays."""
        key = subject_keys.c
        since = [key.created_at >= to_text(period.start + timedelta(days=1))] if period.start is not None else []
        condition = and_(key.workload == workload, key.used_at != "", key.used_at < to_text(period.end - USED_WITHIN), *since)
        return self._delete(subject_keys, condition, at_most)

    def _delete_windows(self, workload: WorkloadId, period: OldPeriod, at_most: int) -> int:
        """The newest window stays, by its end and by the order of closing: closing goes on from there."""
        window = window_table.c
        of_workload = select(row_number(window_table)).select_from(window_table).where(window.workload == workload)
        newest = [
            of_workload.order_by(order).limit(1).correlate(None).scalar_subquery()
            for order in (window.end.desc(), newest_row(window_table))
        ]
        others = and_(_of(window_table, workload, "end", period), *(row_number(window_table) != one for one in newest))
        last_judgement = select(func.max(judgement_table.c.seq)).correlate(None).scalar_subquery()
        judgements = and_(_of(judgement_table, workload, "end", period), judgement_table.c.seq != last_judgement)
        return self._delete(window_table, others, at_most) or self._delete(judgement_table, judgements, at_most)

    def _delete_refused(self, period: OldPeriod, at_most: int) -> int:
        """Messages that the broker refused for good, and submissions that were turned away. Neither says whose it was."""
        refused = and_(outbox_table.c.sent_at == NEVER_AGAIN, _in(outbox_table, "created_at", period))
        return self._delete(outbox_table, refused, at_most) or self._delete(
            turned_away_table, _in(turned_away_table, "at", period), at_most
        )

    def _delete(self, table: Table, condition: ColumnElement[bool], at_most: int) -> int:
        """Looked up in a read transaction, which holds up nobody, and deleted by key."""
        number = row_number(table)
        with reading(self._engine) as connection:
            found = list(connection.execute(select(number).select_from(table).where(condition).limit(min(at_most, 500))).scalars())
        if not found:
            return 0
        with writing(self._engine) as connection:
            return connection.execute(delete(table).where(number.in_(found), condition)).rowcount


def _of(table: Table, workload: WorkloadId, column: str, period: OldPeriod) -> ColumnElement[bool]:
    return and_(table.c.workload == workload, _in(table, column, period))


def _in(table: Table, column: str, period: OldPeriod) -> ColumnElement[bool]:
    since = [table.c[column] >= to_text(period.start)] if period.start is not None else []
    return and_(table.c[column] < to_text(period.end), *since)
