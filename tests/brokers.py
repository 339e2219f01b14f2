"""A real embedded broker for a test, on a free port, gone when the test ends."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from services.integrations.kafka.embedded_broker import EmbeddedBroker


def free_port() -> int:
    """A port nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running_broker(tmp_path: Path, *, port: int | None = None) -> Iterator[str]:
    """Yields the bootstrap address. With ``port`` given again, a broker that came back empty."""
    broker = EmbeddedBroker(port=port or free_port(), log_path=tmp_path / "broker.log")
    broker.start()
    try:
        yield broker.bootstrap
    finally:
        broker.stop()
