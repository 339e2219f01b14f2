"""One page for what moves together, none for what trembles, and late labels that are taken in once."""

from dataclasses import replace
from datetime import timedelta

from flywheel.alerts.alert import Alert, AlertState
from flywheel.alerts.facts import Finding, WindowFacts, facts_of, moved_in
from flywheel.alerts.lifecycle import AlertPolicy, Move, advance
from flywheel.drift.verdict import DriftStatus, DriftVerdict
from tests.watching import NOON, ROUTER, verdict

HOUR = timedelta(hours=1)
POLICY = AlertPolicy(resolve_after=2 * HOUR)
CALM = verdict(DriftStatus.OK, score=0.6, effect=0.01)


def facts(*verdicts: DriftVerdict, hour: int, alert: Alert | None = None, late: bool = False) -> WindowFacts:
    before = moved_in(alert.evidence) if alert is not None else ()
    window = f"window-{hour}"
    return facts_of(workload=ROUTER, window=window, at=NOON + hour * HOUR, verdicts=verdicts, protected=(), moved_before=before, late=late)


def settle(alert: Alert | None, seen: WindowFacts, hour: float) -> tuple[Alert | None, list[Move]]:
    moves = []
    while (step := advance(alert=alert, facts=seen, policy=POLICY, now=NOON + hour * HOUR)).move is not Move.NONE:
        alert = step.alert
        moves.append(step.move)
    return alert, moves


def test_an_evidence_that_trembles_at_its_threshold_is_one_page() -> None:
    strong, nearly = verdict(slice_name="tenant=a"), verdict(DriftStatus.OK, slice_name="tenant=a", score=3e-4, effect=0.3)
    alert, fired = settle(None, facts(CALM, strong, hour=0), 0)
    for hour in range(1, 12):
        alert, moves = settle(alert, facts(CALM, nearly if hour % 4 else strong, hour=hour, alert=alert), hour)
        fired += moves
    assert fired.count(Move.FIRED) == 1
    assert Move.RESOLVED not in fired


def test_what_fell_well_under_its_limits_for_long_enough_is_over() -> None:
    alert, _ = settle(None, facts(CALM, verdict(slice_name="tenant=a"), hour=0), 0)
    gone = verdict(DriftStatus.OK, slice_name="tenant=a", score=0.4, effect=0.01)
    for hour in (1, 2):
        alert, _ = settle(alert, facts(CALM, gone, hour=hour, alert=alert), hour)
    assert alert is not None
    assert alert.state is AlertState.RESOLVED


def test_a_slice_that_fell_silent_keeps_its_alert_open() -> None:
    alert, _ = settle(None, facts(CALM, verdict(slice_name="tenant=a"), hour=0), 0)
    silent = verdict(DriftStatus.NO_DATA, slice_name="tenant=a", score=None)
    for hour in range(1, 6):
        seen = facts(CALM, silent, hour=hour, alert=alert)
        assert seen.finding is Finding.STILL
        alert, _ = settle(alert, seen, hour)
    assert alert is not None
    assert alert.state is AlertState.FIRING


def test_late_labels_open_an_alert_for_a_window_that_was_read_before_and_do_so_once() -> None:
    alert, _ = settle(None, facts(CALM, verdict(), hour=5), 5)
    for hour in (6, 7, 8):
        alert, _ = settle(alert, facts(CALM, hour=hour, alert=alert), hour)
    assert alert is not None
    assert alert.state is AlertState.RESOLVED
    late = facts(CALM, verdict(column="judge"), hour=2, late=True)
    alert, moves = settle(alert, late, 9)
    assert moves == [Move.OPENED, Move.FIRED]
    assert settle(alert, late, 9.5)[1] == []


def test_a_late_window_in_which_nothing_moves_does_not_end_an_alert() -> None:
    alert, _ = settle(None, facts(CALM, verdict(), hour=5), 5)
    assert settle(alert, facts(CALM, hour=1, late=True), 20)[1] == []


def test_each_mover_holds_the_limits_it_was_judged_against_and_its_hours() -> None:
    moved = facts(verdict(slice_name="tenant=a"), hour=3).evidence["movers"]
    assert isinstance(moved, list)
    assert {name: moved[0][name] for name in ("score", "threshold", "effect", "effect_floor", "n", "n_reference", "hours")} == {
        "score": 1e-9,
        "threshold": 1e-4,
        "effect": 0.4,
        "effect_floor": 0.1,
        "n": 500,
        "n_reference": 5_000,
        "hours": 1.0,
    }
    assert moved[0]["window_start"] == NOON.isoformat()


def test_an_alert_that_was_stored_before_movers_held_their_limits_is_still_read() -> None:
    alert, _ = settle(None, facts(CALM, verdict(slice_name="tenant=a"), hour=0), 0)
    assert alert is not None
    then = ("kind", "slice", "column", "status", "method", "score", "effect", "n", "reason")
    held = alert.evidence["movers"]
    assert isinstance(held, list)
    older = replace(alert, evidence={**alert.evidence, "movers": [{name: mover[name] for name in then} for mover in held]})
    nearly = verdict(DriftStatus.OK, slice_name="tenant=a", score=3e-4, effect=0.3)
    assert facts(CALM, nearly, hour=1, alert=older).finding is Finding.STILL


def test_the_evidence_names_what_is_behind_the_rest() -> None:
    seen = facts(verdict(effect=0.3), *(verdict(slice_name=f"tenant={name}", effect=0.3) for name in "abc"), hour=0)
    assert seen.evidence["behind"] == ["prompt_chars of all"]
    assert "3 others moved with it" in str(seen.evidence["grouping"])
