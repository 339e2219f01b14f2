"""Stand-ins of the watching stage: traffic and ledger in memory, reports that answer by script, a receiver that refuses when told to."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from flywheel.alerts.alert import Alert
from flywheel.alerts.notifications import NotDelivered, RefusedForGood
from flywheel.drift.late_data import JudgedRows, Reevaluation
from flywheel.drift.reference import Covers, Reference
from flywheel.drift.seasonal_reference import SeasonalReference
from flywheel.errors import CannotRun
from flywheel.ids import EVERYTHING, AdapterName, AlertId, EventId, WorkloadId
from flywheel.journal import JournalEntry, JournalKind, OtherKind
from flywheel.traffic.column import Column
from flywheel.traffic.features import COLUMNS
from flywheel.traffic.inference import Arm
from flywheel.traffic.sessions import SessionOutcome
from flywheel.windows.counts import CountMatrix, WindowCounts, bins_of_columns, count_rows
from flywheel.windows.sample import rank
from services.ports.drift import ClosedWindow, EvidentlyScore, Judgement, LateFinding
from services.ports.traffic import RecordedInference, TrafficCounts


@dataclass(kw_only=True)
class TrafficInMemory:
    """A TrafficReader over a list of rows, in the order in which they were recorded. Knows no sessions."""

    held: list[RecordedInference] = field(default_factory=list)

    def window(self, *, workload: WorkloadId, start: datetime, end: datetime) -> WindowCounts:
        rows = [row for row in self._of(workload) if start <= row.inference.occurred_at < end]
        matrix = count_rows(
            values={column.name: [row.features.get(column.name) for row in rows] for column in COLUMNS},
            slices=[("all", *(f"{name}={value}" for name, value in row.inference.dimensions.items())) for row in rows],
            columns=COLUMNS,
        )
        return WindowCounts(workload=workload, start=start, end=end, matrix=matrix)

    def hourly(self, *, workload: WorkloadId, start: datetime, hours: int) -> Iterator[CountMatrix]:
        for at in (start + timedelta(hours=hour) for hour in range(hours)):
            yield self.window(workload=workload, start=at, end=at + timedelta(hours=1)).matrix

    def rows(
        self,
        *,
        workload: WorkloadId,
        start: datetime,
        end: datetime,
        slice_name: str = "all",
        adapter: AdapterName | None = None,
        limit: int = 5_000,
    ) -> Sequence[RecordedInference]:
        dimension, _, value = slice_name.partition("=")
        found = [
            row
            for row in self._of(workload)
            if start <= row.inference.occurred_at < end
            and (slice_name == "all" or row.inference.dimensions.get(dimension) == value)
            and adapter in (None, row.inference.adapter)
        ]
        sample = sorted(found, key=lambda row: (rank(row.inference.event_id), row.inference.event_id))[:limit]
        return sorted(sample, key=lambda row: (row.inference.occurred_at, row.inference.event_id))

    def by_request(self, id: str, *, workload: WorkloadId) -> RecordedInference | None:
        def latest(row: RecordedInference) -> tuple[bool, int]:
            return row.inference.exchange.answer is not None, row.inference.attempt.number

        rows = self._of(workload)
        of_request = [row for row in rows if row.inference.request_id == id]
        of_completion = [row for row in rows if row.inference.exchange.completion_id == id != ""]
        of_client = [row for row in rows if row.inference.client_request_id == id != ""]
        if found := of_request or of_completion:
            return max(found, key=latest)
        return max(of_client, key=lambda row: (row.inference.occurred_at, *latest(row)), default=None)

    def named(self, ids: Sequence[str], *, workload: WorkloadId) -> frozenset[str]:
        return frozenset(id for id in ids if self.by_request(id, workload=workload) is not None)

    def recorded(self, ids: Sequence[EventId]) -> frozenset[EventId]:
        return frozenset(ids) & {row.inference.event_id for row in self.held}

    def counts(self, workload: WorkloadId) -> TrafficCounts:
        return TrafficCounts(recorded=len(self._of(workload)))

    def changes(self, *, workload: WorkloadId, start: datetime, end: datetime, after: int) -> Mapping[datetime, int]:
        """Each row a pane of its own; its place in the list is its position."""
        placed = ((row.inference.occurred_at, place) for place, row in enumerate(self._of(workload), start=1))
        return {at: place for at, place in placed if start <= at < end and place > after}

    def newest(self, workload: WorkloadId, *, until: datetime | None = None) -> datetime | None:
        times = (row.inference.occurred_at for row in self._of(workload))
        return max((at for at in times if until is None or at <= until), default=None)

    def outcomes(self, *, workload: WorkloadId, since: datetime, route_version: int = 0) -> Sequence[SessionOutcome]:
        return []

    def _of(self, workload: WorkloadId) -> list[RecordedInference]:
        """Shadow answers reach no statistic and no user."""
        return [row for row in self.held if row.inference.workload == workload and row.inference.arm is not Arm.SHADOW]


@dataclass(kw_only=True)
class JournalInMemory:
    """A Journal over a list of lines."""

    held: list[JournalEntry] = field(default_factory=list)

    def append(self, *entries: JournalEntry) -> None:
        known = {line.id for line in self.held}
        self.held += [entry for entry in entries if entry.id not in known]

    def entries(
        self,
        *,
        workload: WorkloadId | None = None,
        kind: JournalKind | OtherKind | None = None,
        subject: str | None = None,
        limit: int = 10_000,
    ) -> Sequence[JournalEntry]:
        wanted = ((workload, "workload"), (kind, "kind"), (subject, "subject"))
        return [line for line in self.held if all(value in (None, getattr(line, name)) for value, name in wanted)][-limit:]


@dataclass(kw_only=True)
class ScriptedReports:
    """DriftReports that score every slice's first column 0.5 and remember what they were asked."""

    broken: str = ""
    asked: list[tuple[tuple[str, ...], frozenset[str], str | None]] = field(default_factory=list)

    def compare(
        self,
        *,
        current: Mapping[str, Sequence[RecordedInference]],
        reference: Mapping[str, Sequence[RecordedInference]],
        html_to: str | None = None,
    ) -> tuple[EvidentlyScore, ...]:
        if self.broken:
            raise CannotRun(self.broken, remedy="Start it.")
        shown = frozenset(name for rows in current.values() for row in rows for name in row.features)
        self.asked.append((tuple(current), shown, html_to))
        return tuple(
            EvidentlyScore(
                slice=name, column=sorted(shown)[0], method="ks", score=0.5, drifted=False, n=len(rows), n_reference=len(reference[name])
            )
            for name, rows in current.items()
            if rows
        )


@dataclass(kw_only=True)
class ReceiverInMemory:
    """A Notifier."""

    down: bool = False
    refuses: str = ""  # this kind, for good
    taken: list[tuple[str, str]] = field(default_factory=list)  # alert id, kind
    attempts: int = 0

    def notify(self, alert: Alert, *, kind: str) -> str:
        self.attempts += 1
        if self.down:
            raise NotDelivered("HTTP 503", remedy="It is tried again.")
        if kind == self.refuses:
            raise RefusedForGood("HTTP 413", remedy="Nothing is sent again.")
        self.taken.append((alert.id, kind))
        return "HTTP 200"


@dataclass(kw_only=True)
class DriftAndAlertLedgerInMemory:
    """A DriftLedger and an AlertLedger; ``journal`` contains their lines.

    The newest ``keep`` windows and ``keep_answers`` references of answers alone stay, as if somebody cleaned up the ledger.
    """

    keep: int | None = None
    keep_answers: int | None = None
    journal: list[JournalEntry] = field(default_factory=list)
    _references: dict[str, Reference] = field(default_factory=dict)
    _seasonal: dict[str, SeasonalReference] = field(default_factory=dict)
    _windows: dict[str, ClosedWindow] = field(default_factory=dict)
    _judgements: dict[str, Judgement] = field(default_factory=dict)
    _late: list[tuple[WorkloadId, LateFinding]] = field(default_factory=list)
    _alerts: dict[AlertId, Alert] = field(default_factory=dict)
    _notifications: set[tuple[AlertId, str]] = field(default_factory=set)
    _judged: int = 0

    def references(self, workload: WorkloadId) -> Sequence[Reference]:
        held = sorted((one for one in self._references.values() if one.workload == workload), key=lambda one: one.id)
        return sorted(held, key=lambda one: one.pinned_at, reverse=True)

    def pin(self, reference: Reference, entry: JournalEntry, *, seasonal: SeasonalReference | None = None) -> None:
        self._references[reference.id] = reference
        if seasonal is not None:
            self._seasonal[reference.id] = seasonal
        self.journal.append(entry)
        of_answers = [held.id for held in self.references(reference.workload) if held.covers is Covers.OUTPUT]
        for old in of_answers[self.keep_answers :] if self.keep_answers is not None else ():
            del self._references[old]
            self._seasonal.pop(old, None)

    def seasonal_reference(self, reference: Reference) -> SeasonalReference | None:
        return self._seasonal.get(reference.id)

    def close(self, window: ClosedWindow, entry: JournalEntry, *, judgement: Judgement) -> bool:
        if window.id in self._windows:
            return False
        self._judged += 1
        self._windows[window.id] = replace(window, number=self._judged)
        self._judgements[window.id] = judgement
        self.journal.append(entry)
        if self.keep is not None and len(self._windows) > self.keep:
            oldest = min(self._windows.values(), key=lambda held: held.end).id
            del self._windows[oldest], self._judgements[oldest]
        return True

    def reevaluate(self, window: ClosedWindow, entry: JournalEntry, *, judgement: Judgement, reevaluation: Reevaluation) -> bool:
        held = self._windows.get(window.id)
        if held is None or held.judged_again != window.judged_again - 1:
            return False
        self._windows[window.id] = replace(window, second_opinions=held.second_opinions, number=held.number)
        self._judgements[window.id] = judgement
        self._judged += 1
        self.journal.append(entry)
        if reevaluation.found:
            finding = LateFinding(
                seq=len(self._late) + 1, window=window.id, end=window.end, times=window.judged_again, found=tuple(reevaluation.found)
            )
            self._late.append((window.workload, finding))
        return True

    def same_rows(self, judged: JudgedRows, *, position: int) -> None:
        held = self._judgements.get(judged.window)
        if held is not None and held.on.position < position:
            self._judgements[judged.window] = replace(held, on=replace(held.on, position=position))

    def judgements(self, workload: WorkloadId, *, ended_after: datetime) -> Sequence[Judgement]:
        return sorted(
            (one for name, one in self._judgements.items() if self._windows[name].workload == workload and one.on.end >= ended_after),
            key=lambda one: one.on.end,
        )

    def late_findings(self, workload: WorkloadId, *, after: int = 0, limit: int = 50) -> Sequence[LateFinding]:
        return [finding for held, finding in self._late if held == workload and finding.seq > after][-limit:]

    def window(self, window_id: str) -> ClosedWindow | None:
        return self._windows.get(window_id)

    def windows(self, workload: WorkloadId, *, until: datetime | None = None, after: int = 0, limit: int = 50) -> Sequence[ClosedWindow]:
        held = [one for one in self._windows.values() if one.workload == workload and one.number > after]
        held = [one for one in held if until is None or one.end <= until]
        held.sort(key=lambda one: one.id)
        return sorted(held, key=lambda one: one.end, reverse=True)[:limit]

    def alert(self, alert_id: AlertId) -> Alert | None:
        return self._alerts.get(alert_id)

    def alerts(
        self, *, workload: WorkloadId | None = None, open_only: bool = False, ended_after: datetime | None = None, limit: int = 10_000
    ) -> Sequence[Alert]:
        def wanted(one: Alert) -> bool:
            if workload not in (None, one.workload):
                return False
            if one.resolved_at is None:
                return True
            return not open_only and (ended_after is None or one.resolved_at > ended_after)

        held = sorted(filter(wanted, self._alerts.values()), key=lambda one: one.id)
        return sorted(held, key=lambda one: one.started_at, reverse=True)[:limit]

    def alert_saves(self) -> int:
        return sum(one.version for one in self._alerts.values())

    def judgement_count(self) -> int:
        return self._judged

    def save_alert(self, alert: Alert, entry: JournalEntry) -> Alert | None:
        held = self._alerts.get(alert.id)
        if (held.version if held is not None else 0) != alert.version:
            return None
        saved = self._alerts[alert.id] = replace(alert, version=alert.version + 1)
        self.journal.append(entry)
        return saved

    def notification_due(self, alert_id: AlertId, *, kind: str) -> bool:
        return (alert_id, kind) not in self._notifications

    def notification_sent(self, alert_id: AlertId, *, kind: str, at: datetime, detail: str) -> None:
        self._notifications.add((alert_id, kind))


@dataclass(frozen=True, kw_only=True)
class CountedPane:
    """What one pane holds. ``counts`` [slices, bins of all columns side by side], the slices being those of its traffic."""

    rows: NDArray[np.int64]  # [slices]
    counts: NDArray[np.int64]
    changed: int  # how many rows the record held after the last change


class CountedTraffic:
    """A TrafficReader over panes that were counted elsewhere, of one workload. Holds counts and no rows.

    ``slices`` are disjoint and make all traffic together; one without rows in a window is left out of it, as the record leaves it out.
    """

    def __init__(self, *, slices: Sequence[str], columns: Sequence[Column] = COLUMNS, pane: timedelta = timedelta(hours=1)) -> None:
        self.slices, self.columns, self.pane = tuple(slices), tuple(columns), pane
        self.clock: datetime | None = None  # traffic is seen up to here; None: up to the end of the newest pane
        self._panes: dict[datetime, CountedPane] = {}
        self._recorded = 0

    def add(self, at: datetime, *, rows: NDArray[np.int64], counts: NDArray[np.int64]) -> None:
        """More rows of the pane that starts at this moment. Added late, they mark the pane as changed."""
        self._recorded += int(rows.sum())
        held = self._panes.get(at)
        if held is not None:
            rows, counts = held.rows + rows, held.counts + counts
        self._panes[at] = CountedPane(rows=rows, counts=counts, changed=self._recorded)

    def forget(self, before: datetime) -> None:
        """Panes that start before this moment are dropped, as the record drops what is too old."""
        for at in [at for at in self._panes if at < before]:
            del self._panes[at]

    def window(self, *, workload: WorkloadId, start: datetime, end: datetime) -> WindowCounts:
        rows = np.zeros(len(self.slices), dtype=np.int64)
        counts = np.zeros((len(self.slices), sum(column.bins for column in self.columns)), dtype=np.int64)
        for pane in self._within(start, end):
            rows += pane.rows
            counts += pane.counts
        seen = np.flatnonzero(rows)
        matrix = CountMatrix(
            slices=(EVERYTHING, *(self.slices[at] for at in seen.tolist())) if seen.size else (),
            bins=bins_of_columns(self.columns),
            counts=np.concatenate([counts.sum(axis=0, keepdims=True), counts[seen]]) if seen.size else counts[:0],
            rows=np.concatenate([[rows.sum()], rows[seen]]) if seen.size else rows[:0],
        )
        return WindowCounts(workload=workload, start=start, end=end, matrix=matrix)

    def hourly(self, *, workload: WorkloadId, start: datetime, hours: int) -> Iterator[CountMatrix]:
        for at in (start + timedelta(hours=hour) for hour in range(hours)):
            yield self.window(workload=workload, start=at, end=at + timedelta(hours=1)).matrix

    def rows(
        self,
        *,
        workload: WorkloadId,
        start: datetime,
        end: datetime,
        slice_name: str = "all",
        adapter: AdapterName | None = None,
        limit: int = 5_000,
    ) -> Sequence[RecordedInference]:
        return []

    def by_request(self, id: str, *, workload: WorkloadId) -> RecordedInference | None:
        return None

    def named(self, ids: Sequence[str], *, workload: WorkloadId) -> frozenset[str]:
        return frozenset()

    def recorded(self, ids: Sequence[EventId]) -> frozenset[EventId]:
        return frozenset()

    def counts(self, workload: WorkloadId) -> TrafficCounts:
        return TrafficCounts(recorded=self._recorded)

    def changes(self, *, workload: WorkloadId, start: datetime, end: datetime, after: int) -> Mapping[datetime, int]:
        return {at: pane.changed for at, pane in self._panes.items() if start <= at < end and pane.changed > after}

    def newest(self, workload: WorkloadId, *, until: datetime | None = None) -> datetime | None:
        if not self._panes:
            return None
        newest = self.clock if self.clock is not None else max(self._panes) + self.pane - timedelta(microseconds=1)
        return newest if until is None else min(newest, until)

    def outcomes(self, *, workload: WorkloadId, since: datetime, route_version: int = 0) -> Sequence[SessionOutcome]:
        return []

    def _within(self, start: datetime, end: datetime) -> list[CountedPane]:
        first = _EPOCH - (_EPOCH - start) // self.pane * self.pane  # the first pane that starts in [start, end)
        starts = (first + self.pane * step for step in range(-((first - end) // self.pane)))
        return [self._panes[at] for at in starts if at in self._panes]


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
