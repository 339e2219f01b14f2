"""Is it time to retrain?

In: open drift alerts, corrections accepted since the last run, runs, the workload's mode, the time.
Out: a TriggerDecision whose reason an operator will read. Readiness and starting the run are not done here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from flywheel.clock import has_passed
from flywheel.ids import AlertId, Person, WorkloadId


class TriggerReason(StrEnum):
    """In the order in which they are checked."""

    OBSERVE_ONLY = "the workload's mode is observe: it is never retrained"
    IN_PROGRESS = "a run of this workload is in progress"
    ASKED = "a person requested it"
    COOLING_DOWN = "the last run ended too recently"
    NOTHING_NEW = "no new corrections to train on"
    CALENDAR = "the calendar requested it"
    DRIFT = "drift, with new corrections to train on"
    ENOUGH_CORRECTIONS = "enough new corrections"
    TOO_FEW = "too few new corrections"


@dataclass(frozen=True, kw_only=True)
class TriggerPolicy:
    """When a run is requested."""

    enough_corrections: int = 200
    enough_with_drift: int = 50
    cool_down: timedelta = timedelta(hours=6)  # runs closer together would train on nearly the same snapshot


@dataclass(frozen=True, kw_only=True)
class TriggerFacts:
    """The facts that the decision reads."""

    mode: str  # "observe", "propose" or "auto"
    drift_alerts: Sequence[AlertId]  # open ones
    new_corrections: int  # accepted since the last trained run, and not held out
    last_ended: datetime | None
    in_progress: bool
    calendar: bool = False
    asked_by: Person | None = None


@dataclass(frozen=True, kw_only=True)
class TriggerDecision:
    """``caused_by`` is the open drift alert, if any."""

    workload: WorkloadId
    retrain: bool
    reason: TriggerReason
    caused_by: str = ""
    evidence: Mapping[str, object] = field(default_factory=dict)


def decide(*, workload: WorkloadId, facts: TriggerFacts, policy: TriggerPolicy, now: datetime) -> TriggerDecision:
    """Drift alone does not trigger a run: without new corrections a new adapter cannot be better."""
    retrain, reason = _answer(facts, policy, now)
    return TriggerDecision(
        workload=workload,
        retrain=retrain,
        reason=reason,
        caused_by=facts.drift_alerts[0] if retrain and facts.drift_alerts else "",
        evidence={
            "new_corrections": facts.new_corrections,
            "open_drift_alerts": list(facts.drift_alerts),
            "enough_corrections": policy.enough_corrections,
            "enough_with_drift": policy.enough_with_drift,
        },
    )


def _answer(facts: TriggerFacts, policy: TriggerPolicy, now: datetime) -> tuple[bool, TriggerReason]:
    if facts.mode == "observe":
        return False, TriggerReason.OBSERVE_ONLY
    if facts.in_progress:
        return False, TriggerReason.IN_PROGRESS
    if facts.asked_by is not None:
        return True, TriggerReason.ASKED
    if facts.last_ended is not None and not has_passed(policy.cool_down, since=facts.last_ended, now=now):
        return False, TriggerReason.COOLING_DOWN
    if facts.new_corrections == 0:
        return False, TriggerReason.NOTHING_NEW
    if facts.calendar:
        return True, TriggerReason.CALENDAR
    if facts.drift_alerts and facts.new_corrections >= policy.enough_with_drift:
        return True, TriggerReason.DRIFT
    if facts.new_corrections >= policy.enough_corrections:
        return True, TriggerReason.ENOUGH_CORRECTIONS
    return False, TriggerReason.TOO_FEW
