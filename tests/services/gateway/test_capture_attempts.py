"""From an answered request to a recorded event: nothing is lost on the way, whatever is down."""

import asyncio
import threading
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from gateway_parts import NOW, MailRedactor, RecordedSet, attempt, sealed_log, until
from prometheus_client import REGISTRY

from flywheel.errors import CannotRun
from flywheel.ids import RequestId
from services.gateway.attempts_in_memory import MOST_BYTES, Room
from services.gateway.capture_attempts import Capture, Onward, confirm, encoded_by, keep, publish
from services.gateway.capture_rule import CaptureRule, Fsync
from services.integrations.kafka.event_codec import TRAFFIC_TYPE, decode_traffic
from services.ports.cloud_events import encode
from services.ports.events import NotPublished
from services.stores.capture_spool import CaptureSpool
from services.stores.spooled_event import SpooledEvent
from tests.fakes.event_publisher import FakeEventPublisher


def traffic_event(**fields: Any) -> bytes:
    return encode(type=TRAFFIC_TYPE, **fields)


ENCODE = encoded_by(traffic_event)
ANSWERED = CaptureRule(waits=True, fsync=Fsync.NEVER)


def nested(levels: int) -> Any:
    value: Any = "x"
    for _ in range(levels):
        value = [value]
    return value


def attempts(count: int) -> list[Any]:
    return [attempt(request_id=RequestId(f"r{place}")) for place in range(count)]


def spooled(count: int, *, size: int = 10) -> list[SpooledEvent]:
    return [SpooledEvent(id=f"e{place}", key="k", body=b"x" * size) for place in range(count)]


@pytest.fixture
def spool(tmp_path: Path) -> CaptureSpool:
    return CaptureSpool(tmp_path / "spool" / "gateway.db")


def test_a_kept_event_is_published_once_and_deleted_once_recorded(spool: CaptureSpool) -> None:
    broker, api = FakeEventPublisher(), RecordedSet()
    keep(attempts(3), redactor=MailRedactor(), encode=ENCODE, spool=spool, now=NOW)
    assert publish(spool=spool, publisher=broker, topic="t", now=NOW) == 3
    assert publish(spool=spool, publisher=broker, topic="t", now=NOW) == 0
    assert [message.id for message in broker.arrived] == ["r0-1", "r1-1", "r2-1"]
    assert {message.key for message in broker.arrived} == {"s1"}
    api.ids = {"r0-1", "r2-1"}
    confirm(spool=spool, question=api, now=NOW)
    assert spool.waiting() == 1


def test_with_the_broker_down_everything_waits_on_disk(spool: CaptureSpool, tmp_path: Path) -> None:
    broker = FakeEventPublisher()
    broker.down = True
    keep(attempts(2), redactor=MailRedactor(), encode=ENCODE, spool=spool, now=NOW)
    with pytest.raises(NotPublished):
        publish(spool=spool, publisher=broker, topic="t", now=NOW)
    again = CaptureSpool(tmp_path / "spool" / "gateway.db")  # as after a restart
    broker.down = False
    assert publish(spool=again, publisher=broker, topic="t", now=NOW) == 2


def test_an_event_that_the_broker_lost_is_sent_again(spool: CaptureSpool) -> None:
    broker, api = FakeEventPublisher(), RecordedSet()
    spool.keep(spooled(1), now=NOW)
    publish(spool=spool, publisher=broker, topic="t", now=NOW)
    assert confirm(spool=spool, question=api, now=NOW + timedelta(seconds=9)) == 0
    assert confirm(spool=spool, question=api, now=NOW + timedelta(seconds=11)) == 1
    assert publish(spool=spool, publisher=broker, topic="t", now=NOW + timedelta(seconds=11)) == 1
    assert [message.id for message in broker.arrived] == ["e0", "e0"]


def test_a_slow_recorder_is_sent_copies_at_growing_intervals(spool: CaptureSpool) -> None:
    broker, api, now, sendings = FakeEventPublisher(), RecordedSet(), NOW, []
    spool.keep(spooled(1), now=NOW)
    for _ in range(40):
        if publish(spool=spool, publisher=broker, topic="t", now=now):
            sendings.append((now - NOW).total_seconds())
        now += timedelta(seconds=6)
        confirm(spool=spool, question=api, now=now)
    gaps = [round(later - earlier) for earlier, later in pairwise(sendings)]
    assert gaps[:4] == [12, 24, 42, 66]


def test_confirming_asks_page_by_page(spool: CaptureSpool) -> None:
    broker, api = FakeEventPublisher(), RecordedSet()
    spool.keep(spooled(1_201), now=NOW)
    while publish(spool=spool, publisher=broker, topic="t", now=NOW):
        pass
    api.ids = {f"e{place}" for place in range(1_201) if place != 700}
    confirm(spool=spool, question=api, now=NOW)
    assert (spool.waiting(), spool.unconfirmed()[0]) == (1, ["e700"])


def test_the_same_event_is_kept_once(spool: CaptureSpool) -> None:
    spool.keep(spooled(2), now=NOW)
    spool.keep(spooled(2), now=NOW)
    assert spool.waiting() == 2


def test_a_full_spool_says_how_many_it_refused_and_empties_again(tmp_path: Path) -> None:
    spool = CaptureSpool(tmp_path / "s.db", limit_bytes=100)
    assert spool.keep(spooled(12), now=NOW) == 2
    spool.sent(["e0", "e1"], now=NOW)
    spool.recorded(["e0", "e1"])
    assert spool.keep([SpooledEvent(id="new", key="k", body=b"x" * 20)], now=NOW) == 0
    assert CaptureSpool(tmp_path / "s.db", limit_bytes=100).keep([SpooledEvent(id="more", key="k", body=b"x")], now=NOW) == 1


class Stumbles(MailRedactor):
    def redact(self, text: str, names: tuple[str, ...] = ()) -> tuple[str, int]:
        if "stumble" in text:
            raise ZeroDivisionError
        return super().redact(text)


def test_an_attempt_that_cannot_be_redacted_is_dropped_alone(spool: CaptureSpool) -> None:
    bad = attempt(request_id=RequestId("bad"), body={"messages": [{"role": "user", "content": "stumble"}]})
    keep([bad, *attempts(1)], redactor=Stumbles(), encode=ENCODE, spool=spool, now=NOW)
    assert [event.id for event in spool.due()] == ["r0-1"]


@pytest.mark.parametrize("error", [OSError(24, "Too many open files"), MemoryError()])
def test_what_the_machine_lacks_for_a_moment_drops_nothing(spool: CaptureSpool, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    redactor = MailRedactor()

    def lacks(text: str) -> tuple[str, int]:
        raise error

    with monkeypatch.context() as lacking:
        lacking.setattr(redactor, "redact", lacks)
        with pytest.raises(CannotRun, match="cannot be redacted at present"):
            keep(attempts(2), redactor=redactor, encode=ENCODE, spool=spool, now=NOW)
    keep(attempts(2), redactor=redactor, encode=ENCODE, spool=spool, now=NOW)
    assert [event.id for event in spool.due()] == ["r0-1", "r1-1"]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"messages": []}, "unreadable_messages"),
        ({"prompt": "hi"}, "unreadable_messages"),
        ({"messages": ["hi"]}, "unreadable_messages"),
        ({"messages": [{"role": "user", "content": nested(120)}]}, "nested_too_deeply"),
    ],
)
def test_an_attempt_that_cannot_be_read_is_counted_and_dropped_alone(spool: CaptureSpool, body: dict[str, Any], reason: str) -> None:
    before = counted(reason)
    keep([attempt(request_id=RequestId("bad"), body=body), *attempts(1)], redactor=MailRedactor(), encode=ENCODE, spool=spool, now=NOW)
    assert [event.id for event in spool.due()] == ["r0-1"]
    assert counted(reason) == before + 1


def test_an_answer_that_is_nested_too_deeply_is_left_out_and_its_request_recorded(spool: CaptureSpool) -> None:
    deep = {"id": "c", "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi", "x": nested(120)}}]}
    keep([attempt(response=deep)], redactor=MailRedactor(), encode=ENCODE, spool=spool, now=NOW)
    recorded = decode_traffic(spool.due()[0].body)
    assert (recorded.exchange.prompt.user_turns, recorded.exchange.answers, recorded.exchange.left_out) == ("hello", (), ("response",))


def counted(reason: str) -> float:
    return REGISTRY.get_sample_value("flywheel_gateway_dropped_total", {"reason": reason}) or 0.0


def test_a_full_memory_drops_the_newest_and_never_waits(spool: CaptureSpool, tmp_path: Path) -> None:
    broker = FakeEventPublisher()
    broker.down = True
    running = capture(spool, broker, RecordedSet(), tmp_path)
    before = counted("memory_full")
    for place in range(3):
        running.offer(attempt(request_id=RequestId(f"r{place}")), size=MOST_BYTES // 2)
    assert counted("memory_full") == before + 1
    running.start()
    until(lambda: {event.id for event in spool.due()} == {"r0-1", "r1-1"})
    until(lambda: not list((tmp_path / "sealed").iterdir()))
    running.offer(attempt(request_id=RequestId("later")), size=MOST_BYTES)  # there is room again
    until(lambda: len(spool.due()) == 3)
    running.stop(within_seconds=5)


def capture(spool: CaptureSpool, broker: FakeEventPublisher, api: RecordedSet, tmp_path: Path, redactor: Any = None) -> Capture:
    onward = Onward(redactor=redactor or MailRedactor(), encode=ENCODE, spool=spool, publisher=broker, question=api, topic="t")
    return Capture(sealed=sealed_log(tmp_path / "sealed"), open_record=lambda: onward)


def test_the_threads_bring_an_attempt_from_memory_to_the_record(spool: CaptureSpool, tmp_path: Path) -> None:
    broker, api = FakeEventPublisher(), RecordedSet()
    api.ids = {f"r{place}-1" for place in range(250)}
    running = capture(spool, broker, api, tmp_path)
    running.start()
    for one in attempts(250):
        running.offer(one, size=100)
    until(lambda: len(broker.arrived) == 250 and spool.waiting() == 0)
    until(lambda: not list((tmp_path / "sealed").iterdir()))  # the sealed copies go
    running.stop(within_seconds=5)


class Slow(MailRedactor):
    """Works on a long text until it is let go on."""

    def __init__(self) -> None:
        self.may_end, self.started = threading.Event(), threading.Event()

    def redact(self, text: str, names: tuple[str, ...] = ()) -> tuple[str, int]:
        if len(text) > 500_000:
            self.started.set()
            assert self.may_end.wait(60)
        return super().redact(text)


def test_small_texts_are_recorded_before_a_large_one_that_came_first(spool: CaptureSpool, tmp_path: Path) -> None:
    broker, api, redactor = FakeEventPublisher(), RecordedSet(), Slow()
    running = capture(spool, broker, api, tmp_path, redactor)
    hostile = attempt(request_id=RequestId("large"), body={"messages": [{"role": "user", "content": "1/2/" * 200_000}]})
    api.ids = {"large-1", *(f"r{place}-1" for place in range(20))}
    running.offer(hostile, size=800_000)
    running.start()
    assert redactor.started.wait(60)
    for one in attempts(20):
        running.offer(one, size=100)
    until(lambda: len(broker.arrived) == 20)
    assert {message.id for message in broker.arrived} == {f"r{place}-1" for place in range(20)}
    redactor.may_end.set()
    until(lambda: len(broker.arrived) == 21 and spool.waiting() == 0)
    until(lambda: not list((tmp_path / "sealed").iterdir()))
    running.stop(within_seconds=5)


class Missing(MailRedactor):
    def __init__(self) -> None:
        self.installed = False

    def redact(self, text: str, names: tuple[str, ...] = ()) -> tuple[str, int]:
        if not self.installed:
            raise CannotRun("presidio is not installed", remedy="Install it.")
        return super().redact(text)


def test_what_was_answered_before_the_redactor_worked_survives_a_kill(spool: CaptureSpool, tmp_path: Path) -> None:
    """No stop, and no thread's end: what the first gateway has written is all that the second one gets."""
    broker, dead = FakeEventPublisher(), capture(spool, FakeEventPublisher(), RecordedSet(), tmp_path, Missing())
    dead.start()
    seen = []

    async def answer() -> None:
        for one in attempts(250):
            await dead.keep(one, size=100, rule=ANSWERED)
            seen.append(sum(file.stat().st_size for file in (tmp_path / "sealed").iterdir()))

    asyncio.run(answer())
    assert all(later > earlier for earlier, later in pairwise(seen))  # each is on disk before its answer leaves
    assert not any(b"hello" in file.read_bytes() for file in (tmp_path / "sealed").iterdir())
    assert dead.trouble() is not None
    again = capture(CaptureSpool(tmp_path / "spool" / "gateway.db"), broker, RecordedSet(), tmp_path)
    again.start()
    until(lambda: len(broker.arrived) == 250)
    assert [message.id for message in broker.arrived] == [f"r{place}-1" for place in range(250)]
    assert decode_traffic(broker.arrived[0].value).exchange.prompt.user_turns == "hello"
    again.stop(within_seconds=5)
    dead.stop(within_seconds=1)


def test_what_lies_in_memory_at_the_end_is_sent_after_the_next_start(spool: CaptureSpool, tmp_path: Path) -> None:
    running = capture(spool, FakeEventPublisher(), RecordedSet(), tmp_path, Missing())
    for one in attempts(250):
        running.offer(one, size=100)
    running.start()
    running.stop(within_seconds=10)
    broker = FakeEventPublisher()
    again = capture(spool, broker, RecordedSet(), tmp_path)
    again.start()
    until(lambda: len(broker.arrived) == 250)
    again.stop(within_seconds=5)


def test_without_a_redactor_nothing_readable_is_stored_and_the_gateway_says_so(spool: CaptureSpool, tmp_path: Path) -> None:
    broker, redactor = FakeEventPublisher(), Missing()
    running = capture(spool, broker, RecordedSet(), tmp_path, redactor)
    running.start()
    running.offer(attempts(1)[0], size=100)
    until(lambda: running.trouble() is not None)
    assert (spool.waiting(), broker.arrived) == (0, [])
    redactor.installed = True
    until(lambda: len(broker.arrived) == 1)
    until(lambda: running.trouble() is None)
    running.stop(within_seconds=5)


def test_with_memory_half_full_the_rest_is_read_again_from_the_disk(
    spool: CaptureSpool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker, redactor = FakeEventPublisher(), Missing()
    running = capture(spool, broker, RecordedSet(), tmp_path, redactor)
    monkeypatch.setattr(running, "_room", Room(most=20, most_bytes=10**9))
    running.start()
    before = counted("memory_full")
    asyncio.run(answer_all_of(running, attempts(250)))
    assert counted("memory_full") == before
    redactor.installed = True
    until(lambda: len(broker.arrived) == 250)
    assert {message.id for message in broker.arrived} == {f"r{place}-1" for place in range(250)}
    running.stop(within_seconds=5)


async def answer_all_of(running: Capture, given: list[Any]) -> None:
    for one in given:
        await running.keep(one, size=100, rule=ANSWERED)


@pytest.mark.parametrize("ahead", [timedelta(hours=1), timedelta(days=1), timedelta(days=365)])
def test_what_a_clock_that_ran_ahead_has_sent_is_sent_again(spool: CaptureSpool, ahead: timedelta) -> None:
    broker, api = FakeEventPublisher(), RecordedSet()
    spool.keep(spooled(1), now=NOW + ahead)
    assert publish(spool=spool, publisher=broker, topic="t", now=NOW + ahead) == 1
    assert confirm(spool=spool, question=api, now=NOW) == 1


def test_what_the_broker_refuses_is_told_as_long_as_the_gateway_runs_and_sent_again_by_the_next(
    spool: CaptureSpool, tmp_path: Path
) -> None:
    broker = FakeEventPublisher()
    broker.most_bytes = 10
    running = capture(spool, broker, RecordedSet(), tmp_path)
    running.start()
    for one in attempts(2):
        running.offer(one, size=10)
    until(lambda: "refuses 2 exchanges for good" in (running.trouble() or ""))
    running.stop(within_seconds=5)
    broker.most_bytes = 1_048_576
    again = capture(spool, broker, RecordedSet(), tmp_path)
    again.start()
    until(lambda: {message.id for message in broker.arrived} == {"r0-1", "r1-1"})
    until(lambda: again.trouble() is None)
    again.stop(within_seconds=5)
