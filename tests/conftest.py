"""What every test may ask for."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.brokers import KINDS, running_broker

settings.register_profile("flywheel", deadline=None)  # a test says what holds, not how fast this machine is
settings.load_profile("flywheel")


@pytest.fixture(params=KINDS)
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of a real, empty broker: the embedded one, then Apache Kafka."""
    with running_broker(tmp_path, kind=request.param) as bootstrap:
        yield bootstrap
