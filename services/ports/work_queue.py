"""Steps that one process asks another to do: commands in leased rows of the ledger."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import ClassVar, Generic, Protocol, TypeVar

from flywheel.ids import AdapterName, Person, RunId, WorkloadId


@dataclass(frozen=True, kw_only=True)
class SnapshotCommand:
    """Build a training set, and train nothing."""

    kind: ClassVar[str] = "snapshot"
    asked_by: Person
    reason: str


@dataclass(frozen=True, kw_only=True)
class RetrainCommand:
    """Consider a retraining now."""

    kind: ClassVar[str] = "train_request"
    asked_by: Person
    reason: str


@dataclass(frozen=True, kw_only=True)
class TrainCommand:
    """Train this run."""

    kind: ClassVar[str] = "train"
    run: RunId


@dataclass(frozen=True, kw_only=True)
class GateCommand:
    """Gate this adapter."""

    kind: ClassVar[str] = "gate"
    adapter: AdapterName
    asked_by: Person


Command = SnapshotCommand | RetrainCommand | TrainCommand | GateCommand
AnyCommand = TypeVar("AnyCommand", SnapshotCommand, RetrainCommand, TrainCommand, GateCommand)


@dataclass(frozen=True, kw_only=True)
class WorkItem(Generic[AnyCommand]):
    """A command to carry out. ``id`` derives from its cause, so that asking twice asks once."""

    id: str
    workload: WorkloadId
    command: AnyCommand
    caused_by: str
    attempts: int = 0  # leases so far, with this one


class WorkQueue(Protocol):
    """Leased rows: a lease expires, so that a dead worker's step is taken again."""

    def put(self, item: WorkItem[AnyCommand], *, now: datetime) -> bool:
        """True when the item is new."""

    def lease(self, command: type[AnyCommand], *, worker: str, now: datetime, hold: timedelta) -> WorkItem[AnyCommand] | None:
        """The oldest open item with a command of this class, or one whose lease has run out."""

    def extend(self, item_id: str, *, worker: str, now: datetime, hold: timedelta) -> bool:
        """False when another worker has taken it since."""

    def finish(self, item_id: str, *, worker: str, now: datetime, result: Mapping[str, object]) -> bool:
        """Closes the item; False when another worker has taken it since."""

    def fail(self, item_id: str, *, worker: str, now: datetime, reason: str) -> bool:
        """Closes the item as failed."""

    def state(self, item_id: str) -> str | None:
        """ "open", "leased", "done", "failed", or None."""

    def workload_of(self, item_id: str) -> WorkloadId | None:
        """None for an item that there is not."""
