"""Each hour: deletes what is older than its time, one small transaction at a time, and gives the space back.

read the clock and what is held -> decide (flywheel.retention) -> delete a few records -> pause. A pass that ends half-way goes on with the
next one. Nothing is deleted within a day after the clock was set: each step compares it with the time that the machine has run, and the
journal keeps the last comparison for the next process.
"""

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import datetime

import structlog
from prometheus_client import Counter as Metric

from flywheel.ids import WorkloadId
from flywheel.journal import JournalEntry, JournalKind, RetentionNote
from flywheel.retention import DAY, SHARED, ClockReading, Hold, OldPeriod, RecordKind, cutoffs, doubt, hours_of, old_periods
from services.drift_monitor.wiring import RetentionParts
from services.ports.old_records import OldRecords

FIRST_PASS_SECONDS, PASS_SECONDS = 300.0, 3_600.0  # after the start of the process; between the beginnings of two passes
STEP_SECONDS = 0.05  # a transaction shall take about so long
PAUSE_SECONDS, PAUSE_SHARE = 0.1, 4.0  # after a step: at least so long, and so many times what the step took
FEWEST, MOST = 10, 2_000  # records a step
WAITS, DELETED = "waits", "deleted"
ALL = WorkloadId("")
DELETIONS = Metric("flywheel_records_deleted_total", "Records deleted because their time was over", ["kind"])
log = structlog.get_logger()


class OldRecordsSweep:
    """``tick`` is called again and again, by one thread; each call is at most one transaction."""

    def __init__(self, parts: RetentionParts) -> None:
        self._parts = parts
        self._seen: ClockReading | None = None
        self._waits_since: datetime | None = None  # the clock was set then
        self._unwritten = ""  # why nothing is deleted at first; the journal gets it with the first pass, so that a trial leaves no line
        self._next_pass: float | None = None
        self._pass: Iterator[float] | None = None
        self._steps: dict[RecordKind, int] = {}  # records of the next step
        self._deleted = Counter[str]()
        self._told_at: datetime | None = None
        self._done_hours: set[tuple[RecordKind, WorkloadId, OldPeriod]] = set()  # of today
        self._day = ""

    def tick(self, now: datetime) -> float | None:  # noqa: ARG002 (the clock is read together with the machine's running time)
        """Returns the seconds until the next step of a pass; None when no pass is under way."""
        clock = self._parts.read_clock()
        self._watch_clock(clock)
        if self._next_pass is None:
            self._next_pass = clock.running + FIRST_PASS_SECONDS
        if self._pass is None:
            if clock.running < self._next_pass:
                return None
            self._next_pass = clock.running + PASS_SECONDS
            self._pass = self._delete_all(clock)
        try:
            return next(self._pass)
        except StopIteration:
            self._pass = None
            return None
        except BaseException:
            self._pass = None
            raise

    def _watch_clock(self, clock: ClockReading) -> None:
        before = self._seen
        if before is None:
            lines = self._parts.journal.entries(kind=JournalKind.RETENTION, limit=1)
            if lines:
                note = RetentionNote.of(lines[-1])
                before = ClockReading(wall=lines[-1].at, running=note.running, boot=note.boot)
                self._told_at = lines[-1].at
                self._waits_since = lines[-1].at if lines[-1].state == WAITS else None
        why = doubt(before, clock)
        self._seen = clock
        if why:
            self._waits_since, self._pass = clock.wall, None
            if before is None:
                self._unwritten = why
            else:
                self._tell(WAITS, f"{why}: nothing is deleted within a day of that", clock)

    def _delete_all(self, clock: ClockReading) -> Iterator[float]:
        """Every kind of every workload, then the space."""
        if self._unwritten:
            self._tell(WAITS, f"{self._unwritten}: nothing is deleted within a day of the first start", clock)
            self._unwritten = ""
        today = clock.wall.date().isoformat()
        if today != self._day:
            self._day, self._done_hours = today, set()
            for store in self._parts.stores:
                store.start_anew()
        workloads = sorted({*self._parts.policies, *(one for store in self._parts.stores for one in store.workloads())})
        for store in self._parts.stores:
            for kind in (one for one in RecordKind if one in store.kinds):
                for workload in [None] if kind in SHARED else workloads:
                    for period in self._periods(kind, workload, now=clock.wall):
                        yield from self._empty(store, kind, workload, period)
            while store.give_back():
                yield PAUSE_SECONDS
        if self._deleted and (self._told_at is None or not clock.wall - self._told_at < DAY):
            counts = ", ".join(f"{number:,} {kind.replace('_', ' ')}" for kind, number in sorted(self._deleted.items()))
            self._tell(DELETED, f"deleted because their time was over: {counts}", clock)

    def _periods(self, kind: RecordKind, workload: WorkloadId | None, *, now: datetime) -> Iterator[OldPeriod]:
        """In which this kind is deleted. Hour by hour where rows stay that lose their content, or of which a sample stays."""
        policy = self._parts.policies.get(workload or ALL, self._parts.default)
        found = cutoffs(policy, now=now, last_jump=self._waits_since)
        before = found[kind].before
        if before is None:
            return
        holds: Sequence[Hold] = self._parts.holds(workload) if workload is not None else ()
        periods = old_periods(before, [hold for hold in holds if kind in hold.kinds])
        if kind is RecordKind.CONTENTS:  # what is older goes with its row
            with_rows = found[RecordKind.ROWS].before
            assert with_rows is not None
            periods = [replace(one, start=max(one.start or with_rows, with_rows)) for one in periods if one.end > with_rows]
        for period in periods:
            by_hours = period.sample or kind is RecordKind.CONTENTS
            for part in hours_of(period) if by_hours else [period]:
                if (kind, workload or ALL, part) not in self._done_hours:
                    yield part
                    if by_hours:
                        self._done_hours.add((kind, workload or ALL, part))

    def _empty(self, store: OldRecords, kind: RecordKind, workload: WorkloadId | None, period: OldPeriod) -> Iterator[float]:
        while True:
            at_most, began = self._steps.get(kind, FEWEST), time.monotonic()
            deleted = store.delete_some(kind, workload, period, at_most=at_most)
            took = time.monotonic() - began
            if not deleted:
                if took > STEP_SECONDS:
                    yield PAUSE_SHARE * took
                return
            if took > STEP_SECONDS:
                self._steps[kind] = max(FEWEST, at_most // 2)
            elif deleted == at_most and took < STEP_SECONDS / 2:
                self._steps[kind] = min(MOST, at_most * 2)
            self._deleted[kind.value] += deleted
            DELETIONS.labels(kind.value).inc(deleted)
            yield max(PAUSE_SECONDS, PAUSE_SHARE * took)

    def _tell(self, state: str, reason: str, clock: ClockReading) -> None:
        deleted: Mapping[str, int] = dict(self._deleted) if state == DELETED else {}
        note = RetentionNote(running=round(clock.running, 3), boot=clock.boot, deleted=deleted)
        line = JournalEntry(
            at=clock.wall,
            workload=ALL,
            kind=JournalKind.RETENTION,
            subject="old records",
            state=state,
            reason=reason,
            evidence=asdict(note),
        )
        self._parts.journal.append(line)
        log.info(f"Old records: {reason}", action="old_records", state=state, **deleted)
        self._told_at = clock.wall
        if state == DELETED:
            self._deleted.clear()
