"""The disk is full: users are answered, exchanges wait in memory to a bound, and all that was kept is written when there is room."""

import asyncio
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from gateway_parts import MailRedactor, RecordedSet, attempt, sealed_log, until
from prometheus_client import REGISTRY

from flywheel.ids import RequestId
from services.gateway.attempts_in_memory import Room
from services.gateway.capture_attempts import Capture, Onward, encoded_by
from services.gateway.capture_rule import CaptureRule, Fsync
from services.integrations.kafka.event_codec import TRAFFIC_TYPE
from services.ports.cloud_events import encode
from services.stores import sealed_log as module
from services.stores.capture_spool import CaptureSpool
from services.stores.spooled_event import SpoolUnwritable
from tests.fakes.event_publisher import FakeEventPublisher
from tests.small_disk import fill, small_file_system

MIB = 1024**2


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    with small_file_system(tmp_path / "disk", mebibytes=4) as folder:
        yield folder


def dropped() -> float:
    return REGISTRY.get_sample_value("flywheel_gateway_dropped_total", {"reason": "memory_full"}) or 0.0


def run_full(folder: Path, monkeypatch: pytest.MonkeyPatch, *, fill: object, room: object) -> None:
    """Ten exchanges before the disk is full, forty while it is, ten after; memory takes thirty."""
    broker = FakeEventPublisher()
    spool = CaptureSpool(folder / "spool.db")
    onward = Onward(
        redactor=MailRedactor(),
        encode=encoded_by(lambda **fields: encode(type=TRAFFIC_TYPE, **fields)),
        spool=spool,
        publisher=broker,
        question=RecordedSet(),
        topic="t",
    )
    running = Capture(sealed=sealed_log(folder / "sealed"), open_record=lambda: onward)
    monkeypatch.setattr(running, "_room", Room(most=30))
    running.start()
    text = "x" * 20_000

    async def answer(numbers: range) -> None:
        for number in numbers:
            one = attempt(request_id=RequestId(f"r{number}"), body={"messages": [{"role": "user", "content": text}]})
            await running.keep(one, size=1, rule=CaptureRule(waits=True, fsync=Fsync.NEVER))

    asyncio.run(answer(range(10)))
    until(lambda: len(broker.arrived) == 10)
    before, unwritten = dropped(), REGISTRY.get_sample_value("flywheel_gateway_answered_unwritten_total") or 0
    with structlog.testing.capture_logs() as lines:
        fill()  # type: ignore[operator]
        asyncio.run(answer(range(10, 50)))
        until(lambda: running.trouble() is not None)
        assert REGISTRY.get_sample_value("flywheel_gateway_capture_waits", {"on": "disk"}) == 1
        until(lambda: REGISTRY.get_sample_value("flywheel_gateway_memory_attempts") == 30)
        assert (REGISTRY.get_sample_value("flywheel_gateway_answered_unwritten_total") or 0) == unwritten + 30
        assert running.disk_wait.reason is not None
        assert dropped() == before + 10
        room()  # type: ignore[operator]
        until(lambda: len(broker.arrived) >= 40)
        asyncio.run(answer(range(50, 60)))
        until(lambda: len({message.id for message in broker.arrived}) == 50)
    until(lambda: running.trouble() is None)
    assert running.disk_wait.reason is None
    assert REGISTRY.get_sample_value("flywheel_gateway_memory_attempts") == 0
    assert {message.id for message in broker.arrived} == {f"r{number}-1" for number in (*range(40), *range(50, 60))}
    assert (
        len([line for line in lines if line["action"] == "capture_waits"]) <= 3
    )  # one for the disk, one for the spool, one for the sender
    running.stop(within_seconds=10)
    with sqlite3.connect(folder / "spool.db") as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_no_byte_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the one place where sealed exchanges are written, and where the spool is."""

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    def unwritable(*_: object, **__: object) -> None:
        raise SpoolUnwritable("the spool cannot be written: database or disk is full", where="spool", remedy="Make room.")

    keep, write = CaptureSpool.keep, module.write_all

    def fill() -> None:
        monkeypatch.setattr(module, "write_all", full)
        monkeypatch.setattr(CaptureSpool, "keep", unwritable)

    def room() -> None:
        monkeypatch.setattr(module, "write_all", write)
        monkeypatch.setattr(CaptureSpool, "keep", keep)

    run_full(tmp_path, monkeypatch, fill=fill, room=room)


def test_a_small_file_system_is_full(small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filler = small_disk / "filler"
    run_full(small_disk, monkeypatch, fill=lambda: fill(filler), room=filler.unlink)
