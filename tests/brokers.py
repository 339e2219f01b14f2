"""A real embedded broker for a test, on a free port, gone when the test ends."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from services.integrations.kafka.embedded_broker import EmbeddedBroker
from tests.ports import free_port


@contextmanager
def running_broker(tmp_path: Path, *, port: int | None = None) -> Iterator[str]:
    """Yields the bootstrap address. With ``port`` given again, a broker that came back empty."""
    broker = EmbeddedBroker(port=port or free_port(), log_path=tmp_path / "broker.log")
    broker.start()
    try:
        yield broker.bootstrap
    finally:
        broker.stop()
