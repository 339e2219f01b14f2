"""The durable record that every stretch shares: journal, outbox, leased work."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from flywheel.ids import WorkloadId
from flywheel.journal import JournalEntry


@dataclass(frozen=True, kw_only=True)
class OutboxMessage:
    """An event on its way to a topic. ``id`` makes sending twice the same event."""

    id: str
    topic: str
    key: str
    value: bytes
    created_at: datetime


@dataclass(frozen=True, kw_only=True)
class WorkItem:
    """A step somebody must do. ``id`` derives from its cause, so that asking twice asks once."""

    id: str
    kind: str  # "train", "gate"
    workload: WorkloadId
    payload: Mapping[str, object]
    caused_by: str
    attempts: int = 0


class Journal(Protocol):
    """Append-only; the truth of what was decided."""

    def append(self, *entries: JournalEntry) -> None:
        """Writes the entries in one transaction; an entry whose id is there already is left as it is."""

    def entries(
        self, *, workload: WorkloadId | None = None, kind: str | None = None, subject: str | None = None, limit: int = 10_000
    ) -> Sequence[JournalEntry]:
        """Oldest first."""


class Outbox(Protocol):
    """Events stay here until they are known to have arrived."""

    def put(self, *messages: OutboxMessage) -> None:
        """Keeps each message; the same id again changes nothing."""

    def due(self, *, now: datetime, resend_after: timedelta, limit: int = 500) -> Sequence[OutboxMessage]:
        """Never sent, or sent longer ago than ``resend_after`` and not confirmed."""

    def sent(self, ids: Sequence[str], *, now: datetime) -> None:
        """A broker has acknowledged them."""

    def confirmed(self, ids: Sequence[str]) -> None:
        """They are recorded: forget them."""


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
