"""When a run is asked for."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from flywheel.ids import AlertId, Person, WorkloadId
from flywheel.retraining.trigger import TriggerFacts, TriggerPolicy, TriggerReason, decide

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
POLICY = TriggerPolicy(enough_corrections=200, enough_with_drift=50, cool_down=timedelta(hours=6))
QUIET = TriggerFacts(mode="auto", drift_alerts=(), new_corrections=0, last_ended=None, in_progress=False)
DRIFT = (AlertId("alert-1"),)


def reason(**changes: object) -> tuple[bool, TriggerReason]:
    decision = decide(workload=WorkloadId("w"), facts=replace(QUIET, **changes), policy=POLICY, now=NOW)  # type: ignore[arg-type]
    return decision.retrain, decision.reason


def test_drift_without_corrections_waits() -> None:
    assert reason(drift_alerts=DRIFT) == (False, TriggerReason.NOTHING_NEW)


def test_drift_with_a_few_corrections_waits_for_more() -> None:
    assert reason(drift_alerts=DRIFT, new_corrections=49) == (False, TriggerReason.TOO_FEW)


def test_drift_with_corrections_to_learn_from_retrains_and_names_the_alert() -> None:
    decision = decide(workload=WorkloadId("w"), facts=replace(QUIET, drift_alerts=DRIFT, new_corrections=50), policy=POLICY, now=NOW)
    assert (decision.retrain, decision.reason, decision.caused_by) == (True, TriggerReason.DRIFT, "alert-1")


def test_enough_corrections_need_no_drift() -> None:
    assert reason(new_corrections=199) == (False, TriggerReason.TOO_FEW)
    assert reason(new_corrections=200) == (True, TriggerReason.ENOUGH_CORRECTIONS)


def test_two_runs_within_the_cool_down_are_one() -> None:
    assert reason(new_corrections=500, last_ended=NOW - timedelta(hours=5)) == (False, TriggerReason.COOLING_DOWN)
    assert reason(new_corrections=500, last_ended=NOW - timedelta(hours=7)) == (True, TriggerReason.ENOUGH_CORRECTIONS)


def test_a_person_who_asks_does_not_wait_for_counts_or_cool_down() -> None:
    assert reason(asked_by=Person("ada"), last_ended=NOW) == (True, TriggerReason.ASKED)


def test_one_run_a_workload_even_for_a_person() -> None:
    assert reason(asked_by=Person("ada"), in_progress=True) == (False, TriggerReason.IN_PROGRESS)


def test_observe_never_trains() -> None:
    assert reason(mode="observe", new_corrections=500, asked_by=Person("ada")) == (False, TriggerReason.OBSERVE_ONLY)


def test_the_calendar_asks_only_when_there_is_something_new() -> None:
    assert reason(calendar=True) == (False, TriggerReason.NOTHING_NEW)
    assert reason(calendar=True, new_corrections=1) == (True, TriggerReason.CALENDAR)
