"""From traffic to judged windows, on the real ledger with traffic and Evidently in memory."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import Engine

from flywheel.drift.pinning import PinningPolicy
from flywheel.drift.reference import Covers, Maturity, pin
from flywheel.drift.thresholds import DriftPolicy
from flywheel.drift.verdict import DriftStatus
from flywheel.errors import InvalidInput
from flywheel.ids import BASE, DAEMON, AdapterName, WorkloadId
from flywheel.journal import JournalEntry
from flywheel.progress import Flow
from flywheel.rollout.release import Route
from flywheel.traffic.inference import Arm
from flywheel.windows.counts import CountMatrix, WindowCounts
from flywheel.windows.pane import WindowPolicy
from services.drift_monitor.judge_windows import AT_MOST_WINDOWS, tick, window_is_near, windows_due
from services.drift_monitor.wiring import DriftRules, MonitorParts
from services.ports.drift import ClosedWindow
from services.process.progress import FlowMark
from services.stores.ledger.journal import LedgerJournal
from tests.databases import migrated_ledger
from tests.fakes.watching import ScriptedReports, TrafficInMemory
from tests.ledgers import DriftAndAlertLedger
from tests.told_flows import watched
from tests.watching import MARIA, NOON, ROUTER, recorded

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
TUNED = AdapterName("router-1")


class World:
    """An hour of traffic is 120 rows of two tenants."""

    def __init__(self, folder: Path) -> None:
        self.engine: Engine = migrated_ledger(folder)
        self.watch = DriftAndAlertLedger(self.engine)
        self.traffic, self.reports = TrafficInMemory(), ScriptedReports()
        self.route: Route | None = None
        rules = DriftRules(
            windows=WindowPolicy(pane=5 * MINUTE, window_panes=12, slide_panes=12, longer_panes=(), lateness=MINUTE),
            drift=DriftPolicy(protected=("tenant=globex",), session_rows=1.0),
            pinning=PinningPolicy(whole_day=DAY, watch=2 * HOUR),
            sample_rows=100,
        )
        self.parts = MonitorParts(
            traffic=self.traffic,
            drift=self.watch,
            alerts=self.watch,
            journal=LedgerJournal(self.engine),
            reports=self.reports,
            route=lambda workload: self.route,
            workloads={ROUTER: rules},
            reports_folder=folder / "reports",
        )

    def rules(self, **windows: object) -> None:
        """The same rules with other windows."""
        rules = self.parts.workloads[ROUTER]
        self.parts = replace(self.parts, workloads={ROUTER: replace(rules, windows=replace(rules.windows, **windows))})  # type: ignore[arg-type]

    def send(self, start: datetime, *, hours: int = 1, longer: float = 0.0, every: timedelta = timedelta(seconds=30)) -> None:
        chance = np.random.default_rng(len(self.traffic.held))
        for number in range(hours * HOUR // every):
            features = {
                "prompt_chars": float(max(1, round(chance.normal(150 + longer, 40)))),
                "answer_chars": 40.0 + number % 7,
                "refusal": 0.0,
                "error": 0.0,
            }
            tenant = "globex" if number % 3 == 0 else "acme"
            self.traffic.held.append(recorded(len(self.traffic.held), at=start + number * every, features=features, tenant=tenant))

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
    assert line.evidence["no_evidently_scores"] == "there is no reference yet"


def test_longer_prompts_are_judged_against_the_pinned_reference_and_scored_by_evidently(world: World) -> None:
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


def test_a_window_is_near_shortly_before_it_closes_and_only_with_rows(world: World) -> None:
    def near(moment: datetime) -> bool:
        return window_is_near(world.parts, now=moment, within=timedelta(seconds=30))

    assert not near(NOON)
    world.send(NOON, hours=2)
    assert not near(NOON + 2 * HOUR)  # the first window of all: there is nothing to compare it with
    tick(world.parts, NOON + 2 * HOUR)
    assert not near(NOON + 2 * HOUR)
    world.send(NOON + 2 * HOUR, hours=1)  # the last row half a minute before three
    tick(world.parts, NOON + 3 * HOUR)
    assert not near(NOON + 3 * HOUR + 6 * MINUTE)
    assert near(NOON + 3 * HOUR + 6 * MINUTE + timedelta(seconds=45))  # a pane and the lateness after its end it closes by the clock
    tick(world.parts, NOON + 3 * HOUR + 8 * MINUTE)
    assert len(world.watch.windows(ROUTER)) == 3
    assert not near(NOON + 6 * HOUR)  # no row came since


def test_a_second_tick_closes_nothing_twice(world: World) -> None:
    world.send(NOON, hours=2)
    for _ in range(3):
        tick(world.parts, NOON + 2 * HOUR)
    assert len(world.watch.windows(ROUTER)) == 1


def test_a_workload_that_cannot_be_judged_keeps_no_other_from_its_turn(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    broken, newest = WorkloadId("broken"), world.traffic.newest

    def unreadable(workload: WorkloadId, *, until: datetime | None = None) -> datetime | None:
        if workload == broken:
            raise InvalidInput("the profile cannot be read", remedy="Pin the reference again.", where="broken")
        return newest(workload, until=until)

    monkeypatch.setattr(world.traffic, "newest", unreadable)
    world.parts = replace(world.parts, workloads={broken: world.parts.workloads[ROUTER], **world.parts.workloads})
    world.send(NOON, hours=2)
    with pytest.raises(InvalidInput, match="Pin the reference again"):
        tick(world.parts, NOON + 2 * HOUR)
    assert len(world.watch.windows(ROUTER)) == 1


def test_without_evidently_the_window_closes_and_says_so(world: World) -> None:
    world.reports.broken = "Evidently gave no scores: it is not installed"
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
    reasons = [entry.evidence["no_evidently_scores"] for entry in LedgerJournal(world.engine).entries(kind="window")]
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


def test_where_windows_are_minutes_a_new_champion_is_pinned_after_a_watch_of_seconds(world: World) -> None:
    """As in the demo: no hour of the clock has to pass."""
    world.rules(pane=timedelta(seconds=5), lateness=timedelta(seconds=3))
    seconds = PinningPolicy(whole_day=DAY, watch=timedelta(seconds=30))
    world.parts = replace(world.parts, workloads={ROUTER: replace(world.parts.workloads[ROUTER], pinning=seconds)})
    start, few = NOON + 17 * MINUTE, timedelta(seconds=1)
    world.send(start, hours=1, every=few)
    world.pin(start, start + 5 * MINUTE)
    world.route = Route(workload=ROUTER, alias="router", version=4, champion=TUNED, changed_at=start + 6 * MINUTE)
    tick(world.parts, start + HOUR)
    outputs = [held for held in world.watch.references(ROUTER) if held.covers is Covers.OUTPUT]
    assert [held.adapter for held in outputs] == [TUNED]


def test_after_a_whole_day_the_daemon_pins_by_itself(world: World) -> None:
    world.send(NOON, hours=27)
    for hours in (2, 27):
        tick(world.parts, NOON + hours * HOUR)
    (reference,) = world.watch.references(ROUTER)
    assert (reference.maturity, reference.pinned_by) == (Maturity.POOLED_DAYS, DAEMON)
    assert reference.end - reference.start == DAY
    assert reference.thresholds is not None
    assert reference.thresholds.days == 1.0
    world.send(NOON + 27 * HOUR, hours=2, every=timedelta(seconds=6))
    tick(world.parts, NOON + 29 * HOUR)
    (found,) = [v for v in world.watch.windows(ROUTER)[0].verdicts if (v.slice, v.column) == ("all", "prompt_chars")]
    assert "alarms a day over 1 day" in str(found.evidence["threshold_source"])


def test_a_reference_that_is_pinned_during_a_canary_says_nothing_about_answers(world: World) -> None:
    world.send(NOON, hours=27)
    started = NOON + 3 * HOUR
    arms = {"champion": BASE, "challenger": TUNED, "challenger_arm": Arm.CANARY}
    world.route = Route(workload=ROUTER, alias="router", version=2, share=0.1, changed_at=started, **arms)
    for hours in (2, 27):
        tick(world.parts, NOON + hours * HOUR)
    (reference,) = world.watch.references(ROUTER)
    assert reference.covers is Covers.INPUT


def test_each_further_day_makes_a_better_reference_and_the_second_is_read_by_the_hour(world: World) -> None:
    few = timedelta(minutes=5)
    monday = datetime(2026, 3, 2, tzinfo=UTC)
    for hours in (2, 23, 24, 24, 24):
        started = monday + (len(world.traffic.held) * few)
        world.send(started, hours=hours, every=few)
        tick(world.parts, started + hours * HOUR)
    references = sorted(world.watch.references(ROUTER), key=lambda reference: reference.pinned_at)
    assert [(held.end - held.start) / DAY for held in references] == [1, 2, 3, 4]
    assert [held.maturity for held in references] == [Maturity.POOLED_DAYS, *[Maturity.BY_HOUR] * 3]
    assert all(held.thresholds is not None for held in references)


def test_the_budget_is_calibrated_on_what_a_person_pinned_and_the_person_still_vouches_for_it(world: World) -> None:
    few = timedelta(minutes=5)
    monday = datetime(2026, 3, 2, tzinfo=UTC)
    world.send(monday, hours=49, every=few)
    pinned = world.pin(monday, monday + 2 * DAY)
    tick(world.parts, monday + 49 * HOUR)
    (reference,) = world.watch.references(ROUTER)
    assert (reference.id, reference.pinned_by, reference.maturity) == (pinned, MARIA, Maturity.BY_HOUR)
    assert reference.pinned_at == monday + 2 * DAY
    assert reference.thresholds is not None
    lines = LedgerJournal(world.engine).entries(kind="reference")
    assert sorted(line.state for line in lines) == ["calibrated", "pinned"]
    world.send(monday + 49 * HOUR, every=few)
    tick(world.parts, monday + 50 * HOUR)
    assert len(LedgerJournal(world.engine).entries(kind="reference")) == 2


def test_a_row_that_came_late_into_a_period_that_is_pinned_once_more_stops_nothing(world: World) -> None:
    """The counts by the hour are made from what is recorded now; what was kept of them before has another digest."""
    few = timedelta(minutes=5)
    monday = datetime(2026, 3, 2, tzinfo=UTC)
    world.send(monday, hours=49, every=few)
    world.pin(monday, monday + 2 * DAY)
    tick(world.parts, monday + 49 * HOUR)
    (calibrated,) = world.watch.references(ROUTER)
    (line, *_) = LedgerJournal(world.engine).entries(kind="reference")
    counts = WindowCounts(workload=ROUTER, start=calibrated.start, end=calibrated.end, matrix=calibrated.counts)
    again = pin(counts=counts, adapter=BASE, by=MARIA, now=monday + 49 * HOUR, whole_day=DAY)
    world.watch.pin(again, replace(line, subject=again.id, reason="once more"))
    world.send(monday + HOUR, hours=1, every=20 * MINUTE)
    world.send(monday + 49 * HOUR, every=few)
    tick(world.parts, monday + 50 * HOUR)
    tick(world.parts, monday + 51 * HOUR)
    (reference,) = world.watch.references(ROUTER)
    assert reference.thresholds is not None
    profile = world.watch.seasonal_reference(reference)
    assert profile is not None
    assert profile.digest == reference.seasonal_digest


def test_a_day_that_a_person_pinned_at_five_past_is_calibrated_too(world: World) -> None:
    few = timedelta(minutes=5)
    five_past = NOON + 5 * MINUTE
    world.send(five_past, hours=26, every=few)
    world.pin(five_past, five_past + DAY)
    tick(world.parts, five_past + 26 * HOUR)
    (reference,) = world.watch.references(ROUTER)
    assert reference.thresholds is not None


def test_an_office_that_rests_on_weekends_grows_its_reference_all_the_same(world: World) -> None:
    friday = datetime(2026, 3, 6, tzinfo=UTC)
    few = timedelta(minutes=5)
    for start, hours in ((friday - DAY, 48), (friday + 3 * DAY, 25), (friday + 3 * DAY + 25 * HOUR, 24)):
        world.send(start, hours=hours, every=few)
        tick(world.parts, start + hours * HOUR)
    assert max(held.end - held.start for held in world.watch.references(ROUTER)) >= 4 * DAY


def test_a_new_champions_answers_get_thresholds_of_their_own_after_its_first_day(world: World) -> None:
    few = timedelta(minutes=5)
    world.send(NOON, hours=25, every=few)
    for hours in (2, 25):
        tick(world.parts, NOON + hours * HOUR)
    promoted = NOON + 25 * HOUR + 7 * MINUTE
    world.route = Route(workload=ROUTER, alias="router", version=4, champion=TUNED, changed_at=promoted)
    world.parts = replace(
        world.parts,
        workloads={ROUTER: replace(world.parts.workloads[ROUTER], pinning=PinningPolicy(whole_day=DAY, watch=DAY))},
    )
    world.send(NOON + 25 * HOUR, hours=26, every=few)
    tick(world.parts, NOON + 51 * HOUR)
    outputs = [held for held in world.watch.references(ROUTER) if held.covers is Covers.OUTPUT]
    assert [(held.start, held.end) for held in outputs] == [(NOON + 26 * HOUR, NOON + 50 * HOUR)]
    assert outputs[0].thresholds is not None


def test_longer_windows_that_end_with_the_hour_are_judged_too_and_only_what_moved_is_kept(world: World) -> None:
    world.rules(longer_panes=(24, 48))
    world.send(NOON, hours=4)
    world.pin(NOON, NOON + 4 * HOUR)
    world.send(NOON + 4 * HOUR, hours=4, longer=120)
    tick(world.parts, NOON + 8 * HOUR)
    verdicts = world.watch.windows(ROUTER)[0].verdicts
    lengths = {(v.window_end - v.window_start) / HOUR: v.status for v in verdicts if (v.slice, v.column) == ("all", "prompt_chars")}
    assert lengths == dict.fromkeys((1.0, 2.0, 4.0), DriftStatus.DRIFTING)
    kept = {v.slice for v in verdicts if v.window_end - v.window_start == 4 * HOUR and v.status is DriftStatus.OK}
    assert kept <= {"all", "tenant=globex"}


def test_a_longer_window_that_adds_no_rows_is_not_judged(world: World) -> None:
    world.rules(longer_panes=(24,))
    world.send(NOON, hours=1)
    world.pin(NOON, NOON + HOUR)
    tick(world.parts, NOON + HOUR)
    assert {v.window_end - v.window_start for v in world.watch.windows(ROUTER)[0].verdicts} == {HOUR}


def test_answers_of_two_champions_are_not_judged_in_one_window(world: World) -> None:
    world.rules(longer_panes=(24,))
    world.send(NOON, hours=4)
    world.pin(NOON, NOON + 2 * HOUR)
    world.route = Route(workload=ROUTER, alias="router", version=4, champion=BASE, changed_at=NOON + 3 * HOUR)
    tick(world.parts, NOON + 4 * HOUR)
    two_hours = {v.column for v in world.watch.windows(ROUTER)[0].verdicts if v.window_end - v.window_start == 2 * HOUR}
    assert "prompt_chars" in two_hours
    assert "answer_chars" not in two_hours


def test_a_reference_on_other_bins_is_left_out_by_name_and_the_daemon_goes_on(world: World) -> None:
    world.send(NOON, hours=3)
    counts = world.traffic.window(workload=ROUTER, start=NOON, end=NOON + HOUR)
    bins = tuple((name, number - 5 * (name == "prompt_chars")) for name, number in counts.matrix.bins)
    parts = [counts.matrix.of(name)[:, :number] for name, number in bins]
    older = CountMatrix(slices=counts.matrix.slices, bins=bins, counts=np.concatenate(parts, axis=1), rows=counts.matrix.rows)
    reference = pin(counts=replace(counts, matrix=older), adapter=BASE, by=MARIA, now=NOON, whole_day=DAY)
    world.watch.pin(
        reference, JournalEntry(at=NOON, workload=ROUTER, kind="reference", subject=reference.id, state="pinned", reason="fine")
    )
    tick(world.parts, NOON + 3 * HOUR)
    assert world.status(0, "prompt_chars") is DriftStatus.LEARNING
    assert world.status(0, "answer_chars") is DriftStatus.OK
    (line,) = LedgerJournal(world.engine).entries(kind="window")
    assert "pinned on other bins and learned anew: prompt_chars" in line.reason


def test_four_weeks_are_read_by_the_hour_with_an_alarm_budget_of_their_own(world: World) -> None:
    monday = datetime(2026, 3, 2, tzinfo=UTC)
    few = timedelta(minutes=15)
    now = monday + 29 * DAY
    for hours in (29 * 24, 1):
        world.send(now - hours * HOUR, hours=hours, every=few)
        tick(world.parts, now)
        now += HOUR
    (newest,) = world.watch.references(ROUTER)
    assert (newest.maturity, newest.start, newest.end) == (Maturity.BY_HOUR, monday + 23 * HOUR, monday + 28 * DAY + 23 * HOUR)
    assert newest.thresholds is not None
    profile = world.watch.seasonal_reference(newest)
    assert profile is not None
    assert profile.digest == newest.seasonal_digest
    world.send(now - HOUR, hours=2, longer=200, every=timedelta(seconds=12))
    tick(world.parts, now + HOUR)
    (found,) = [v for v in world.watch.windows(ROUTER)[0].verdicts if (v.slice, v.column) == ("all", "prompt_chars")]
    assert found.evidence["compared_with"] == "the same hours of the reference"
    assert "alarms a day over 28 days" in str(found.evidence["threshold_source"])
    assert found.status is DriftStatus.DRIFTING


JUMPS = (HOUR, DAY, 365 * DAY)


def rows_in(world: World, window: ClosedWindow) -> int:
    (counted,) = [one for one in window.verdicts if (one.slice, one.column) == ("all", "prompt_chars")]
    assert counted.n == world.traffic.window(workload=ROUTER, start=window.start, end=window.end).rows
    return counted.n


def told(world: World, state: str) -> list[str]:
    return [line.subject for line in LedgerJournal(world.engine).entries(kind="window") if line.state == state]


@pytest.mark.parametrize("jump", JUMPS)
def test_windows_go_on_when_a_clock_that_ran_ahead_is_right_again(world: World, jump: timedelta) -> None:
    """The clock runs ahead for two hours, in which rows are recorded and windows are closed; after that it is right."""
    world.send(NOON, hours=3)
    world.pin(NOON, NOON + HOUR)
    right = NOON + 3 * HOUR + 2 * MINUTE
    tick(world.parts, right)
    world.send(right + jump, hours=2)
    tick(world.parts, right + jump + 2 * HOUR)
    world.send(NOON + 3 * HOUR, hours=3)
    for minute in range(1, 4):
        tick(world.parts, NOON + 5 * HOUR + minute * MINUTE)
    judged = [window for window in world.watch.windows(ROUTER, until=NOON + 5 * HOUR) if window.start >= NOON + 3 * HOUR]
    assert [window.end for window in judged] == [NOON + 5 * HOUR, NOON + 4 * HOUR]
    assert min(rows_in(world, window) for window in judged) >= 120
    ahead = world.watch.windows(ROUTER, limit=1)[0]
    assert ahead.end > NOON + 5 * HOUR
    assert told(world, "ahead") == [ahead.id], "once"
    assert ahead.end.isoformat() in world.parts.ahead[ROUTER]
    assert world.watch.alerts() == []


@pytest.mark.parametrize("jump", JUMPS)
def test_windows_go_on_when_a_clock_that_ran_behind_is_right_again(world: World, jump: timedelta) -> None:
    world.send(NOON, hours=3)
    world.pin(NOON, NOON + HOUR)
    right = NOON + 3 * HOUR + 2 * MINUTE
    tick(world.parts, right)
    (before,) = {window.id for window in world.watch.windows(ROUTER)}
    for minute in range(3):
        tick(world.parts, right - HOUR - jump + minute * MINUTE)
    assert told(world, "ahead") == [before]
    world.send(NOON + 3 * HOUR, hours=2)
    tick(world.parts, NOON + 5 * HOUR + 8 * MINUTE)
    ends = [window.end for window in world.watch.windows(ROUTER) if window.end > NOON + 3 * HOUR]
    assert ends == [NOON + 5 * HOUR, NOON + 4 * HOUR]
    assert (told(world, "ahead"), world.parts.ahead) == ([before], {})


def test_a_window_closed_before_its_time_is_judged_again_when_its_time_has_come(world: World) -> None:
    world.send(NOON, hours=3)
    world.pin(NOON, NOON + HOUR)
    right = NOON + 3 * HOUR + 2 * MINUTE
    world.send(right + HOUR, hours=1, every=MINUTE)
    tick(world.parts, right + HOUR)
    world.send(NOON + 3 * HOUR, hours=1)
    tick(world.parts, NOON + 4 * HOUR)
    assert told(world, "judged_again") == [], "rows may still come"
    tick(world.parts, NOON + 4 * HOUR + MINUTE)
    (window,) = [one for one in world.watch.windows(ROUTER) if one.end == NOON + 4 * HOUR]
    assert (rows_in(world, window), told(world, "judged_again")) == (120, [window.id])


def test_windows_that_a_backlog_skips_are_told(world: World) -> None:
    world.send(NOON, hours=1)
    tick(world.parts, NOON + HOUR + 2 * MINUTE)
    world.send(NOON + 100 * HOUR, hours=1)
    tick(world.parts, NOON + 101 * HOUR + 2 * MINUTE)
    (line,) = [line for line in LedgerJournal(world.engine).entries(kind="window") if line.state == "skipped"]
    assert line.evidence["windows"] == 100 - AT_MOST_WINDOWS
    tick(world.parts, NOON + 101 * HOUR + 3 * MINUTE)
    assert len(told(world, "skipped")) == 1


@pytest.mark.parametrize("jump", JUMPS)
def test_a_clock_that_jumps_forward_pins_no_reference(world: World, jump: timedelta) -> None:
    world.send(NOON, hours=20)
    ahead = NOON + 20 * HOUR + jump
    world.send(ahead, hours=1)
    tick(world.parts, ahead + HOUR)
    assert world.watch.references(ROUTER) == []


def test_windows_that_are_due_and_not_closed_are_told_to_stand(world: World, tmp_path: Path) -> None:
    world.send(NOON, hours=3)
    tick(world.parts, NOON + 2 * HOUR)
    later = NOON + 3 * HOUR + 10 * MINUTE
    mark = FlowMark(Flow(name="windows", pace_seconds=120.0, remedy="x"), waiting=lambda: windows_due(world.parts, now=later))
    with watched(tmp_path / "told", "drift_monitor", mark) as seen:
        seen.is_told_to_stand("windows")
        closed: list[int] = []
        tick(replace(world.parts, window_closed=lambda: closed.append(1)), later)
        assert closed
        seen.is_told_to_move("windows")
