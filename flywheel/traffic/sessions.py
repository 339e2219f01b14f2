"""How did one session go on one arm?

In: the requests of a session that one adapter answered, in the order of their time. Out: one outcome: did the model fail on none, was
every answer in the required form, was any refused, how long did answers take. Requests whose outcome is not of the model say nothing about
the arm. How arms are compared is not decided here but in ``rollout.guards``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from flywheel.ids import AdapterName
from flywheel.traffic.attempt_outcome import AttemptOutcome
from flywheel.traffic.column import Family, FeatureRow, Measure
from flywheel.traffic.features import COLUMNS, OUTCOME_COLUMNS

SIGNALS: Mapping[str, str] = {
    column.name: column.worse
    for column in COLUMNS
    if column.family is Family.QUALITY
    and column.measure is Measure.RATE
    and column.worse
    and column.name not in OUTCOME_COLUMNS.values()
    and not column.first_of
}
"""Columns that hold what users say of answers -> the worse of "yes" and "no"."""


@dataclass(frozen=True, kw_only=True)
class SessionRequest:
    """What an outcome needs of one request."""

    at: datetime
    outcome: AttemptOutcome
    latency_ms: float
    dimensions: Mapping[str, str]
    features: FeatureRow


@dataclass(frozen=True, kw_only=True)
class SessionOutcome:
    """One session of one arm: what a canary guard needs."""

    session: str
    adapter: AdapterName
    at: datetime  # when it began
    ok: bool  # no attempt was a model error
    valid_format: bool | None  # every answer; None when there was none
    refused: bool | None  # any answer; None when there was none
    latency_ms: float  # mean
    requests: int = 1
    slices: tuple[str, ...] = ()  # ``<dimension>=<value>`` of every declared or undeclared dimension that a request of it had
    signals: Mapping[str, bool] = field(default_factory=dict)  # yes-or-no columns of quality that a request of it has; True is bad


def session_outcome(session: str, adapter: AdapterName, requests: Sequence[SessionRequest]) -> SessionOutcome | None:
    """``requests``: oldest first. None where no request says anything about the model."""
    requests = [request for request in requests if request.outcome.is_of_the_model]
    if not requests:
        return None
    formats = [request.features["valid_format"] for request in requests if request.features.get("valid_format") is not None]
    refusals = [request.features["refusal"] for request in requests if request.features.get("refusal") is not None]
    signals: dict[str, bool] = {}
    for request in requests:
        for name, worse in SIGNALS.items():
            value = request.features.get(name)
            if value is not None:
                signals[name] = signals.get(name, False) or bool(value) is (worse == "yes")
    return SessionOutcome(
        session=session,
        adapter=adapter,
        at=requests[0].at,
        ok=all(request.outcome is AttemptOutcome.OK for request in requests),
        valid_format=all(formats) if formats else None,
        refused=any(refusals) if refusals else None,
        latency_ms=sum(request.latency_ms for request in requests) / len(requests),
        requests=len(requests),
        slices=tuple(sorted({f"{name}={value}" for request in requests for name, value in request.dimensions.items()})),
        signals=signals,
    )
