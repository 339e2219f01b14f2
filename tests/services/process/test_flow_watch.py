"""The watch over a process's flows: what it says where, once each, and that nothing which hangs holds it up."""

import threading
from dataclasses import replace
from pathlib import Path

import structlog

from flywheel.journal import JournalKind
from flywheel.progress import Flow
from services.cli.up.wiring import health_answer
from services.process.loop import run_loop
from services.process.process_names import metrics_port
from services.process.progress import FlowMark, FlowWatch
from services.stores.ledger.journal import LedgerJournal
from tests.databases import migrated_ledger
from tests.told_flows import journalled, told, watched

FLOW = Flow(name="topic to record", pace_seconds=60.0, remedy="Start the broker.", restart_after_seconds=300.0)


class Clock:
    """Monotonic seconds, moved by hand."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def test_a_flow_is_told_once_when_it_stands_and_once_when_it_moves(tmp_path: Path) -> None:
    waits = 0
    mark = FlowMark(FLOW, waiting=lambda: waits, cause=lambda: "no broker")
    with watched(tmp_path, "traffic_windower", mark) as seen, structlog.testing.capture_logs() as lines:
        for _ in range(2):
            waits = 3
            seen.is_told_to_stand("topic to record")
            for _ in range(5):
                seen.watch.look()
            waits = 0
            seen.is_told_to_move("topic to record")
        assert journalled(seen.settings, "topic to record") == ["stands", "moves"] * 2
    assert [line["action"] for line in lines] == ["flow_stands", "flow_moves"] * 2
    assert "Start the broker." in lines[0]["remedy"]


def test_work_that_moves_does_not_stand_however_long_it_waits(tmp_path: Path) -> None:
    clock = Clock()
    mark = FlowMark(FLOW, waiting=lambda: 1_000, clock=clock)
    watch = FlowWatch("p", [mark], journal=lambda: LedgerJournal(migrated_ledger(tmp_path)))
    for _ in range(100):
        clock.now += 50
        mark.moved()
        watch.look()
        assert watch.standing() == {}
    clock.now += 61
    watch.look()
    assert list(watch.standing()) == ["topic to record"]


def test_a_flow_whose_measuring_hangs_is_told_by_the_health_all_the_same(tmp_path: Path) -> None:
    clock, asked, over = Clock(), threading.Event(), threading.Event()

    def hangs() -> int:
        asked.set()
        over.wait()
        return 0

    mark = FlowMark(FLOW, waiting=hangs, clock=clock)
    watch = FlowWatch("p", [mark], journal=lambda: LedgerJournal(migrated_ledger(tmp_path)))
    looking = threading.Thread(target=watch.look, daemon=True)
    looking.start()
    asked.wait()
    clock.now += 61
    assert "the measuring does not end" in watch.standing()["topic to record"]
    over.set()
    looking.join()
    assert watch.standing() == {}


def test_what_the_measuring_raises_is_no_sign_of_movement() -> None:
    clock = Clock()

    def raises() -> int:
        raise OSError("no route to host")

    mark = FlowMark(FLOW, waiting=raises, clock=clock)
    mark.measure()
    clock.now += 61
    mark.measure()
    assert "no route to host" in mark.verdict().reason


def test_the_journals_lines_wait_until_it_can_be_written(tmp_path: Path) -> None:
    clock, waits = Clock(), 1
    mark, journal = FlowMark(FLOW, waiting=lambda: waits, clock=clock), LedgerJournal(migrated_ledger(tmp_path))
    reachable = False

    def opened() -> LedgerJournal:
        if not reachable:
            raise OSError("the disk is full")
        return journal

    watch = FlowWatch("p", [mark], journal=opened)
    clock.now += 61
    watch.look()
    waits = 0
    watch.look()
    assert journal.entries(kind=JournalKind.FLOW) == []
    reachable = True
    watch.look()
    assert [line.state for line in journal.entries(kind=JournalKind.FLOW)] == ["stands", "moves"]


def test_a_restarted_process_ends_what_the_earlier_one_told(tmp_path: Path) -> None:
    journal, clock = LedgerJournal(migrated_ledger(tmp_path)), Clock()
    first = FlowMark(FLOW, waiting=lambda: 1, clock=clock)
    clock.now += 61
    FlowWatch("p", [first], journal=lambda: journal).look()
    second = FlowWatch("p", [FlowMark(FLOW, waiting=lambda: None, clock=clock)], journal=lambda: journal)
    second.look()
    assert [line.state for line in journal.entries(kind=JournalKind.FLOW)] == ["stands"]  # it is not known yet
    third = FlowWatch("p", [FlowMark(FLOW, waiting=lambda: 0, clock=clock)], journal=lambda: journal)
    third.look()
    third.look()
    assert [line.state for line in journal.entries(kind=JournalKind.FLOW)] == ["stands", "moves"]


def test_a_process_ends_where_its_restart_is_the_repair(tmp_path: Path) -> None:
    clock, ended = Clock(), []
    known: str | None = "the disk is full"
    mark = FlowMark(FLOW, waiting=lambda: 1, cause=lambda: known, clock=clock)
    watch = FlowWatch("p", [mark], journal=lambda: LedgerJournal(migrated_ledger(tmp_path)), end=lambda: ended.append(1))
    clock.now += 301
    watch.look()
    assert ended == []
    known = None
    watch.look()
    assert ended == [1]


def test_a_step_of_a_loop_that_hangs_is_told(tmp_path: Path) -> None:
    over, inside, stop = threading.Event(), threading.Event(), threading.Event()

    def step(_: object) -> None:
        inside.set()
        over.wait()

    with watched(tmp_path, "trainer") as seen:
        loop = threading.Thread(
            target=lambda: run_loop(process="trainer", step=step, every_seconds=1.0, stop=stop, watch=seen.watch), daemon=True
        )
        loop.start()
        inside.wait()
        (mark,) = seen.watch._marks
        mark.flow = replace(mark.flow, pace_seconds=0.5)
        seen.is_told_to_stand("steps of trainer")
        over.set()
        seen.is_told_to_move("steps of trainer")
        stop.set()
        loop.join()


def test_a_flow_that_stands_makes_no_process_unready(tmp_path: Path) -> None:
    with watched(tmp_path, "alert_desk", FlowMark(FLOW, waiting=lambda: 1)) as seen:
        seen.is_told_to_stand("topic to record")
        address = f"http://127.0.0.1:{metrics_port(seen.settings, 'alert_desk')}"
        assert health_answer(address) is None
        assert told(seen.settings, "alert_desk", "topic to record") == dict.fromkeys(("health", "metric", "journal", "doctor"), True)
