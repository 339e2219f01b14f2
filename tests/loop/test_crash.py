"""Ten deaths by signal 9 anywhere in the daemon, under users: what was answered is recorded once. `make soak NAME=crash` does 200."""

from pathlib import Path

import pytest

from tests.brokers import EMBEDDED
from tests.crash_world import crash, crash_world

KILLS = 10


@pytest.mark.broker
def test_processes_die_and_every_answered_request_is_recorded_once(tmp_path: Path) -> None:
    with crash_world(tmp_path, kind=EMBEDDED, gateways=2, seed=14) as world:
        report = crash(world, kills=KILLS)
    print(report)
    assert report.kills.total() >= KILLS
    assert (report.lost, report.doubled, report.refused) == (0, 0, 0), report
    assert report.answered + report.cut == report.asked
    assert report.sent_twice > 0
