"""The hourly pass over old records, on real databases with a clock that the test moves."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, select

from flywheel.ids import WorkloadId
from flywheel.journal import JournalEntry, JournalKind, RetentionNote
from flywheel.retention import ClockReading, Hold, OldPeriod, RecordKind, RetentionPolicy
from flywheel.traffic.features import columns_of
from flywheel.windows.pane_shape import PaneShape
from flywheel.windows.slices import SlicePolicy
from services.drift_monitor.delete_old_records import DELETIONS, PASS_SECONDS, OldRecordsSweep
from services.drift_monitor.wiring import RetentionParts
from services.ports.old_records import OldRecords
from services.ports.traffic import RecordedInference, RecordingBatch
from services.stores.database import open_database, reading
from services.stores.ledger.journal import LedgerJournal
from services.stores.traffic.old_traffic import OldTraffic
from services.stores.traffic.tables import exchange_contents, inferences
from tests.traffic_events import NOON, inference
from tests.traffic_stores import BothSides, recording_store

SUPPORT, OTHER = WorkloadId("support"), WorkloadId("other")
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@dataclass(kw_only=True)
class Machine:
    """The wall clock and the time since the machine started."""

    wall: datetime = NOON
    running: float = 1_000.0
    boot: str = "first"

    def reads(self) -> ClockReading:
        return ClockReading(wall=self.wall, running=self.running, boot=self.boot)

    def passes(self, time: timedelta) -> None:
        self.wall, self.running = self.wall + time, self.running + time.total_seconds()


@dataclass(kw_only=True)
class World:
    store: BothSides
    ledger: Engine
    machine: Machine
    holds: Callable[[WorkloadId], list[Hold]] = lambda _: []
    policies: tuple[tuple[WorkloadId, RetentionPolicy], ...] = ((SUPPORT, RetentionPolicy()),)

    def sweep(self, stores: Sequence[OldRecords] = ()) -> OldRecordsSweep:
        """As a process that has just started has it."""
        return OldRecordsSweep(
            RetentionParts(
                stores=stores or (OldTraffic(self.store.engine, now=lambda: self.machine.wall),),
                policies=dict(self.policies),
                default=RetentionPolicy(),
                holds=self.holds,
                journal=LedgerJournal(self.ledger),
                read_clock=self.machine.reads,
            )
        )

    def record(self, *numbers: int, at: datetime, **changes: object) -> None:
        rows = []
        for number in numbers:
            one = replace(inference(number, **changes), occurred_at=at)
            rows.append(RecordedInference(inference=one, features=columns_of(one, valid_format=None), topic="t"))
        self.store.record(RecordingBatch(advances=[], rows=rows, recorded_at=self.machine.wall))

    def rows(self) -> set[str]:
        with reading(self.store.engine) as connection:
            return set(connection.execute(select(inferences.c.request_id)).scalars())

    def lines(self) -> list[JournalEntry]:
        return list(LedgerJournal(self.ledger).entries(kind=JournalKind.RETENTION))


@pytest.fixture
def world(tmp_path: Path) -> World:
    shape = PaneShape(pane=timedelta(minutes=5), slices=SlicePolicy())
    store = recording_store(tmp_path, shapes={SUPPORT: shape, OTHER: shape})
    return World(store=store, ledger=open_database(f"sqlite:///{tmp_path / 'ledger.db'}"), machine=Machine())


def one_pass(sweep: OldRecordsSweep, machine: Machine) -> float:
    """Until the next pass has ended; how many records it deleted."""
    before = records_deleted()
    for _ in range(2):  # the process may have just started
        while sweep.tick(machine.wall) is not None:
            machine.passes(timedelta(seconds=0.2))
        machine.passes(timedelta(seconds=PASS_SECONDS))
    return records_deleted() - before


def records_deleted() -> float:
    """As the metric says."""
    return sum(one.value for metric in DELETIONS.collect() for one in metric.samples if one.name.endswith("_total"))


def after_the_first_day(world: World, stores: Sequence[OldRecords] = ()) -> OldRecordsSweep:
    sweep = world.sweep(stores)
    one_pass(sweep, world.machine)
    world.machine.passes(DAY)
    return sweep


def test_rows_go_when_their_time_is_over_and_the_journal_says_how_many(world: World) -> None:
    world.record(1, at=NOON - 40 * DAY)
    world.record(2, at=NOON - 20 * DAY)
    sweep = world.sweep()
    one_pass(sweep, world.machine)
    assert world.rows() == {"req-1", "req-2"}  # nothing on the first day
    world.machine.passes(DAY)
    assert one_pass(sweep, world.machine) > 0
    assert world.rows() == {"req-2"}
    world.machine.passes(DAY)
    one_pass(sweep, world.machine)
    first, last = world.lines()
    assert (first.state, last.state) == ("waits", "deleted")
    assert RetentionNote.of(last).deleted["rows"] == 1
    assert "1 rows" in last.reason


def test_an_idle_pass_deletes_nothing_and_writes_no_line(world: World) -> None:
    sweep = after_the_first_day(world)
    world.record(1, at=world.machine.wall)
    assert one_pass(sweep, world.machine) == 0
    assert len(world.lines()) == 1


def test_a_clock_that_runs_a_year_ahead_deletes_nothing_then_nor_within_a_day_of_its_return(world: World) -> None:
    sweep = after_the_first_day(world)
    world.record(1, at=world.machine.wall - 29 * DAY)
    world.machine.wall += 365 * DAY
    assert one_pass(sweep, world.machine) == 0
    world.machine.passes(20 * HOUR)
    assert one_pass(sweep, world.machine) == 0
    world.machine.wall -= 365 * DAY
    sweep.tick(world.machine.wall)
    one_pass(sweep, world.machine)
    assert world.rows() == {"req-1"}
    assert [line.state for line in world.lines()] == ["waits", "waits", "waits"]
    assert "forward by 365.0 days" in world.lines()[1].reason
    assert "back by 365.0 days" in world.lines()[2].reason
    world.machine.passes(3 * DAY)
    one_pass(sweep, world.machine)
    assert world.rows() == set()


def test_a_jump_in_the_middle_of_a_pass_ends_the_pass(world: World) -> None:
    sweep = after_the_first_day(world)
    world.record(*range(40), at=world.machine.wall - 40 * DAY)
    world.machine.passes(2 * HOUR)
    assert sweep.tick(world.machine.wall) is not None
    left = len(world.rows())
    assert 0 < left < 40
    world.machine.wall += 400 * DAY
    assert one_pass(sweep, world.machine) == 0
    assert len(world.rows()) == left


def test_a_process_that_starts_after_a_jump_waits_too(world: World) -> None:
    after_the_first_day(world)
    world.record(1, at=world.machine.wall - 20 * DAY)
    world.machine.wall += 60 * DAY
    sweep = world.sweep()
    assert one_pass(sweep, world.machine) == 0
    assert one_pass(world.sweep(), world.machine) == 0  # and one that is started again within the day
    assert [line.state for line in world.lines()] == ["waits", "waits"]
    world.machine.passes(DAY)
    one_pass(world.sweep(), world.machine)
    assert world.rows() == set()


def test_after_a_restart_of_the_machine_a_long_gap_counts_as_a_jump(world: World) -> None:
    after_the_first_day(world)
    world.record(1, at=world.machine.wall - 20 * DAY)
    world.machine = replace(world.machine, wall=world.machine.wall + 60 * DAY, running=20.0, boot="second")
    assert one_pass(world.sweep(), world.machine) == 0
    assert "has restarted" in world.lines()[-1].reason


def test_workloads_have_their_own_days_and_forgotten_ones_the_default(world: World) -> None:
    world.policies = ((SUPPORT, RetentionPolicy(rows=3, contents=2)),)
    for number, age in enumerate((2.5, 5, 40)):
        world.record(number, at=NOON - age * DAY)
        world.record(10 + number, at=NOON - age * DAY, workload=OTHER)
    world.machine.passes(-DAY - 2 * HOUR)
    sweep = after_the_first_day(world)
    one_pass(sweep, world.machine)
    assert world.rows() == {"req-0", "req-10", "req-11"}
    with reading(world.store.engine) as connection:
        assert set(connection.execute(select(exchange_contents.c.event_id)).scalars()) == {"event-10", "event-11"}


def test_what_is_held_stays_until_its_hold_ends(world: World) -> None:
    everything = frozenset(RecordKind)
    for number in range(6):
        world.record(number, at=NOON - 50 * DAY + number * DAY)
    alert = Hold(kinds=everything, start=NOON - 47.5 * DAY, end=NOON - 45.5 * DAY, reason="alert a is firing")
    world.holds = lambda _: [alert]
    sweep = after_the_first_day(world)
    one_pass(sweep, world.machine)
    assert world.rows() == {"req-3", "req-4"}
    world.holds = lambda _: []
    sweep = world.sweep()
    one_pass(sweep, world.machine)
    assert world.rows() == set()


def test_a_step_is_small_and_grows_only_while_it_is_quick(world: World) -> None:
    world.record(*range(300), at=NOON - 40 * DAY)
    sweep = after_the_first_day(world)
    world.machine.passes(2 * HOUR)
    sizes, before = [], 300
    while sweep.tick(world.machine.wall) is not None and before:
        left = len(world.rows())
        sizes += [before - left] if left < before else []
        before = left
    assert sizes[0] == 10
    assert all(after <= 2 * size for size, after in itertools.pairwise(sizes))
    assert sum(sizes) == 300


class SlowRecords:
    """A store whose deletions take 1 ms for each record."""

    kinds = frozenset({RecordKind.IDS})

    def __init__(self, left: int) -> None:
        self.left, self.monotonic, self.steps = left, 0.0, list[int]()

    def workloads(self) -> set[WorkloadId]:
        return set()

    def delete_some(self, kind: RecordKind, workload: WorkloadId | None, period: OldPeriod, *, at_most: int) -> int:
        deleted = min(at_most, self.left)
        self.left, self.monotonic, self.steps = self.left - deleted, self.monotonic + deleted / 1_000, [*self.steps, deleted]
        return deleted

    def start_anew(self) -> None: ...

    def give_back(self) -> bool:
        return False


def test_a_step_takes_a_twentieth_of_a_second_and_four_times_as_long_is_paused(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = SlowRecords(left=2_000)
    monkeypatch.setattr("services.drift_monitor.delete_old_records.time.monotonic", lambda: slow.monotonic)
    sweep = after_the_first_day(world, stores=(slow,))
    world.machine.passes(2 * HOUR)
    pauses = []
    while (pause := sweep.tick(world.machine.wall)) is not None:
        pauses.append(pause)
    assert slow.left == 0
    steps = slow.steps[: len(pauses)]
    assert max(steps) <= 50
    assert sum(steps[3:-1]) / len(steps[3:-1]) > 30  # and it uses the time
    assert all(pause > 3.999 * step / 1_000 for pause, step in zip(pauses, steps, strict=True))
