"""A broker that can be down, or take events without acknowledging them."""

from services.ports.events import NotPublished
from services.ports.outbox import OutboxMessage


class FakePublisher:
    def __init__(self) -> None:
        self.down = False
        self.silent = False  # takes events, acknowledges none
        self.arrived: list[OutboxMessage] = []
        self.closed = 0
        self._in_flight: list[OutboxMessage] = []

    def send(self, message: OutboxMessage) -> None:
        if self.down:
            raise NotPublished("the broker is down", where="kafka.bootstrap", remedy="It is tried again.")
        self._in_flight.append(message)

    def flush(self) -> frozenset[str]:
        taken, self._in_flight = self._in_flight, []
        if self.silent:
            return frozenset()
        self.arrived.extend(taken)
        return frozenset(message.id for message in taken)

    def close(self) -> None:
        self.closed += 1
        self._in_flight = []
