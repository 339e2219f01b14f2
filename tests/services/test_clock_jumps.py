"""The clock of the whole daemon jumps by an hour, a day and a year, forward and back, under traffic, and is right again.

Real processes and the embedded broker, with FLYWHEEL_SOAK=1 Apache Kafka too; the broker's clock jumps as well. The answers are a stub's.
A jump lasts some seconds: long enough that windows are closed, the calendar comes round and requests are recorded by the wrong clock.
"""

import json
import os
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from flywheel.journal import JournalEntry, JournalKind
from services.cli.demo.daemon import Daemon
from services.cli.demo.people import make_tokens, token_of
from services.cli.demo.stage_clock import wait_for
from services.cli.doctor import CheckLevel, examine_flows
from services.settings import Settings, load
from tests.brokers import APACHE, KINDS, running_broker
from tests.fakes.vllm_server import FakeVllm
from tests.opened import create_topics
from tests.ports import free_metrics_port, free_port
from tests.shifted_clock import ShiftedClock, shifted_clock

pytestmark = [pytest.mark.broker]
HOUR, DAY, YEAR = timedelta(hours=1), timedelta(days=1), timedelta(days=365)
JUMPS = (HOUR, -HOUR, DAY, -DAY, YEAR, -YEAR)
WITHIN_SECONDS = 60.0  # after the clock's return everything goes on within so long
FEW = 5


@dataclass(kw_only=True)
class JumpingDaemon:
    """The daemon, and what was sent to it."""

    daemon: Daemon
    settings: Settings
    clock: ShiftedClock
    sent: int = 0
    seconds: list[float] = field(default_factory=list)  # from each return of the clock until a window was judged

    def send(self, requests: int = FEW) -> None:
        headers = {"Authorization": f"Bearer {token_of(self.settings, 'app')}"}
        url = f"http://127.0.0.1:{self.settings.http.gateway_port}/v1/chat/completions"
        body = {"model": "support", "messages": [{"role": "user", "content": "Where is my order?"}]}
        for _ in range(requests):
            answer = httpx.post(url, json=body, headers=headers, timeout=30)
            assert answer.status_code == 200, answer.text
            self.sent += 1

    def waits(self, look: Any, what: str) -> Any:
        return wait_for(look, what=what, seconds=WITHIN_SECONDS, alive=self.daemon.check, every=0.1)

    def all_recorded(self) -> None:
        self.waits(lambda: self.daemon.recorded() >= self.sent or None, "the record of every request")

    def lines(self, kind: JournalKind, state: str) -> list[JournalEntry]:
        return [line for line in self.daemon.journal.entries(kind=kind) if line.state == state]

    def judged(self, *, since: datetime, until: datetime) -> list[JournalEntry]:
        """Windows with rows that lie in this time."""
        windows = self.lines(JournalKind.WINDOW, "judged")
        return [line for line in windows if line.evidence["rows"] and since <= _end(line) <= until]

    def next_appointment(self) -> datetime:
        with closing(sqlite3.connect(f"file:{self.settings.data_dir / 'schedule.db'}?mode=ro", uri=True)) as schedule:
            ((seconds,),) = schedule.execute("SELECT next_run_time FROM apscheduler_jobs").fetchall()
        return datetime.fromtimestamp(seconds, UTC)

    def pid(self, process: str) -> int:
        page = json.loads((self.settings.data_dir / "up.json").read_text())
        return int(page["parts"][process]["pid"])


def _end(line: JournalEntry) -> datetime:
    return datetime.fromisoformat(str(line.evidence["end"]))


@pytest.fixture(params=KINDS if os.environ.get("FLYWHEEL_SOAK") else KINDS[:1])
def jumping(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[JumpingDaemon]:
    with FakeVllm() as vllm, shifted_clock(tmp_path) as clock, ExitStack() as stack:
        kafka = stack.enter_context(running_broker(tmp_path, kind=APACHE)) if request.param == APACHE else None
        settings, config = _configured(tmp_path, serving=vllm.url, bootstrap=kafka)
        if kafka is not None:
            create_topics(settings)
        with Daemon(config=config, settings=settings) as daemon:
            daemon.start(show=lambda _: None)
            yield JumpingDaemon(daemon=daemon, settings=settings, clock=clock)


def _configured(folder: Path, *, serving: str, bootstrap: str | None) -> tuple[Settings, Path]:
    """Windows of a second, a calendar that comes round each minute, and a first reference after 40 seconds with rows."""
    (folder / "keys").mkdir()
    content = {
        "data_dir": str(folder / "var"),
        "http": {"gateway_port": free_port(), "api_port": free_port(), "metrics_port": free_metrics_port()},
        "kafka": {"embedded_port": free_port(), "bootstrap": bootstrap},
        "serving": {"url": serving},
        "tokens": [{"name": "app", "scopes": ["infer"], "workloads": ["support"], "token_file": str(folder / "keys" / "app")}],
        "workloads": {
            "support": {
                "alias": "support",
                "mode": "observe",
                "watch": {
                    "pane_seconds": 1,
                    "window_panes": 1,
                    "slide_panes": 1,
                    "longer_panes": [],
                    "lateness_seconds": 0.5,
                    "learning_seconds": 40,
                    "minimum_rows": 5,
                },
                "trigger": {"check_seconds": 1, "calendar": "* * * * *"},
            }
        },
    }
    path = folder / "flywheel.yaml"
    path.write_text(yaml.safe_dump(content))
    settings = load(path)
    make_tokens(settings)
    return settings, path


def test_after_each_jump_of_the_clock_the_daemon_goes_on(jumping: JumpingDaemon) -> None:
    jumping.send()
    jumping.all_recorded()
    for jump in JUMPS:
        jumped_at, planned = jumping.clock.now() + jump, len(jumping.lines(JournalKind.TRIGGER, "planned_anew"))
        jumping.clock.set(jump)
        jumping.send()
        jumping.all_recorded()
        if jump > timedelta():
            jumping.waits(lambda: jumping.judged(since=jumped_at, until=jumped_at + HOUR / 2) or None, "a window in the future")  # noqa: B023
            jumping.waits(lambda: jumping.next_appointment() > jumped_at or None, "the calendar in the future")  # noqa: B023
            recorder = jumping.pid("traffic_windower")
            os.kill(recorder, signal.SIGSTOP)
            jumping.send()  # captured by the wrong clock, and read by the right one
            jumping.clock.set(timedelta())
            os.kill(recorder, signal.SIGCONT)
        jumping.clock.set(timedelta())
        returned, returned_at = time.monotonic(), datetime.now(UTC)
        jumping.send()
        jumping.waits(
            lambda: jumping.judged(since=returned_at, until=datetime.now(UTC)) or None,  # noqa: B023
            f"a window after a jump of {jump}",
        )
        jumping.seconds.append(time.monotonic() - returned)
        if jump > timedelta():
            jumping.waits(lambda: len(jumping.lines(JournalKind.TRIGGER, "planned_anew")) > planned or None, "the calendar")  # noqa: B023
        jumping.all_recorded()
    forward = sum(jump > timedelta() for jump in JUMPS)
    counts = jumping.daemon.counts()
    assert (counts["recorded"], counts["dead_lettered"]) == (jumping.sent, 0)
    assert len(jumping.lines(JournalKind.WINDOW, "ahead")) <= len(JUMPS), "each told once"
    assert len(jumping.lines(JournalKind.WINDOW, "ahead")) >= forward
    assert [one.finding for one in examine_flows(jumping.settings) if one.part == "clock"] == [CheckLevel.NOTE]
    assert jumping.lines(JournalKind.REFERENCE, "pinned") == [], "no time without rows makes traffic older"
    assert jumping.daemon.firing_alert() is None
    assert max(jumping.seconds) < WITHIN_SECONDS
