"""A publisher that keeps what it is given; while ``down`` it takes nothing, while ``losing`` it acknowledges nothing."""

from services.ports.events import NotPublished
from services.ports.outbox import OutboxMessage


class FakeEventPublisher:
    """EventPublisher in memory."""

    def __init__(self) -> None:
        self.arrived: list[OutboxMessage] = []
        self.down = self.losing = False
        self.closed = 0
        self._in_flight: list[OutboxMessage] = []

    def send(self, message: OutboxMessage) -> None:
        if self.down:
            raise NotPublished("the broker is down", remedy="Wait.")
        self._in_flight.append(message)

    def flush(self) -> frozenset[str]:
        sent, self._in_flight = self._in_flight, []
        if self.losing:
            return frozenset()
        self.arrived += sent
        return frozenset(message.id for message in sent)

    def close(self) -> None:
        self.closed += 1
        self._in_flight = []
