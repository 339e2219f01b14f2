"""A publisher that keeps what it is given; while ``down`` it takes nothing, while ``losing`` it acknowledges nothing.

Messages over ``most_bytes`` are refused for good.
"""

from collections.abc import Mapping

from services.ports.events import NotPublished
from services.ports.outbox import OutboxMessage


class FakeEventPublisher:
    """EventPublisher in memory."""

    def __init__(self) -> None:
        self.arrived: list[OutboxMessage] = []
        self.down = self.losing = False
        self.closed = 0
        self.most_bytes = 1_048_576
        self._refused: Mapping[str, str] = {}
        self._in_flight: list[OutboxMessage] = []

    def send(self, message: OutboxMessage) -> None:
        if self.down:
            raise NotPublished("the broker is down", remedy="Wait.")
        self._in_flight.append(message)

    def flush(self) -> frozenset[str]:
        sent, self._in_flight = self._in_flight, []
        self._refused = {one.id: "MessageSizeTooLargeError" for one in sent if len(one.value) > self.most_bytes}
        sent = [one for one in sent if one.id not in self._refused]
        if self.losing:
            return frozenset()
        self.arrived += sent
        return frozenset(message.id for message in sent)

    @property
    def refused(self) -> Mapping[str, str]:
        return self._refused

    def close(self) -> None:
        self.closed += 1
        self._in_flight = []
