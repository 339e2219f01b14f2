"""Rows that come after their window was closed: the window is judged again, once for what came, and says what that changed."""

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from sqlalchemy import update

from flywheel.drift.late_data import ReevaluationPolicy
from flywheel.drift.reference import pin
from flywheel.drift.verdict import DriftStatus
from flywheel.ids import AdapterName
from flywheel.journal import JournalEntry
from flywheel.rollout.release import Route
from schemas import schema
from services.drift_monitor import reevaluate_late_data as retesting
from services.drift_monitor.judge_windows import tick
from services.drift_monitor.wiring import drift_rules
from services.settings import Watch, Workload
from services.stores.ledger.judgements import judgement_table
from services.stores.ledger.outbox import LedgerOutbox
from services.stores.traffic.tables import panes
from tests.late_rows import DAY, HOUR, MINUTE, LateWorld
from tests.watching import MARIA, NOON, ROUTER

TUNED = AdapterName("router-1")


@pytest.fixture
def world(tmp_path: Path) -> LateWorld:
    world = LateWorld(tmp_path)
    world.four_good_hours()
    return world


def test_a_spool_that_arrives_late_has_its_own_window_judged_again(world: LateWorld) -> None:
    world.send(4, hours=2)
    world.look(5.2)
    assert world.verdict(5, "refusal").status is DriftStatus.OK
    world.look(6.2)
    world.send(4, every=MINUTE, refusal=1.0)
    world.look(6.4)
    assert world.verdict(5, "refusal").status is DriftStatus.DRIFTING
    assert world.window(5).judged_again == 1
    line = next(entry for entry in world.told("judged_again") if entry.subject == world.window(5).id)
    assert line.reason.startswith("60 rows came late, 12 of its panes changed after it was judged: 1 h: with its late rows")
    assert line.evidence["late_rows"] == 60
    assert "all/refusal (1 h)" in line.evidence["found"]  # type: ignore[operator]
    assert line.evidence["withdrawn"] == []
    (closing,) = [entry for entry in world.told("judged") if entry.subject == world.window(5).id]
    assert line.caused_by == closing.id
    assert closing.evidence["drifted"] == [], "what it said when it closed is still told"


def test_a_longer_window_that_ends_later_holds_the_late_rows_too_and_is_judged_again_by_the_same_rule(world: LateWorld) -> None:
    world.send(4, hours=3)
    for hour in (5, 6, 7):
        world.look(hour + 0.2)
    world.send(4, every=MINUTE, refusal=1.0)
    world.look(7.4)
    assert [world.window(end).judged_again for end in (4, 5, 6, 7)] == [0, 1, 1, 0]
    assert world.verdict(6, "refusal", hours=2).status is DriftStatus.DRIFTING
    assert world.verdict(6, "refusal").status is DriftStatus.OK


def test_a_second_tick_without_new_rows_does_nothing(world: LateWorld) -> None:
    world.send(4, hours=2)
    world.look(6.2)
    world.send(4, every=MINUTE, refusal=1.0)
    world.look(6.4)
    assert {one.on.position for one in world.watch.judgements(ROUTER, ended_after=NOON + 5 * HOUR)} == {world.rows}
    before = (world.watch.windows(ROUTER), world.told("judged_again"), _events(world))
    for at in (6.4, 6.5, 6.9):
        world.look(at)
    assert (world.watch.windows(ROUTER), world.told("judged_again"), _events(world)) == before


def test_a_tick_without_late_rows_unpacks_no_pane(world: LateWorld) -> None:
    world.send(4, hours=1.5)
    world.look(5.2)
    with world.traffic.engine.begin() as connection:
        connection.execute(update(panes).values(counts=b"no pane any more"))
    world.look(5.4)
    assert not world.told("judged_again")


def test_more_rows_of_the_same_hour_have_it_judged_once_more_after_a_rest(world: LateWorld) -> None:
    world.send(4, hours=2)
    world.look(5.2)
    for at in (5.3, 5.31, 5.32, 5.5):
        world.send(4, every=20 * MINUTE)
        world.look(at)
    assert [entry.evidence["late_rows"] for entry in world.told("judged_again")] == [3, 9]
    first, second = world.told("judged_again")
    assert second.caused_by == first.id
    assert world.window(5).judged_again == 2


def test_a_window_that_had_no_data_is_judged_again_when_its_rows_come(world: LateWorld) -> None:
    world.send(5)
    world.look(5.2)
    world.look(6.2)
    assert world.verdict(5, "refusal").status is DriftStatus.NO_DATA
    world.send(4)
    world.look(6.4)
    assert world.verdict(5, "refusal").status is DriftStatus.OK
    assert world.told("judged_again")[0].evidence["late_rows"] == 120


def test_the_event_of_the_newer_verdicts_is_another_one_and_fits_its_schema(world: LateWorld) -> None:
    world.send(4, hours=2)
    world.look(6.2)
    world.send(4, every=MINUTE, refusal=1.0)
    world.look(6.4)
    first, again = [event for event in _events(world) if event["data"]["window"] == world.window(5).id]
    assert ("judged_again" in first["data"], again["data"]["judged_again"]) == (False, 1)
    assert first["id"] != again["id"]
    assert again["time"] > first["time"]
    for event in _events(world):
        Draft202012Validator(schema("envelope.v1")).validate(event)
        Draft202012Validator(schema("drift/drift.v1")).validate(event["data"])


def test_killed_between_judging_and_storing_the_next_tick_stores_the_same(world: LateWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    world.send(4, hours=2)
    world.look(6.2)
    world.send(4, every=MINUTE, refusal=1.0)
    killed = replace(world.monitor, drift=_KilledAtTheCommit(world))
    with pytest.raises(KeyboardInterrupt):
        tick(killed, NOON + 6.4 * HOUR)
    assert not world.told("judged_again")
    assert world.window(5).judged_again == 0
    world.look(6.4)
    assert world.window(5).judged_again == 1
    assert world.verdict(5, "refusal").status is DriftStatus.DRIFTING


def test_no_hours_switch_it_off_and_what_ended_before_them_stays_as_it_is(tmp_path: Path) -> None:
    for name, reach in (("off", timedelta()), ("short", HOUR)):
        world = LateWorld(tmp_path / name, late_data=ReevaluationPolicy(look_back=reach))
        world.four_good_hours()
        world.send(4, hours=2)
        world.look(5.2)
        world.send(4, every=MINUTE, refusal=1.0)
        world.look(6.2)
        assert [entry.subject for entry in world.told("judged_again")] == [], name


def test_answers_of_the_champion_of_before_are_judged_against_its_own_reference(world: LateWorld) -> None:
    world.send(4, hours=2)
    world.look(6.2)
    world.route = Route(workload=ROUTER, alias="router", version=4, champion=TUNED, changed_at=NOON + 6 * HOUR)
    world.send(6, answer_chars=400.0)
    counts = world.traffic.window(workload=ROUTER, start=NOON + 6 * HOUR, end=NOON + 7 * HOUR)
    reference = pin(counts=counts, adapter=TUNED, by=MARIA, now=NOON + 7 * HOUR, whole_day=DAY)
    world.watch.pin(
        reference, JournalEntry(at=NOON, workload=ROUTER, kind="reference", subject=reference.id, state="pinned", reason="fine")
    )
    world.send(4, every=MINUTE)
    world.look(7.2)
    assert world.window(5).judged_again == 1
    assert world.verdict(5, "answer_chars").status is DriftStatus.OK


def test_windows_that_were_cut_in_other_lengths_stay_as_they_are(world: LateWorld) -> None:
    world.send(4, hours=2)
    world.look(6.2)
    rules = world.monitor.workloads[ROUTER]
    shorter = replace(rules, windows=replace(rules.windows, longer_panes=(36,)))
    world.monitor = replace(world.monitor, workloads={ROUTER: shorter})
    world.send(4, every=MINUTE, refusal=1.0)
    world.look(6.4)
    assert not world.told("judged_again")


def test_a_record_that_lost_its_rows_replaces_no_verdict(world: LateWorld) -> None:
    world.send(4, hours=2)
    world.look(6.2)
    with world.traffic.engine.begin() as connection:
        connection.execute(panes.delete())
    world.send(4, every=MINUTE, refusal=1.0)
    world.look(6.4)
    assert world.verdict(5, "refusal").status is DriftStatus.OK
    assert not world.told("judged_again")


def test_what_was_recorded_while_a_window_was_judged_is_looked_at_again_and_is_not_late(world: LateWorld) -> None:
    world.send(4, hours=2)
    world.look(6.2)
    with world.engine.begin() as connection:  # as if the last rows had come between the count and the panes
        connection.execute(update(judgement_table).values(position=1))
    world.look(6.4)
    assert not world.told("judged_again")
    positions = [one.on.position for one in world.watch.judgements(ROUTER, ended_after=NOON)]
    assert set(positions) == {world.traffic.counts(ROUTER).recorded}


def test_of_many_windows_a_tick_judges_a_few_and_the_next_ones_the_rest(world: LateWorld) -> None:
    rules = world.monitor.workloads[ROUTER]
    day = replace(rules, windows=replace(rules.windows, longer_panes=(144,)))
    world.monitor = replace(world.monitor, workloads={ROUTER: day})
    world.send(4, hours=9)
    world.look(13.3)
    world.send(4, every=MINUTE, refusal=1.0)
    counts = []
    for _ in range(3):
        tick(world.monitor, NOON + 13.5 * HOUR)
        counts.append(len(world.told("judged_again")))
    assert counts == [retesting.MAX_PER_TICK, 9, 9]
    assert {world.window(end).judged_again for end in range(5, 14)} == {1}


def test_the_settings_say_for_how_long_and_panes_how_often() -> None:
    assert drift_rules(Workload(alias="router")).late_data == ReevaluationPolicy(look_back=DAY, debounce=5 * MINUTE)
    never = drift_rules(Workload(alias="router", watch=Watch(late_data_hours=0, pane_seconds=10))).late_data
    assert (never.look_back, never.debounce) == (timedelta(), timedelta(seconds=10))


class _KilledAtTheCommit:
    """The ledger until the moment at which newer verdicts would be kept."""

    def __init__(self, world: LateWorld) -> None:
        self._watch = world.watch

    def __getattr__(self, name: str) -> object:
        return getattr(self._watch, name)

    def reevaluate(self, *_: object, **__: object) -> bool:
        raise KeyboardInterrupt


def _events(world: LateWorld) -> list[dict]:  # type: ignore[type-arg]
    messages = LedgerOutbox(world.engine).due(now=NOON + DAY, resend_after=HOUR)
    return [json.loads(message.value) for message in messages if message.topic == "drift"]
