"""Traffic: recording it exactly, and reading it back."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from flywheel.errors import FlywheelError
from flywheel.ids import AdapterName, EventId, WorkloadId
from flywheel.traffic.column import FeatureRow as FeatureRow
from flywheel.traffic.inference import Inference
from flywheel.traffic.sessions import SessionOutcome
from flywheel.windows.counts import CountMatrix, WindowCounts
from services.ports.dead_letters import DeadLetter


@dataclass(frozen=True, kw_only=True)
class RecordedInference:
    """A recorded row: the inference (text redacted), its column values, its position."""

    inference: Inference
    features: FeatureRow
    topic: str = ""
    partition: int = 0  # whose panes it counts in
    stated_at: datetime | None = None  # the gateway's own time, where it lay in the future: ``occurred_at`` is the receipt's


@dataclass(frozen=True, kw_only=True)
class TrafficCounts:
    """Cumulative counts of the recorder for one workload: production attempts, never shadow answers.

    A dead letter that names no known workload counts for each: nobody can say whose it was.
    """

    recorded: int = 0
    duplicates_ignored: int = 0
    dead_lettered: int = 0


class TrafficReader(Protocol):
    """What other processes read from the traffic store."""

    def window(self, *, workload: WorkloadId, start: datetime, end: datetime) -> WindowCounts:
        """The sum of all panes that start in [start, end)."""

    def hourly(self, *, workload: WorkloadId, start: datetime, hours: int) -> Iterator[CountMatrix]:
        """The sum of the panes of each of so many hours in a row, by one query."""

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
        """Rows of production arms (never shadow), the ``limit`` with the smallest hash of event id, by time.

        A row whose content cannot be shown says so in ``exchange.unreadable``. It counts like any other.
        """

    def by_request(self, id: str, *, workload: WorkloadId) -> RecordedInference | None:
        """The attempt that answered the user. ``id``: our request id, else the completion's, else the client's own (its newest)."""

    def named(self, ids: Sequence[str], *, workload: WorkloadId) -> frozenset[str]:
        """Under which of these ids ``by_request`` finds something."""

    def recorded(self, ids: Sequence[EventId]) -> frozenset[EventId]:
        """Which of these ids are recorded (dead-lettered ones count: nothing more will come of them)."""

    def counts(self, workload: WorkloadId) -> TrafficCounts:
        """The cumulative counts. ``recorded`` is also the position of the workload's newest row: every row raises it by one."""

    def changes(self, *, workload: WorkloadId, start: datetime, end: datetime, after: int) -> Mapping[datetime, int]:
        """The panes that start in [start, end) and changed after this position, each with the position at which it changed last."""

    def newest(self, workload: WorkloadId, *, until: datetime | None = None) -> datetime | None:
        """The event time up to which traffic has been recorded. ``until``: without rows from later, whose clocks ran ahead."""

    def outcomes(self, *, workload: WorkloadId, since: datetime, route_version: int = 0) -> Sequence[SessionOutcome]:
        """Sessions seen since a time, of champion and canary arms, with route version at least as given."""

    def oldest(self, workload: WorkloadId, *, start: datetime, end: datetime) -> datetime | None:
        """Start of the first pane with traffic that starts in [start, end); None where there is none."""


@dataclass(frozen=True, kw_only=True)
class PartitionPosition:
    """A worker's consumer position in one partition. ``epoch`` fences a worker that lost the partition."""

    topic_id: str  # a topic that was deleted and created again has another id, and starts at offset 0
    topic: str
    partition: int
    epoch: int
    offset: int  # next offset to read


@dataclass(frozen=True, kw_only=True)
class Advance:
    """Compare and set: only if epoch and expected offset still hold."""

    position: PartitionPosition
    to_offset: int


@dataclass(frozen=True, kw_only=True)
class RecordingBatch:
    """What one transaction writes."""

    advances: Sequence[Advance]
    rows: Sequence[RecordedInference] = ()
    dead_letters: Sequence[tuple[DeadLetter, bytes]] = ()  # each with the event's bytes
    taken_letters: Sequence[str] = ()  # ids of earlier letters whose events are in this batch
    in_batch_duplicates: Mapping[WorkloadId, int] = field(default_factory=dict)
    recorded_at: datetime | None = None


class NotSealed(Exception):
    """The contents of these events cannot be sealed. Nothing was written; without these events the batch can be."""

    def __init__(self, refused: Mapping[EventId, FlywheelError]) -> None:
        super().__init__(", ".join(map(str, refused.values())))
        self.refused = refused


class TrafficRecorder(Protocol):
    """The traffic store as the recorder writes it."""

    def assign(self, *, topic_id: str, topic: str, partition: int) -> PartitionPosition:
        """Takes the partition: raises the epoch, returns where to read from."""

    def retried_letters(self) -> frozenset[str]:
        """Ids of the dead letters whose bytes were sent again and of which nothing has come yet."""

    def record(self, batch: RecordingBatch) -> Mapping[WorkloadId, TrafficCounts]:
        """One transaction: new rows, the panes of the rows that were really inserted, counts, dead letters, offsets.

        Raises LostPartition when an advance no longer holds, NotSealed for contents that cannot be sealed; then nothing is written.
        """
