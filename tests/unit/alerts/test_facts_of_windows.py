"""One page for what moves together, none for what trembles, and late labels that are taken in once."""

from dataclasses import replace
from datetime import timedelta

from flywheel.alerts.alert import Alert, AlertState, Severity
from flywheel.alerts.facts import Finding, WindowFacts, facts_of, moved_in
from flywheel.alerts.lifecycle import AlertPolicy, Move, advance
from flywheel.drift.verdict import DriftStatus, DriftVerdict
from flywheel.traffic.column import Family
from tests.watching import NOON, ROUTER, verdict

HOUR = timedelta(hours=1)
POLICY = AlertPolicy(resolve_after=2 * HOUR)
CALM = verdict(DriftStatus.OK, score=0.6, effect=0.01)


def facts(*verdicts: DriftVerdict, hour: int, alert: Alert | None = None, late: int = 0) -> WindowFacts:
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
    late = facts(CALM, verdict(column="judge"), hour=2, late=1)
    alert, moves = settle(alert, late, 9)
    assert moves == [Move.OPENED, Move.FIRED]
    assert settle(alert, late, 9.5)[1] == []


def test_a_late_window_in_which_nothing_moves_does_not_end_an_alert() -> None:
    alert, _ = settle(None, facts(CALM, verdict(), hour=5), 5)
    assert settle(alert, facts(CALM, hour=1, late=1), 20)[1] == []


def test_late_movers_join_an_open_alert_behind_those_that_move_now() -> None:
    alert, _ = settle(None, facts(CALM, verdict(slice_name="tenant=a"), hour=5), 5)
    assert alert is not None
    joined, moves = settle(alert, facts(verdict(column="judge"), verdict(slice_name="tenant=a"), hour=2, late=1), 6)
    assert moves == [Move.SEEN_AGAIN]
    assert joined is not None
    assert moved_in(joined.evidence) == {("tenant=a", "prompt_chars"), ("all", "judge")}
    assert (joined.evidence["moved"], joined.evidence["window"], joined.summary) == (2, "window-5", alert.summary)
    assert joined.evidence["seen_until"] == alert.evidence["seen_until"], "what is newer than the late window was read already"


def test_late_movers_that_are_worse_are_told_first() -> None:
    alert, _ = settle(None, facts(CALM, verdict(), hour=5), 5)
    worse = facts(verdict(kind=Family.OUTPUT, column="refusal"), hour=2, late=1)
    joined, _ = settle(alert, worse, 6)
    assert joined is not None
    assert (joined.severity, joined.summary) == (Severity.CRITICAL, worse.summary)


def test_late_movers_of_the_window_that_an_alert_names_join_it_and_each_finding_is_taken_in_once() -> None:
    alert, _ = settle(None, facts(CALM, verdict(), hour=5), 5)
    for times in (1, 2):
        late = facts(verdict(column=f"judge-{times}"), hour=5, late=times)
        alert, moves = settle(alert, late, 5 + times / 10)
        assert moves == [Move.SEEN_AGAIN]
        assert settle(alert, late, 6)[1] == []
    assert alert is not None
    assert alert.evidence["late_windows"] == ["window-5", "window-5 (2)"]
    assert len(moved_in(alert.evidence)) == 3


def test_a_late_finding_after_the_end_of_its_own_windows_alert_is_another_alert() -> None:
    first, _ = settle(None, facts(CALM, verdict(), hour=5), 5)
    over = first
    for hour in (6, 7, 8):
        over, _ = settle(over, facts(CALM, hour=hour, alert=over), hour)
    second, moves = settle(over, facts(verdict(column="judge"), hour=5, late=1), 9)
    assert moves == [Move.OPENED, Move.FIRED]
    assert first is not None
    assert second is not None
    assert second.id != first.id
    assert second.evidence["first_window"] == first.evidence["first_window"] == "window-5"


def test_a_window_that_is_read_only_after_it_was_judged_again_is_not_quiet() -> None:
    seen = facts_of(workload=ROUTER, window="w", at=NOON, verdicts=[CALM], protected=(), judged_again=True)
    assert seen.finding is Finding.UNKNOWN
    assert facts_of(workload=ROUTER, window="w", at=NOON, verdicts=[verdict()], protected=(), judged_again=True).finding is Finding.MOVED


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
