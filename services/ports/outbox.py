"""Events that wait in the ledger until they have arrived at the broker."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol


@dataclass(frozen=True, kw_only=True)
class OutboxMessage:
    """An event on its way to a topic. ``id`` makes sending twice the same event."""

    id: str
    topic: str
    key: str
    value: bytes
    created_at: datetime


class Outbox(Protocol):
    """Events stay here until they are known to have arrived."""

    def put(self, *messages: OutboxMessage) -> None:
        """Keeps each message; the same id again changes nothing."""

    def due(self, *, now: datetime, resend_after: timedelta, limit: int = 500) -> Sequence[OutboxMessage]:
        """Never sent, or sent longer ago than ``resend_after`` and not confirmed."""

    def sent(self, ids: Sequence[str], *, now: datetime) -> None:
        """A broker has acknowledged them."""

    def set_aside(self, ids: Sequence[str]) -> None:
        """No broker will ever take them: they are kept, and never due again."""

    def confirmed(self, ids: Sequence[str]) -> None:
        """They are recorded: forget them."""
