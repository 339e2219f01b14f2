"""What late rows found opens or joins one incident; what they withdrew ends none."""

from datetime import timedelta
from pathlib import Path

import pytest

from flywheel.alerts.alert import AlertState, Severity
from flywheel.drift.verdict import DriftStatus
from services.drift_monitor.judge_windows import tick
from services.stores.ledger.journal import LedgerJournal
from tests.late_rows import HOUR, MINUTE, LateWorld
from tests.watching import NOON


@pytest.fixture
def world(tmp_path: Path) -> LateWorld:
    world = LateWorld(tmp_path)
    world.four_good_hours()
    return world


def test_a_late_spool_of_refusals_opens_one_alert_that_names_its_own_window(world: LateWorld) -> None:
    world.send(4, hours=2)
    world.look(5.2)
    world.look(6.2)
    assert world.alerts() == []
    world.send(4, every=MINUTE, refusal=1.0)
    world.look(6.4)
    (alert,) = world.alerts()
    assert alert.state is AlertState.FIRING
    assert alert.seen.first == world.window(5).id
    assert "refusal" in alert.message.summary
    line = LedgerJournal(world.engine).entries(kind="alert")[0]
    assert (line.state, line.caused_by) == ("pending", world.window(5).id)
    before = LedgerJournal(world.engine).entries(kind="alert")
    world.look(6.5)
    world.desk_restarts()
    world.look(6.6)
    assert LedgerJournal(world.engine).entries(kind="alert") == before
    assert world.alerts() == [alert]


def test_what_late_rows_withdraw_does_not_end_an_alert_and_newer_quiet_windows_do(world: LateWorld) -> None:
    world.send(4, every=MINUTE)
    world.send(4.5, hours=0.5, every=MINUTE, refusal=1.0)
    world.look(5.2)
    (alert,) = world.alerts()
    assert alert.state is AlertState.FIRING
    world.send(4, every=timedelta(seconds=1))
    for at in (5.4, 9.4):  # so late that quiet evidence would have been enough
        tick(world.monitor, NOON + at * HOUR)
        world.states.tick(NOON + at * HOUR)
        world.desk_restarts()
    assert world.window(5).judged_again == 1
    assert world.told("judged_again")[0].evidence["withdrawn"]
    assert world.alerts()[0].state is AlertState.FIRING
    for hour in range(5, 10):
        world.send(hour)
        world.look(hour + 1.3)
    assert world.alerts()[0].state is AlertState.RESOLVED


def test_a_window_whose_mover_was_withdrawn_before_the_desk_read_it_is_no_quiet_evidence(world: LateWorld) -> None:
    world.send(4, refusal=1.0)
    world.look(5.2)
    world.send(5)
    world.look(6.2)
    world.send(6, hours=0.5, refusal=1.0)
    world.send(6.5, hours=0.5)
    tick(world.monitor, NOON + 7.2 * HOUR)  # the desk is down
    world.send(6, every=timedelta(seconds=1))
    tick(world.monitor, NOON + 7.4 * HOUR)
    assert world.told("judged_again")[-1].evidence["withdrawn"]
    assert world.told("judged_again")[-1].evidence["drifted"] == []
    world.desk_restarts()
    world.states.tick(NOON + 11 * HOUR)
    assert world.alerts()[0].state is AlertState.FIRING


def test_when_a_longer_window_moves_with_it_at_once_the_alert_still_names_the_hour_in_which_it_began(world: LateWorld) -> None:
    world.send(4, hours=2)
    world.look(5.2)
    world.send(4, every=MINUTE, refusal=1.0)
    world.look(6.2)
    assert world.verdict(6, "refusal", hours=2).status is DriftStatus.DRIFTING
    (alert,) = world.alerts()
    assert alert.seen.first == world.window(5).id
    assert alert.seen.newest == world.window(6).id


def test_a_late_finding_joins_the_alert_that_is_open_and_what_moves_now_stays_named(world: LateWorld) -> None:
    world.send(4, hours=1)
    world.look(5.2)
    world.send(5, prompt_chars=900.0)
    world.look(6.2)
    (opened,) = world.alerts()
    assert opened.severity is Severity.WARNING
    world.send(4, every=MINUTE, refusal=1.0)
    world.look(6.4)
    (alert,) = world.alerts()
    assert alert.id == opened.id
    assert alert.severity is Severity.CRITICAL, "answers got worse in the hour that came late"
    assert alert.seen.first == alert.seen.newest == world.window(6).id
    movers = {(mover["column"], mover["window_start"]) for mover in alert.evidence["drifted_series"]}  # type: ignore[attr-defined]
    assert ("prompt_chars", (NOON + 5 * HOUR).isoformat()) in movers
    assert ("refusal", (NOON + 4 * HOUR).isoformat()) in movers
    assert world.window(5).id in alert.seen.late
    assert world.window(5).id in {line.caused_by for line in LedgerJournal(world.engine).entries(kind="alert")}


def test_an_incident_that_is_over_is_opened_again_once_by_a_late_finding_and_never_twice(world: LateWorld) -> None:
    world.send(4, hours=1, prompt_chars=900.0)
    world.look(5.2)
    for hour in range(5, 10):
        world.send(hour)
        world.look(hour + 1.2)
    assert [alert.state for alert in world.alerts()] == [AlertState.RESOLVED]
    world.send(4, every=MINUTE, prompt_chars=900.0, refusal=1.0)
    world.look(10.3)
    second, first = world.alerts()
    assert (second.state, first.state) == (AlertState.FIRING, AlertState.RESOLVED)
    assert second.id != first.id
    assert second.seen.first == first.seen.first == world.window(5).id
    for hour in range(10, 16):
        world.desk_restarts()
        world.send(hour)
        world.look(hour + 1.2)
    assert [alert.state for alert in world.alerts()] == [AlertState.RESOLVED, AlertState.RESOLVED]


def test_more_of_the_same_hour_may_find_more_and_is_taken_in_too(world: LateWorld) -> None:
    world.send(4, hours=2)
    world.look(5.2)
    world.send(4, every=MINUTE, prompt_chars=900.0)
    world.look(5.4)
    (alert,) = world.alerts()
    assert alert.severity is Severity.WARNING
    world.send(4, every=MINUTE, refusal=1.0)
    world.look(5.5)
    (alert,) = world.alerts()
    assert alert.severity is Severity.CRITICAL
    assert alert.seen.late == (world.window(5).id, f"{world.window(5).id} (2)")
