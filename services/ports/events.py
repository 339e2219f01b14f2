"""Publishing events to a broker."""

from collections.abc import Mapping
from typing import Protocol

from flywheel.errors import FlywheelError
from services.ports.outbox import OutboxMessage


class NotPublished(FlywheelError):
    """The broker cannot be reached; the caller still has the message."""


class EventPublisher(Protocol):
    """Carries messages to a broker. Which of them arrived is known only after ``flush``."""

    def send(self, message: OutboxMessage) -> None:
        """Hands the message over. Raises NotPublished when there is no broker."""

    def flush(self) -> frozenset[str]:
        """Waits for the broker; returns the ids it has acknowledged since the last flush. The others must be sent again."""

    @property
    def refused(self) -> Mapping[str, str]:
        """Of the last flush: ids of messages that the broker will never take, and why. Sending them again changes nothing."""

    def close(self) -> None:
        """Closes the connection."""
