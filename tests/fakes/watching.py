"""Stand-ins of the watching stage: traffic in memory, reports that answer by script, a receiver that refuses when told to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from flywheel.alerts.alert import Alert
from flywheel.alerts.notices import NotDelivered
from flywheel.errors import CannotRun
from flywheel.ids import AdapterName, EventId, RequestId, WorkloadId
from flywheel.traffic.features import COLUMNS
from flywheel.windows.pane import WindowCounts, count_rows
from services.ports.traffic import ArmOutcomes, DeadLetter, RecordedInference, TrafficCounts
from services.ports.watch import SecondOpinion


@dataclass(kw_only=True)
class TrafficInMemory:
    """A TrafficReader over a list of rows of one workload."""

    held: list[RecordedInference] = field(default_factory=list)

    def window(self, *, workload: WorkloadId, start: datetime, end: datetime) -> WindowCounts:
        rows = [
            (row.features, ("all", *(f"{name}={value}" for name, value in row.inference.dimensions.items())))
            for row in self.held
            if start <= row.inference.occurred_at < end
        ]
        return count_rows(workload=workload, start=start, end=end, rows=rows, columns=COLUMNS)

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
        return [
            row
            for row in self.held
            if start <= row.inference.occurred_at < end and (slice_name == "all" or row.inference.dimensions.get(dimension) == value)
        ][:limit]

    def by_request(self, request_id: RequestId, *, workload: WorkloadId) -> RecordedInference | None:
        return next((row for row in self.held if row.inference.request_id == request_id), None)

    def recorded(self, ids: Sequence[EventId]) -> frozenset[EventId]:
        return frozenset(ids) & {row.inference.event_id for row in self.held}

    def counts(self, workload: WorkloadId) -> TrafficCounts:
        return TrafficCounts(recorded=len(self.held))

    def changes(self, *, workload: WorkloadId, start: datetime, end: datetime, after: int) -> Mapping[datetime, int]:
        """Each row a pane of its own; its place in the list is its position."""
        placed = ((row.inference.occurred_at, place) for place, row in enumerate(self.held, start=1))
        return {at: place for at, place in placed if start <= at < end and place > after}

    def newest(self, workload: WorkloadId) -> datetime | None:
        return max((row.inference.occurred_at for row in self.held), default=None)

    def outcomes(self, *, workload: WorkloadId, since: datetime, route_version: int = 0) -> Sequence[ArmOutcomes]:
        return []

    def dead_letters(self, *, limit: int = 100) -> Sequence[DeadLetter]:
        return []


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
    ) -> tuple[SecondOpinion, ...]:
        if self.broken:
            raise CannotRun(self.broken, remedy="Start it.")
        shown = frozenset(name for rows in current.values() for row in rows for name in row.features)
        self.asked.append((tuple(current), shown, html_to))
        return tuple(
            SecondOpinion(
                slice=name, column=sorted(shown)[0], method="ks", score=0.5, drifted=False, n=len(rows), n_reference=len(reference[name])
            )
            for name, rows in current.items()
            if rows
        )


@dataclass(kw_only=True)
class ReceiverInMemory:
    """A Notifier."""

    down: bool = False
    taken: list[tuple[str, str]] = field(default_factory=list)  # alert id, kind
    attempts: int = 0

    def notify(self, alert: Alert, *, kind: str) -> str:
        self.attempts += 1
        if self.down:
            raise NotDelivered("HTTP 503", remedy="It is tried again.")
        self.taken.append((alert.id, kind))
        return "HTTP 200"
