"""What a log says of errors that come again and again: once, then how often, and never more than a megabyte an hour of one cause."""

import json
import subprocess
import sys
from collections.abc import Callable

import pytest

from services.observability.repeated_lines import BUDGET_BYTES, HOUR_SECONDS, MOST_TEXTS, QUIET_SECONDS, RepeatedLines, comparable

MEGABYTE = 1_000_000


class Log:
    """A log in memory, and a clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 0.0
        self.said: list[tuple[float, str, int]] = []  # when, what, bytes
        self.lines = RepeatedLines(clock=lambda: self.now)
        self.lines._start_watching = lambda: None  # type: ignore[method-assign]  (the test looks by itself)

    def line(self, text: str, *, cause: str = "relay", is_error: bool = True, size: int | None = None) -> None:
        size = len(text) if size is None else size

        def again(left_out: int, seconds: float) -> None:
            self.said.append((self.now, f"{text} ({left_out} times)", size))

        if self.lines.admits(cause=cause, text=comparable(text), size=size, is_error=is_error, again=again):
            self.said.append((self.now, text, size))

    @property
    def texts(self) -> list[str]:
        return [text for _, text, _ in self.said]

    def pass_by(self, seconds: float) -> None:
        self.now += seconds
        self.lines.say_ended()

    def busiest_hour(self) -> int:
        held, first, most = 0, 0, 0
        for at, _, size in self.said:
            held += size
            while self.said[first][0] <= at - HOUR_SECONDS:
                held -= self.said[first][2]
                first += 1
            most = max(most, held)
        return most


@pytest.fixture
def log() -> Log:
    return Log()


def test_the_same_error_is_said_once_and_counted_when_it_has_ended(log: Log) -> None:
    for number in range(500):
        log.line(f"no acknowledgement of {number} events")
        log.pass_by(0.01)
    assert log.texts == ["no acknowledgement of 0 events"]
    log.pass_by(QUIET_SECONDS)
    assert log.texts[1:] == ["no acknowledgement of 499 events (499 times)"]
    log.pass_by(10 * HOUR_SECONDS)
    assert len(log.texts) == 2
    log.line("no acknowledgement of 7 events")  # it ended: it is news again
    assert len(log.texts) == 3


def test_an_error_that_goes_on_is_counted_once_an_hour(log: Log) -> None:
    for _ in range(3 * 360):
        log.line("the broker is away")
        log.pass_by(10)
    assert [text for text in log.texts if "times" not in text] == ["the broker is away"]
    assert len(log.texts) == 4


def test_other_errors_of_the_same_place_stay_visible(log: Log) -> None:
    for _ in range(1_000):
        log.line("not sent: the broker is away")
    log.line("not sent: the certificate has expired")
    assert log.texts == ["not sent: the broker is away", "not sent: the certificate has expired"]


def test_a_line_a_minute_is_never_counted(log: Log) -> None:
    for _ in range(60):
        log.line("exchanges wait in memory")
        log.pass_by(60)
    assert log.texts == ["exchanges wait in memory"] * 60


def letters(number: int) -> str:
    return "".join(chr(97 + number // 26**place % 26) for place in range(5))


@pytest.mark.parametrize("text", [lambda n: "the same", lambda n: f"number {n}", lambda n: f"always another one {letters(n)}"])
@pytest.mark.parametrize("is_error", [True, False])
@pytest.mark.parametrize("size", [120, 8_000])
def test_no_cause_adds_a_megabyte_an_hour(log: Log, text: Callable[[int], str], is_error: bool, size: int) -> None:
    """Two hours of some lines a second, then two hours in bursts, each after the one before has ended."""
    for number in range(2 * 3_600 // 5):
        for place in range(20):
            log.line(text(20 * number + place), is_error=is_error, size=size)
        log.pass_by(5)
    for number in range(2 * 100):
        for place in range(100):
            log.line(text(100 * number + place), is_error=is_error, size=size)
        log.pass_by(QUIET_SECONDS + 6)
    assert log.busiest_hour() <= MEGABYTE
    assert len(log.lines._causes) == 1
    assert len(log.lines._causes["relay"].lines) <= MOST_TEXTS + 1


def test_a_cause_over_its_budget_hides_no_other_cause(log: Log) -> None:
    log.line("x", cause="noisy", size=BUDGET_BYTES)
    log.line("y", cause="noisy", size=100)
    log.line("disk full", cause="disk")
    assert log.texts == ["x", "disk full"]


PROGRAM = """
import logging, sys, threading
import structlog
from services.observability import configure_logging
configure_logging("info")
log, kafka, uvicorn = structlog.get_logger(), logging.getLogger("kafka.producer"), logging.getLogger("uvicorn.error")
def fail(number):
    try:
        raise ValueError(f"broken {number} " + "x" * 3000)
    except ValueError:
        log.exception("It broke.", action="broke")
        uvicorn.exception("Exception in application %s", number)
for number in range(5_000):
    kafka.error("Produced batch of %d messages failed", number)
    log.warning("Events wait in the outbox", action="outbox_waits", reason=f"no acknowledgement of {number} events")
    if number % 20 == 0:
        fail(number)
kafka.error("Authentication failed")
log.error("The certificate has expired.", action="outbox_waits")
kafka.error("wrong arguments %d", "three")
"""


def test_five_thousand_errors_of_each_kind_add_some_kilobytes() -> None:
    """As a process has it: by structlog, kafka-python's logger and uvicorn's, with traces."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert len(done.stderr) < 60_000
    lines = done.stderr.splitlines()
    assert sum("Produced batch" in line for line in lines) == 2
    assert any("left out 4999 times" in line for line in lines)
    ours = [json.loads(line) for line in lines if line.startswith("{")]
    waits = [line for line in ours if line["action"] == "outbox_waits"]
    assert [line.get("left_out") for line in waits] == [None, None, 4_999]
    assert waits[1]["event"] == "The certificate has expired."
    assert sum("Authentication failed" in line for line in lines) == 1
    broke = [line for line in ours if line["action"] == "broke"]
    assert [line.get("left_out") for line in broke] == [None, 249]
    assert "ValueError" in broke[0]["exception"]
    assert sum("Exception in application" in line for line in lines) == 2
