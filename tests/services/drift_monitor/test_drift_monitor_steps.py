"""From traffic to judged windows, on the real ledger with traffic and Evidently in memory."""

from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import Engine

from flywheel.drift.reference import Covers, Maturity, PinningPolicy, pin
from flywheel.drift.verdict import DriftPolicy, DriftStatus
from flywheel.ids import BASE, DAEMON, AdapterName
from flywheel.journal import JournalEntry
from flywheel.rollout.release import Route
from flywheel.windows.assign import WindowPolicy
from services.adapters.ledger import open_database
from services.adapters.ledger_record import LedgerJournal
from services.adapters.ledger_watch import LedgerWatch
from services.drift_monitor.steps import tick
from services.wiring import deploy_dir
from services.wiring.drift_monitor import MonitorParts, WatchRules
from tests.fakes.watching import ScriptedReports, TrafficInMemory
from tests.watching import MARIA, NOON, ROUTER, recorded

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
TUNED = AdapterName("router-1")


class World:
    """An hour of traffic is 120 rows of two tenants."""

    def __init__(self, folder: Path) -> None:
        self.engine: Engine = open_database(f"sqlite:///{folder}/ledger.db", migrations=deploy_dir() / "migrations" / "ledger")
        self.watch = LedgerWatch(self.engine, drift_topic="drift", alerts_topic="alerts")
        self.traffic, self.reports = TrafficInMemory(), ScriptedReports()
        self.route: Route | None = None
        rules = WatchRules(
            windows=WindowPolicy(pane=5 * MINUTE, window_panes=12, slide_panes=12, lateness=MINUTE),
            drift=DriftPolicy(protected=("tenant=globex",)),
            pinning=PinningPolicy(whole_day=DAY, watch=2 * HOUR),
            sample_rows=100,
        )
        self.parts = MonitorParts(
            traffic=self.traffic,
            watch=self.watch,
            reports=self.reports,
            route=lambda workload: self.route,
            workloads={ROUTER: rules},
            reports_folder=folder / "reports",
        )

    def send(self, start: datetime, *, hours: int = 1, longer: float = 0.0) -> None:
        chance = np.random.default_rng(len(self.traffic.held))
        for number in range(hours * 120):
            features = {
                "prompt_chars": float(max(1, round(chance.normal(150 + longer, 40)))),
                "answer_chars": 40.0 + number % 7,
                "refusal": 0.0,
                "error": 0.0,
            }
            tenant = "globex" if number % 3 == 0 else "acme"
            self.traffic.held.append(
                recorded(len(self.traffic.held), at=start + number * timedelta(seconds=30), features=features, tenant=tenant)
            )

    def pin(self, start: datetime, end: datetime) -> str:
        counts = self.traffic.window(workload=ROUTER, start=start, end=end)
        reference = pin(counts=counts, adapter=BASE, by=MARIA, now=end, whole_day=DAY)
        self.watch.pin(
            reference,
            JournalEntry(at=end, workload=ROUTER, kind="reference", subject=reference.id, state="pinned", reason="fine", actor=MARIA),
        )
        return reference.id

    def status(self, window: int, column: str, slice_name: str = "all") -> DriftStatus:
        """``window`` 0 is the newest."""
        (found,) = [v for v in self.watch.windows(ROUTER)[window].verdicts if (v.slice, v.column) == (slice_name, column)]
        return found.status


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_no_traffic_closes_nothing(world: World) -> None:
    tick(world.parts, NOON)
    assert not world.watch.windows(ROUTER)


def test_before_a_reference_a_window_closes_as_learning(world: World) -> None:
    world.send(NOON, hours=2)
    tick(world.parts, NOON + 2 * HOUR)
    (window,) = world.watch.windows(ROUTER)
    assert {verdict.status for verdict in window.verdicts if verdict.n} == {DriftStatus.LEARNING}
    (line,) = LedgerJournal(world.engine).entries(kind="window")
    assert line.evidence["no_second_opinion"] == "there is no reference yet"


def test_longer_prompts_are_judged_against_the_pinned_reference_with_a_second_opinion(world: World) -> None:
    world.send(NOON, hours=4)
    reference = world.pin(NOON, NOON + 4 * HOUR)
    world.send(NOON + 4 * HOUR, hours=2, longer=120)
    tick(world.parts, NOON + 6 * HOUR)
    (window,) = world.watch.windows(ROUTER)
    assert window.start == NOON + 4 * HOUR
    assert window.reference == reference
    assert world.status(0, "prompt_chars") is DriftStatus.DRIFTING
    assert world.status(0, "answer_chars") is DriftStatus.OK
    ((slices, shown, html),) = world.reports.asked
    assert slices[:2] == ("all", "tenant=globex")
    assert "tenant=acme" in slices  # flagged by our pass
    assert {"prompt_chars", "answer_chars"} <= shown
    assert html is not None
    assert html.endswith(f"{window.id}.html")
    assert window.second_opinions


def test_a_second_tick_closes_nothing_twice(world: World) -> None:
    world.send(NOON, hours=2)
    for _ in range(3):
        tick(world.parts, NOON + 2 * HOUR)
    assert len(world.watch.windows(ROUTER)) == 1


def test_without_evidently_the_window_closes_and_says_so(world: World) -> None:
    world.reports.broken = "Evidently gave no second opinion: it is not installed"
    world.send(NOON, hours=3)
    world.pin(NOON, NOON + HOUR)
    tick(world.parts, NOON + 3 * HOUR)
    (window,) = world.watch.windows(ROUTER)
    assert window.second_opinions == ()
    (line,) = LedgerJournal(world.engine).entries(kind="window")
    assert "not installed" in line.reason


def test_a_backlog_is_judged_whole_and_compared_at_its_newest_window_only(world: World) -> None:
    world.send(NOON, hours=2)
    world.pin(NOON, NOON + 2 * HOUR)
    tick(world.parts, NOON + 2 * HOUR)
    world.reports.asked.clear()
    world.send(NOON + 2 * HOUR, hours=4)
    tick(world.parts, NOON + 6 * HOUR)
    assert len(world.watch.windows(ROUTER)) == 5
    assert len(world.reports.asked) == 1
    reasons = [entry.evidence["no_second_opinion"] for entry in LedgerJournal(world.engine).entries(kind="window")]
    assert sum("backlog" in str(reason) for reason in reasons) == 3


def test_when_traffic_stops_the_clock_closes_its_window_and_one_says_no_data(world: World) -> None:
    world.send(NOON, hours=1)
    tick(world.parts, NOON + HOUR)
    for hours in range(2, 30):
        tick(world.parts, NOON + hours * HOUR)
    windows = world.watch.windows(ROUTER)
    assert windows[0].end == NOON + 2 * HOUR
    assert world.status(0, "prompt_chars") is DriftStatus.NO_DATA
    assert world.status(1, "prompt_chars") is DriftStatus.LEARNING


def test_a_new_champions_answers_are_learned_before_they_are_judged(world: World) -> None:
    world.send(NOON, hours=2)
    world.pin(NOON, NOON + 2 * HOUR)
    promoted = NOON + 2 * HOUR
    world.route = Route(workload=ROUTER, alias="router", version=4, champion=TUNED, changed_at=promoted)
    for hour in range(2, 6):
        world.send(NOON + hour * HOUR)
        tick(world.parts, NOON + (hour + 1) * HOUR)
    assert world.status(-1, "answer_chars") is DriftStatus.LEARNING
    assert world.status(-1, "prompt_chars") is DriftStatus.OK
    references = world.watch.references(ROUTER)
    assert references[0].adapter == TUNED
    assert references[0].covers is Covers.OUTPUT
    assert references[0].pinned_by == DAEMON
    assert references[0].maturity is Maturity.POOLED_DAYS
    assert world.status(0, "answer_chars") is DriftStatus.OK
    assert world.status(0, "prompt_chars") is DriftStatus.OK


def test_after_a_whole_day_the_daemon_pins_by_itself(world: World) -> None:
    world.send(NOON, hours=27)
    for hours in (2, 27):
        tick(world.parts, NOON + hours * HOUR)
    (reference,) = world.watch.references(ROUTER)
    assert (reference.maturity, reference.pinned_by) == (Maturity.POOLED_DAYS, DAEMON)
    assert reference.end - reference.start == DAY
