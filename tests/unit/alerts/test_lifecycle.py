"""An alert's life, told by a clock that the test holds."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from flywheel.alerts.acknowledgement import acknowledge
from flywheel.alerts.alert import Alert, AlertMessage, AlertState, DriftedSeries, Severity
from flywheel.alerts.lifecycle import AlertPolicy, Move, advance
from flywheel.alerts.notifications import owed
from flywheel.alerts.window_finding import WindowFinding
from flywheel.drift.incident import IncidentState
from flywheel.drift.verdict import DriftStatus
from flywheel.errors import Refused
from flywheel.ids import DAEMON, Person
from flywheel.traffic.column import Family
from tests.watching import MARIA, NOON, ROUTER, finding_of, verdict

MINUTE = timedelta(minutes=1)
JUMPS = (timedelta(hours=1), timedelta(days=1), timedelta(days=365))
POLICY = AlertPolicy(hold=timedelta(0), resolve_after=10 * MINUTE)


def window(standing: IncidentState, *, minute: int, severity: Severity = Severity.WARNING) -> WindowFinding:
    return WindowFinding(
        workload=ROUTER,
        window=f"window-{minute}",
        at=NOON + minute * MINUTE,
        standing=standing,
        severity=severity,
        message=AlertMessage(summary="router: input drift", first_action="Read twenty requests."),
        drifted=(DriftedSeries("all", "prompt_chars"),),
        drifted_count=1,
    )


def settle(
    alert: Alert | None, finding: WindowFinding | None, now: datetime, policy: AlertPolicy = POLICY
) -> tuple[Alert | None, list[Move]]:
    moves = []
    while True:
        step = advance(alert=alert, finding=finding, policy=policy, now=now)
        if step.move is Move.NONE:
            return step.alert, moves
        alert = step.alert
        moves.append(step.move)


def firing() -> Alert:
    alert, _ = settle(None, window(IncidentState.DRIFTED, minute=0), NOON)
    assert alert is not None
    return alert


def test_an_alert_without_a_hold_passes_through_pending_to_firing() -> None:
    alert, moves = settle(None, window(IncidentState.DRIFTED, minute=0), NOON)
    assert moves == [Move.OPENED, Move.FIRED]
    assert alert is not None
    assert alert.state is AlertState.FIRING


def test_the_same_window_read_again_changes_nothing() -> None:
    alert = firing()
    assert settle(alert, window(IncidentState.DRIFTED, minute=0), NOON + MINUTE) == (alert, [])


@pytest.mark.parametrize("standing", [IncidentState.NOT_DRIFTED, IncidentState.UNKNOWN])
def test_nothing_moved_opens_nothing(standing: IncidentState) -> None:
    assert settle(None, window(standing, minute=0), NOON) == (None, [])


def test_a_held_alert_fires_only_after_the_hold() -> None:
    hold = AlertPolicy(hold=5 * MINUTE)
    alert, moves = settle(None, window(IncidentState.DRIFTED, minute=0), NOON, hold)
    assert moves == [Move.OPENED]
    assert settle(alert, None, NOON + 4 * MINUTE, hold)[1] == []
    assert settle(alert, None, NOON + 5 * MINUTE, hold)[1] == [Move.FIRED]


def test_a_held_alert_whose_drift_ends_is_dropped_untold() -> None:
    hold = AlertPolicy(hold=5 * MINUTE)
    alert, _ = settle(None, window(IncidentState.DRIFTED, minute=0), NOON, hold)
    dropped, moves = settle(alert, window(IncidentState.NOT_DRIFTED, minute=1), NOON + MINUTE, hold)
    assert moves == [Move.DROPPED]
    assert dropped is not None
    assert owed(dropped, now=NOON) == ()


def test_it_resolves_after_windows_without_drift_for_long_enough() -> None:
    alert = firing()
    assert settle(alert, window(IncidentState.NOT_DRIFTED, minute=5), NOON + 5 * MINUTE)[1] == []
    resolved, moves = settle(alert, window(IncidentState.NOT_DRIFTED, minute=10), NOON + 10 * MINUTE)
    assert moves == [Move.RESOLVED]
    assert resolved is not None
    assert owed(resolved, now=NOON + 10 * MINUTE) == ("firing", "resolved")
    assert owed(resolved, now=NOON + timedelta(days=30)) == ()


def test_windows_without_data_never_end_an_alert() -> None:
    assert settle(firing(), window(IncidentState.UNKNOWN, minute=600), NOON + 600 * MINUTE)[1] == []
    assert settle(firing(), None, NOON + 600 * MINUTE)[1] == []


def test_more_drift_keeps_it_open_and_is_the_same_incident() -> None:
    alert = firing()
    again, moves = settle(alert, window(IncidentState.DRIFTED, minute=9), NOON + 9 * MINUTE)
    assert moves == [Move.SEEN_AGAIN]
    assert again is not None
    assert again.id == alert.id
    assert again.seen.first == "window-0"
    assert settle(again, window(IncidentState.NOT_DRIFTED, minute=12), NOON + 12 * MINUTE)[1] == []


def test_a_new_incident_after_the_end_is_another_alert() -> None:
    first = firing()
    resolved, _ = settle(first, window(IncidentState.NOT_DRIFTED, minute=10), NOON + 10 * MINUTE)
    assert settle(resolved, window(IncidentState.DRIFTED, minute=0), NOON + 11 * MINUTE)[1] == []
    second, moves = settle(resolved, window(IncidentState.DRIFTED, minute=12), NOON + 12 * MINUTE)
    assert moves == [Move.OPENED, Move.FIRED]
    assert second is not None
    assert second.id != first.id


def test_an_acknowledgement_expires_and_the_alert_fires_again() -> None:
    taken = acknowledge(alert=firing(), by=MARIA, note="on it", now=NOON, until=NOON + 5 * MINUTE)
    assert settle(taken, None, NOON + 4 * MINUTE)[1] == []
    again, moves = settle(taken, None, NOON + 5 * MINUTE)
    assert moves == [Move.FIRED_AGAIN]
    assert again is not None
    assert again.acknowledgement is None
    assert len(owed(again, now=NOON)) == 2


def test_an_acknowledgement_ends_early_when_severity_rises() -> None:
    taken = acknowledge(alert=firing(), by=MARIA, note="", now=NOON, until=NOON + 60 * MINUTE)
    assert settle(taken, window(IncidentState.DRIFTED, minute=1), NOON + MINUTE)[1] == [Move.SEEN_AGAIN]
    worse, moves = settle(taken, window(IncidentState.DRIFTED, minute=1, severity=Severity.CRITICAL), NOON + MINUTE)
    assert moves == [Move.FIRED_AGAIN]
    assert worse is not None
    assert worse.severity is Severity.CRITICAL


def test_a_clock_that_was_set_back_a_little_does_not_make_an_alert_older() -> None:
    again, moves = settle(firing(), window(IncidentState.DRIFTED, minute=1), NOON - MINUTE)
    assert moves == [Move.SEEN_AGAIN]
    assert again is not None
    assert again.last_seen_at == NOON


@pytest.mark.parametrize("ahead", JUMPS)
def test_an_alert_from_the_future_goes_on_when_the_clock_is_right_again(ahead: timedelta) -> None:
    """A clock that ran ahead saw the drift last; windows that close now are news, and their end is its end."""
    alert = replace(firing(), last_seen_at=NOON + ahead, started_at=NOON + ahead)
    alert = replace(alert, seen=replace(alert.seen, until=NOON + ahead))
    drifted = replace(window(IncidentState.DRIFTED, minute=1), just_closed=True)
    again, moves = settle(alert, drifted, NOON + 2 * MINUTE)
    assert moves == [Move.SEEN_AGAIN]
    assert again is not None
    assert (again.last_seen_at, again.seen.until) == (NOON + 2 * MINUTE, NOON + MINUTE)
    assert settle(again, window(IncidentState.NOT_DRIFTED, minute=12), NOON + 12 * MINUTE)[1] == [Move.RESOLVED]
    over = replace(window(IncidentState.NOT_DRIFTED, minute=1), just_closed=True)
    assert settle(alert, over, NOON + 2 * MINUTE)[1] == [Move.RESOLVED]


def test_windows_read_long_ago_are_no_news_to_an_alert_from_the_future() -> None:
    alert = firing()
    ahead = replace(alert, seen=replace(alert.seen, until=NOON + timedelta(days=365)))
    old = window(IncidentState.DRIFTED, minute=-5)
    assert settle(ahead, old, NOON + MINUTE)[1] == []
    over = replace(ahead, state=AlertState.RESOLVED, resolved_at=NOON)
    assert settle(over, old, NOON + MINUTE)[1] == [], "a restart reads old windows again and opens no second alert of them"
    assert settle(over, replace(old, just_closed=True), NOON + MINUTE)[1] == [Move.OPENED, Move.FIRED]


@pytest.mark.parametrize("ahead", JUMPS)
def test_an_acknowledgement_from_the_future_silences_nobody(ahead: timedelta) -> None:
    taken = acknowledge(alert=firing(), by=MARIA, note="", now=NOON + ahead, until=NOON + ahead + 8 * 60 * MINUTE)
    fired, moves = settle(taken, None, NOON + MINUTE)
    assert moves == [Move.FIRED_AGAIN]
    assert settle(fired, None, NOON + 2 * MINUTE)[1] == [], "once"


@pytest.mark.parametrize("ahead", JUMPS)
def test_a_hold_that_began_in_the_future_is_over(ahead: timedelta) -> None:
    hold = AlertPolicy(hold=5 * MINUTE)
    alert, _ = settle(None, window(IncidentState.DRIFTED, minute=0), NOON + ahead, hold)
    assert settle(alert, None, NOON, hold)[1] == [Move.FIRED]


def test_an_acknowledged_alert_resolves_too() -> None:
    taken = acknowledge(alert=firing(), by=MARIA, note="", now=NOON, until=NOON + 60 * MINUTE)
    assert settle(taken, window(IncidentState.NOT_DRIFTED, minute=20), NOON + 20 * MINUTE)[1] == [Move.RESOLVED]


def test_only_a_named_person_acknowledges_and_only_a_firing_alert() -> None:
    alert = firing()
    later = NOON + 5 * MINUTE
    for nobody in (DAEMON, Person("  ")):
        with pytest.raises(Refused, match="named person"):
            acknowledge(alert=alert, by=nobody, note="", now=NOON, until=later)
    for state in (AlertState.RESOLVED, AlertState.PENDING):
        with pytest.raises(Refused):
            acknowledge(alert=replace(alert, state=state), by=MARIA, note="", now=NOON, until=later)


def test_many_slices_and_columns_that_drift_are_one_sentence() -> None:
    found = finding_of(
        workload=ROUTER,
        window="w",
        at=NOON,
        verdicts=[verdict(), verdict(slice_name="tenant=acme"), verdict(DriftStatus.OK, column="digits_share")],
        protected=(),
    )
    assert found.standing is IncidentState.DRIFTED
    assert found.severity is Severity.WARNING
    assert "all traffic and 1 slice" in found.message.summary
    assert found.drifted_count == 2


def test_output_drift_of_all_or_of_a_protected_slice_is_critical() -> None:
    in_slice = verdict(kind=Family.OUTPUT, slice_name="tenant=globex", column="refusal")
    for protected, severity in (((), Severity.WARNING), (("tenant=globex",), Severity.CRITICAL)):
        assert finding_of(workload=ROUTER, window="w", at=NOON, verdicts=[in_slice], protected=protected).severity is severity


def test_a_window_that_judged_nothing_is_unknown_and_not_cleared() -> None:
    for status in (DriftStatus.NO_DATA, DriftStatus.INSUFFICIENT_DATA, DriftStatus.LEARNING):
        found = finding_of(workload=ROUTER, window="w", at=NOON, verdicts=[verdict(status, score=None)], protected=())
        assert found.standing is IncidentState.UNKNOWN


def test_a_vanished_slice_drifts_and_a_tiny_new_one_does_not() -> None:
    gone = verdict(DriftStatus.VANISHED_SLICE, kind=Family.SLICE, slice_name="tenant=acme", column="share", effect=0.02)
    tiny = replace(gone, status=DriftStatus.NEW_SLICE)
    assert finding_of(workload=ROUTER, window="w", at=NOON, verdicts=[gone], protected=()).standing is IncidentState.DRIFTED
    assert finding_of(workload=ROUTER, window="w", at=NOON, verdicts=[tiny], protected=()).standing is IncidentState.UNKNOWN
