"""A real embedded broker for a test, on a free port, gone when the test ends."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from services.integrations.kafka.embedded_broker import EmbeddedBroker
from tests.ports import free_port


@contextmanager
def running_broker(tmp_path: Path, *, port: int | None = None, killed: bool = False) -> Iterator[str]:
    """Yields the bootstrap address. With ``port`` given again, a broker that came back empty. ``killed``: it ends by signal 9."""
    broker = EmbeddedBroker(port=port or free_port(), log_path=tmp_path / "broker.log")
    broker.start()
    try:
        yield broker.bootstrap
    finally:
        if killed and broker.pid is not None:
            os.kill(broker.pid, signal.SIGKILL)
        broker.stop()
