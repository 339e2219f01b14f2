"""Deletes old records from traffic.db, a small transaction at a time.

In: a kind, a workload, a period, how many at most. Out: how many were deleted. What is to go is looked up in a read transaction, which
holds up nobody, and deleted by key. Counts stay: panes have a time of their own, and the cumulative counts none.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TypeVar

from sqlalchemy import ColumnElement, Engine, Select, Table, and_, delete, exists, func, or_, select, update

from flywheel.clock import CLOCKS_DIFFER_BY
from flywheel.ids import WorkloadId
from flywheel.retention import OldPeriod, RecordKind
from flywheel.traffic.inference import Arm
from services.stores.database import reading, row_number, to_text, writing
from services.stores.free_pages import give_pages_back
from services.stores.traffic.tables import dead_letters, exchange_contents, inferences, panes, seen_ids, session_firsts, traffic_counts
from services.stores.traffic.traffic_store import UNATTRIBUTED

KEYS_A_STATEMENT = 500
ROWS_A_LOOK = 2_000
Key = TypeVar("Key")


class OldTraffic:
    """OldRecords on the traffic database. For one thread at a time."""

    kinds = frozenset({RecordKind.ROWS, RecordKind.CONTENTS, RecordKind.IDS, RecordKind.PANES, RecordKind.DEAD_LETTERS})

    def __init__(self, engine: Engine, *, now: Callable[[], datetime]) -> None:
        """``now``: a stored time beyond it was stored by a clock that ran ahead."""
        self._engine, self._now = engine, now
        self._highest_rank: tuple[object, int] = ((), 0)  # of the sample of the hour in work
        self._ids_of_held_rows = 0  # up to this row of ``seen_ids`` all are of rows that stay

    def workloads(self) -> Collection[WorkloadId]:
        with reading(self._engine) as connection:
            known = connection.execute(select(traffic_counts.c.workload)).scalars()
            return {WorkloadId(name) for name in known} | {UNATTRIBUTED}

    def delete_some(self, kind: RecordKind, workload: WorkloadId | None, period: OldPeriod, *, at_most: int) -> int:
        if kind is RecordKind.IDS:
            return self._delete_ids(period, at_most) or self._delete_firsts(period, at_most)
        assert workload is not None
        match kind:
            case RecordKind.ROWS:
                return self._delete_rows(workload, period, at_most)
            case RecordKind.CONTENTS:
                return self._delete_contents(workload, period, at_most)
            case RecordKind.PANES:
                return self._delete_by_rowid(panes, _within(panes, workload, "pane_start", period), at_most)
            case _:
                return self._delete_by_rowid(dead_letters, _within(dead_letters, workload, "at", period), at_most)

    def give_back(self) -> bool:
        return give_pages_back(self._engine)

    def start_anew(self) -> None:
        """Forgets what was found to stay."""
        self._ids_of_held_rows = 0

    def _delete_rows(self, workload: WorkloadId, period: OldPeriod, at_most: int) -> int:
        one = inferences.c
        query = select(one.event_id).where(_within(inferences, workload, "occurred_at", period))
        if period.sample:
            highest = self._highest_rank_of_sample(workload, period)
            if highest is None:
                return self._delete_contents(workload, period, at_most)  # only column values are read of a sample
            query = query.where(or_(one.sample_rank > highest, one.arm == Arm.SHADOW.value))
        return self._delete_by_event(query.limit(at_most), [exchange_contents, inferences])

    def _highest_rank_of_sample(self, workload: WorkloadId, period: OldPeriod) -> int | None:
        """None where the period has no more rows than its sample, shadow answers included: no statistic reads those."""
        key = (workload, period)
        within = _within(inferences, workload, "occurred_at", period)
        with reading(self._engine) as connection:
            some = select(inferences.c.occurred_at).where(within).limit(period.sample + 1).subquery()
            if connection.execute(select(func.count()).select_from(some)).scalar_one() <= period.sample:
                return None
            if self._highest_rank[0] != key:
                ranks = select(inferences.c.sample_rank).where(within, inferences.c.arm != Arm.SHADOW.value)
                last = connection.execute(ranks.order_by(inferences.c.sample_rank).offset(period.sample - 1).limit(1)).scalar()
                self._highest_rank = (key, last if last is not None else 2**63 - 1)
        return self._highest_rank[1]

    def _delete_contents(self, workload: WorkloadId, period: OldPeriod, at_most: int) -> int:
        """Of rows that stay. Rows of versions before 0.2.0 hold their text themselves."""
        one = inferences.c
        has_content = or_(one.messages != "", exists().where(exchange_contents.c.event_id == one.event_id))
        query = select(one.event_id).where(_within(inferences, workload, "occurred_at", period), has_content).limit(at_most)
        with reading(self._engine) as connection:
            found = list(connection.execute(query).scalars())
        if found:
            with writing(self._engine) as connection:
                for part in _parts(found):
                    connection.execute(delete(exchange_contents).where(exchange_contents.c.event_id.in_(part)))
                    without_text: Mapping[str, object] = {
                        "messages": "",
                        "answer": None,
                        "error": None,
                        "answered": func.coalesce(one.answered, one.answer.is_not(None)),
                    }
                    old_form = and_(one.event_id.in_(part), one.messages != "")
                    connection.execute(update(inferences).where(old_form).values(**without_text))
        return len(found)

    def _delete_by_event(self, query: Select[tuple[str]], tables: Sequence[Table]) -> int:
        with reading(self._engine) as connection:
            found = list(connection.execute(query).scalars())
        if found:
            with writing(self._engine) as connection:
                for part in _parts(found):
                    for table in tables:
                        connection.execute(delete(table).where(table.c.event_id.in_(part)))
        return len(found)

    def _delete_by_rowid(self, table: Table, condition: ColumnElement[bool], at_most: int) -> int:
        number = row_number(table)
        with reading(self._engine) as connection:
            found = list(connection.execute(select(number).select_from(table).where(condition).limit(at_most)).scalars())
        if found:
            with writing(self._engine) as connection:
                for part in _parts(found):
                    connection.execute(delete(table).where(number.in_(part), condition))
        return len(found)

    def _delete_ids(self, period: OldPeriod, at_most: int) -> int:
        """In the order of insertion, which is that of time: there is no index for it. The id of a row that stays stays too: its event
        must not be recorded twice."""
        number = row_number(seen_ids)
        gone = ~exists().where(inferences.c.event_id == seen_ids.c.event_id)
        while (last := self._last_before(seen_ids, "at", period.end, after=self._ids_of_held_rows)) is not None:
            next_ones = and_(number > self._ids_of_held_rows, number <= last, gone)
            if deleted := self._delete_by_rowid(seen_ids, next_ones, at_most):
                return deleted
            self._ids_of_held_rows = last
        return 0

    def _delete_firsts(self, period: OldPeriod, at_most: int) -> int:
        """Days that ended before the period's end, in the order of insertion."""
        last = self._last_before(session_firsts, "day", period.end - timedelta(days=1), after=0)
        return self._delete_by_rowid(session_firsts, row_number(session_firsts) <= last, at_most) if last is not None else 0

    def _last_before(self, table: Table, column: str, before: datetime, *, after: int) -> int | None:
        """The last row of the next ``ROWS_A_LOOK`` that was written before that time. A time of the future is not believed: such a row is
        as old as the rows around it."""
        number, young_since, latest = row_number(table), to_text(before), to_text(self._now() + CLOCKS_DIFFER_BY)
        last = None
        while True:
            query = select(number.label("number"), table.c[column].label("at")).where(number > after).order_by(number).limit(ROWS_A_LOOK)
            with reading(self._engine) as connection:
                rows = connection.execute(query).all()
            for row in rows:
                if young_since <= row.at <= latest:
                    return last
                if row.at < young_since:
                    last = int(row.number)
            if last is not None or not rows:
                return last
            after = rows[-1].number  # all of them of the future


def _within(table: Table, workload: WorkloadId, column: str, period: OldPeriod) -> ColumnElement[bool]:
    held = table.c[column]
    since = [held >= to_text(period.start)] if period.start is not None else []
    return and_(table.c.workload == workload, *since, held < to_text(period.end))


def _parts(keys: Sequence[Key]) -> list[Sequence[Key]]:
    return [keys[at : at + KEYS_A_STATEMENT] for at in range(0, len(keys), KEYS_A_STATEMENT)]
