"""Steps that one process asks another to do: leased rows of the ledger."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from flywheel.ids import WorkloadId


@dataclass(frozen=True, kw_only=True)
class WorkItem:
    """A step somebody must do. ``id`` derives from its cause, so that asking twice asks once."""

    id: str
    kind: str  # "train", "gate"
    workload: WorkloadId
    payload: Mapping[str, object]
    caused_by: str
    attempts: int = 0


class WorkQueue(Protocol):
    """Leased rows: a lease expires, so that a dead worker's step is taken again."""

    def put(self, item: WorkItem, *, now: datetime) -> bool:
        """True when the item is new."""

    def lease(self, kind: str, *, worker: str, now: datetime, hold: timedelta) -> WorkItem | None:
        """The oldest open item of this kind, or one whose lease has run out."""

    def extend(self, item_id: str, *, worker: str, now: datetime, hold: timedelta) -> bool:
        """False when another worker has taken it since."""

    def finish(self, item_id: str, *, worker: str, now: datetime, result: Mapping[str, object]) -> bool:
        """Closes the item; False when another worker has taken it since."""

    def fail(self, item_id: str, *, worker: str, now: datetime, reason: str) -> bool:
        """Closes the item as failed."""

    def state(self, item_id: str) -> str | None:
        """ "open", "leased", "done", "failed", or None."""
