"""One alert for what drifts together, none while a score stays in the hysteresis band, and late rows that are taken in once."""

from datetime import timedelta

from flywheel.alerts.alert import Alert, AlertState, Severity
from flywheel.alerts.lifecycle import AlertPolicy, Move, advance
from flywheel.alerts.window_finding import WindowFinding
from flywheel.drift.incident import IncidentState
from flywheel.drift.verdict import DriftStatus, DriftVerdict
from flywheel.traffic.column import Family
from tests.watching import NOON, ROUTER, finding_of, verdict

HOUR = timedelta(hours=1)
POLICY = AlertPolicy(resolve_after=2 * HOUR)
CALM = verdict(DriftStatus.OK, score=0.6, effect=0.01)


def found(*verdicts: DriftVerdict, hour: int, alert: Alert | None = None, late: int = 0) -> WindowFinding:
    before = alert.seen.drifted if alert is not None else ()
    return finding_of(
        workload=ROUTER,
        window=f"window-{hour}",
        at=NOON + hour * HOUR,
        verdicts=verdicts,
        protected=(),
        drifted_before=before,
        late=late,
    )


def settle(alert: Alert | None, finding: WindowFinding, hour: float) -> tuple[Alert | None, list[Move]]:
    moves = []
    while (step := advance(alert=alert, finding=finding, policy=POLICY, now=NOON + hour * HOUR)).move is not Move.NONE:
        alert = step.alert
        moves.append(step.move)
    return alert, moves


def test_a_score_that_stays_in_the_hysteresis_band_is_one_alert() -> None:
    strong, nearly = verdict(slice_name="tenant=a"), verdict(DriftStatus.OK, slice_name="tenant=a", score=3e-4, effect=0.3)
    alert, fired = settle(None, found(CALM, strong, hour=0), 0)
    for hour in range(1, 12):
        alert, moves = settle(alert, found(CALM, nearly if hour % 4 else strong, hour=hour, alert=alert), hour)
        fired += moves
    assert fired.count(Move.FIRED) == 1
    assert Move.RESOLVED not in fired


def test_drift_that_fell_well_under_its_thresholds_resolves() -> None:
    alert, _ = settle(None, found(CALM, verdict(slice_name="tenant=a"), hour=0), 0)
    gone = verdict(DriftStatus.OK, slice_name="tenant=a", score=0.4, effect=0.01)
    for hour in (1, 2):
        alert, _ = settle(alert, found(CALM, gone, hour=hour, alert=alert), hour)
    assert alert is not None
    assert alert.state is AlertState.RESOLVED


def test_a_slice_without_traffic_keeps_its_alert_open() -> None:
    alert, _ = settle(None, found(CALM, verdict(slice_name="tenant=a"), hour=0), 0)
    silent = verdict(DriftStatus.NO_DATA, slice_name="tenant=a", score=None)
    for hour in range(1, 6):
        seen = found(CALM, silent, hour=hour, alert=alert)
        assert seen.standing is IncidentState.CLEARING
        alert, _ = settle(alert, seen, hour)
    assert alert is not None
    assert alert.state is AlertState.FIRING


def test_late_rows_open_one_alert_for_a_window_read_before() -> None:
    alert, _ = settle(None, found(CALM, verdict(), hour=5), 5)
    for hour in (6, 7, 8):
        alert, _ = settle(alert, found(CALM, hour=hour, alert=alert), hour)
    assert alert is not None
    assert alert.state is AlertState.RESOLVED
    late = found(CALM, verdict(column="judge"), hour=2, late=1)
    alert, moves = settle(alert, late, 9)
    assert moves == [Move.OPENED, Move.FIRED]
    assert settle(alert, late, 9.5)[1] == []


def test_late_rows_without_drift_do_not_end_an_alert() -> None:
    alert, _ = settle(None, found(CALM, verdict(), hour=5), 5)
    assert settle(alert, found(CALM, hour=1, late=1), 20)[1] == []


def test_late_series_join_an_open_alert_behind_those_that_drift_now() -> None:
    alert, _ = settle(None, found(CALM, verdict(slice_name="tenant=a"), hour=5), 5)
    assert alert is not None
    joined, moves = settle(alert, found(verdict(column="judge"), verdict(slice_name="tenant=a"), hour=2, late=1), 6)
    assert moves == [Move.SEEN_AGAIN]
    assert joined is not None
    assert joined.seen.drifted == {("tenant=a", "prompt_chars"), ("all", "judge")}
    assert (joined.seen.drifted_count, joined.seen.newest, joined.message) == (2, "window-5", alert.message)
    assert joined.seen.until == alert.seen.until, "what is newer than the late window was read already"
    assert [series["column"] for series in joined.evidence["drifted_series"]] == ["prompt_chars", "judge"]  # type: ignore[attr-defined]


def test_late_series_that_are_worse_are_told_first() -> None:
    alert, _ = settle(None, found(CALM, verdict(), hour=5), 5)
    worse = found(verdict(kind=Family.OUTPUT, column="refusal"), hour=2, late=1)
    joined, _ = settle(alert, worse, 6)
    assert joined is not None
    assert (joined.severity, joined.message) == (Severity.CRITICAL, worse.message)


def test_each_late_finding_of_the_alerts_own_window_joins_it_once() -> None:
    alert, _ = settle(None, found(CALM, verdict(), hour=5), 5)
    for times in (1, 2):
        late = found(verdict(column=f"judge-{times}"), hour=5, late=times)
        alert, moves = settle(alert, late, 5 + times / 10)
        assert moves == [Move.SEEN_AGAIN]
        assert settle(alert, late, 6)[1] == []
    assert alert is not None
    assert alert.seen.late == ("window-5", "window-5 (2)")
    assert len(alert.seen.drifted) == 3


def test_a_late_finding_after_its_windows_alert_ended_is_another_alert() -> None:
    first, _ = settle(None, found(CALM, verdict(), hour=5), 5)
    over = first
    for hour in (6, 7, 8):
        over, _ = settle(over, found(CALM, hour=hour, alert=over), hour)
    second, moves = settle(over, found(verdict(column="judge"), hour=5, late=1), 9)
    assert moves == [Move.OPENED, Move.FIRED]
    assert first is not None
    assert second is not None
    assert second.id != first.id
    assert second.seen.first == first.seen.first == "window-5"


def test_a_window_read_only_after_its_reevaluation_is_not_cleared() -> None:
    seen = finding_of(workload=ROUTER, window="w", at=NOON, verdicts=[CALM], protected=(), reevaluated=True)
    assert seen.standing is IncidentState.UNKNOWN
    drifting = finding_of(workload=ROUTER, window="w", at=NOON, verdicts=[verdict()], protected=(), reevaluated=True)
    assert drifting.standing is IncidentState.DRIFTED


def test_each_series_carries_its_thresholds_and_hours() -> None:
    moved = found(verdict(slice_name="tenant=a"), hour=3).evidence["drifted_series"]
    assert isinstance(moved, list)
    assert {name: moved[0][name] for name in ("score", "threshold", "effect", "minimum_effect", "n", "n_reference", "hours")} == {
        "score": 1e-9,
        "threshold": 1e-4,
        "effect": 0.4,
        "minimum_effect": 0.1,
        "n": 500,
        "n_reference": 5_000,
        "hours": 1.0,
    }
    assert moved[0]["window_start"] == NOON.isoformat()


def test_the_evidence_names_the_primary_driver() -> None:
    seen = found(verdict(effect=0.3), *(verdict(slice_name=f"tenant={name}", effect=0.3) for name in "abc"), hour=0)
    assert seen.evidence["primary_drivers"] == ["prompt_chars of all"]
    assert "3 others drifted with it" in str(seen.evidence["grouping"])
