"""Is this canary worse than the champion that answers beside it?

In: what happened in sessions of both arms since the canary began. Out: one verdict for each guard, with its counts and its e-value.
The unit is the session, since requests of one session are not independent; the control is concurrent, since traffic changes
for both arms alike. The e-value is computed in ``strata``; what follows from a breach is decided in ``next_action``.

Each guard has its own alpha: the probability that it ever aborts a canary that is no worse, however often and however long one looks. The
alphas add up to the policy's budget, so the budget bounds the probability that any of them does (Bonferroni's inequality).
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from math import isfinite

import numpy as np
from numpy.typing import NDArray

from flywheel.errors import InvalidInput, InvalidSettings
from flywheel.ids import AdapterName
from flywheel.rollout.arm_sessions import UNKNOWN, ArmSessions, Bools, OutcomeColumn
from flywheel.rollout.e_value import StratumKind, e_value
from flywheel.rollout.slow_sessions import usual_latencies

LEAST_ALPHA = 1e-12
"""At a smaller alpha no canary lasts long enough for an abort."""
"""The quantiles of so many strata are computed together: 8 MB."""


class GuardStatus(StrEnum):
    """``no_data`` is never healthy: a blocking guard without data lets no step happen."""

    HOLDS = "holds"
    BREACHED = "breached"
    NO_DATA = "no_data"


@dataclass(frozen=True, kw_only=True)
class GuardAlphas:
    """Alpha allocation, one-sided. ``protected`` is for all protected slices together, ``informative`` for all signals together."""

    format: float = 0.005
    errors: float = 0.0025
    refusal: float = 0.0025
    latency: float = 0.0025
    protected: float = 0.005
    informative: float = 0.0025


@dataclass(frozen=True, kw_only=True)
class GuardPolicy:
    """``judges_format`` is False where no format is declared. Raises InvalidSettings for alphas that add up to more than the budget."""

    budget: float = 0.02  # the probability that a whole canary is aborted although it is no worse
    alphas: GuardAlphas = field(default_factory=GuardAlphas)
    minimum_sessions: int = 20  # in each arm, before a guard may speak
    judges_format: bool = True
    slower_by_at_most: float = 2.0  # a session of the canary may take so many times as long: an adapter costs time by nature
    protected: tuple[str, ...] = ()  # slices with guards of their own
    informative: tuple[str, ...] = ()  # names of signals

    def __post_init__(self) -> None:
        alphas = asdict(self.alphas)
        for name, alpha in alphas.items():
            if not LEAST_ALPHA <= alpha < 1:
                raise InvalidSettings(
                    f"must be {LEAST_ALPHA:g} or more and below 1", where=f"guard alpha {name}", value=alpha, remedy="Take 0.0025."
                )
        if not 0 < self.budget <= 1:
            raise InvalidSettings("must be a share", where="guard_budget", value=self.budget, remedy="Take 0.02.")
        if sum(alphas.values()) > self.budget * (1 + 1e-9):
            raise InvalidSettings(
                "the guards' alphas add up to more than their budget",
                where="guard alphas",
                value=round(sum(alphas.values()), 6),
                remedy=f"Lower some of them, or raise the budget of {self.budget:g}: it is the share of false aborts.",
            )
        if self.minimum_sessions < 1:
            raise InvalidSettings("must be 1 or more", where="minimum_sessions", value=self.minimum_sessions, remedy="Take 20.")
        if not (isfinite(self.slower_by_at_most) and self.slower_by_at_most > 0):
            raise InvalidSettings("must be a factor above 0", where="slower_by_at_most", value=self.slower_by_at_most, remedy="Take 2.")


@dataclass(frozen=True, kw_only=True)
class GuardVerdict:
    """Counts are sessions. A guard that is not ``blocking`` may abort but never holds a step up."""

    name: str
    blocking: bool
    status: GuardStatus
    bad: int
    sessions: int
    control_bad: int
    control_sessions: int
    alpha: float
    reason: str
    e_value: float | None = None  # the largest so far; a breach is ``e_value >= needed``; None: too few sessions
    strata: int = 0  # full ones
    largest_after: int = 0  # sessions of both arms, when the e-value was largest
    limit_ms: float | None = None  # latency: slow for the control, at the newest stratum; for the canary ``slower_by_at_most`` times that
    stratum_kinds: tuple[StratumKind, ...] | None = ()  # the informative strata; None: more kinds than are listed

    @property
    def needed(self) -> float:
        """The e-value of a breach."""
        return 1 / self.alpha

    @property
    def p(self) -> float | None:
        """Valid at any time: the inverse of the e-value."""
        return None if self.e_value is None else min(1.0, 1 / self.e_value)


def judge_guards(*, sessions: ArmSessions, challenger: AdapterName, champion: AdapterName, policy: GuardPolicy) -> tuple[GuardVerdict, ...]:
    """Errors, format, refusal and latency block; protected slices and informative signals may abort.

    Sessions of other adapters are ignored. Raises InvalidInput where challenger and champion are the same: a guard needs a control.
    """
    if challenger == champion:
        raise InvalidInput("a guard without a control", where="champion", value=champion, remedy="Compare with the adapter beside it.")
    rows = _rows(sessions, challenger=challenger, champion=champion)
    canary = sessions.of(challenger)[rows]
    measures = {"errors": sessions.failed[rows]}
    if policy.judges_format:
        measures["format"] = sessions.bad_format[rows]
    measures["refusal"] = sessions.refused[rows]
    alphas = policy.alphas
    verdicts = [
        _rate(name, canary, outcome, alpha=getattr(alphas, name), blocking=True, policy=policy) for name, outcome in measures.items()
    ]
    verdicts.append(_latency(canary, measures["errors"] == 0, sessions.latency_ms[rows], policy=policy))
    for name in policy.protected:
        inside = sessions.in_slice[name][rows]
        alpha = alphas.protected / (len(policy.protected) * len(measures))
        verdicts += [
            _rate(f"{measure}[{name}]", canary[inside], outcome[inside], alpha=alpha, blocking=False, policy=policy)
            for measure, outcome in measures.items()
        ]
    for name in policy.informative:
        alpha = alphas.informative / len(policy.informative)
        verdicts.append(_rate(name, canary, sessions.signals[name][rows], alpha=alpha, blocking=False, policy=policy))
    return tuple(verdicts)


def guard_document(verdict: GuardVerdict) -> Mapping[str, object]:
    """The verdict as the journal keeps it: JSON values only. The keys are those of the first release: ``evidence`` is the e-value."""
    kinds = verdict.stratum_kinds
    return {
        "name": verdict.name,
        "blocking": verdict.blocking,
        "status": verdict.status.value,
        "bad": verdict.bad,
        "sessions": verdict.sessions,
        "control_bad": verdict.control_bad,
        "control_sessions": verdict.control_sessions,
        "p": verdict.p,
        "alpha": verdict.alpha,
        "reason": verdict.reason,
        "evidence": verdict.e_value,
        "needed": verdict.needed,
        "sets": verdict.strata,
        "largest_after": verdict.largest_after,
        "limit_ms": verdict.limit_ms,
        "set_kinds": None if kinds is None else [list(kind) for kind in kinds],
    }


def _rows(sessions: ArmSessions, *, challenger: AdapterName, champion: AdapterName) -> Bools:
    """Which rows are compared. A session whose canary attempt failed was answered by the champion as well: it is the canary's failure and
    not the control's success."""
    on_canary, beside = sessions.of(challenger), sessions.of(champion)
    rescued = np.isin(sessions.session, sessions.session[on_canary])
    return on_canary | (beside & ~rescued)


def _rate(name: str, canary: Bools, outcome: OutcomeColumn, *, alpha: float, blocking: bool, policy: GuardPolicy) -> GuardVerdict:
    known = outcome != UNKNOWN
    return _judged(name, canary[known], outcome[known] == 1, alpha=alpha, blocking=blocking, policy=policy)


def _latency(canary: Bools, answered: Bools, latency_ms: NDArray[np.float64], *, policy: GuardPolicy) -> GuardVerdict:
    """A session that failed counts as slow in both arms: its answer never came.

    Left out, it would make a canary that fails its slow sessions look quick. The errors guard counts it too, which takes nothing
    from the budget: a canary that is no worse has neither more errors nor more slow sessions, so no more of both together.
    Source: Lachin (1999), "Worst-rank score analysis with informatively missing observations in clinical trials".
    """
    with np.errstate(over="ignore"):  # a factor near 0 makes every session of the canary too slow
        took = np.where(canary, latency_ms / policy.slower_by_at_most, latency_ms)
    limits, sizes = usual_latencies(took, of_control=~canary & answered)
    bad = ~answered | (took > np.repeat(limits, sizes))  # no comparison with NaN is true
    limit = None if np.isnan(limits[-1]) else float(limits[-1])
    return _judged("latency", canary, bad, alpha=policy.alphas.latency, blocking=True, policy=policy, limit_ms=limit)


def _judged(
    name: str, canary: Bools, bad: Bools, *, alpha: float, blocking: bool, policy: GuardPolicy, limit_ms: float | None = None
) -> GuardVerdict:
    n, n_control = int(canary.sum()), int((~canary).sum())
    n_bad, n_control_bad = int((bad & canary).sum()), int((bad & ~canary).sum())
    found, needed = e_value(canary=canary, bad=bad), 1 / alpha
    enough = min(n, n_control) >= policy.minimum_sessions
    counts = f"{n_bad} of {n} sessions against {n_control_bad} of {n_control} beside it"
    if limit_ms is not None:  # each arm has its own limit
        factor = policy.slower_by_at_most
        counts = (
            f"{n_bad} of {n} sessions failed or took longer than {limit_ms * factor:.0f} ms, against {n_control_bad} of {n_control}"
            f" beside it that failed or took longer than {limit_ms:.0f} ms ({factor:g} times as long is allowed)"
        )
    if not enough:
        status = GuardStatus.NO_DATA
        reason = f"{n} sessions on the canary and {n_control} beside it: at least {policy.minimum_sessions} are needed in each"
    else:
        status = GuardStatus.BREACHED if found.peak >= needed else GuardStatus.HOLDS
        reason = f"{counts} (e-value {_written(found.peak)}, an abort needs {_written(needed)})"
        if n_control_bad == n_control:
            reason += "; beside it all were bad: nothing is worse than that, so this guard cannot see a difference"
    return GuardVerdict(
        name=name,
        blocking=blocking,
        status=status,
        bad=n_bad,
        sessions=n,
        control_bad=n_control_bad,
        control_sessions=n_control,
        alpha=alpha,
        reason=f"{name}: {reason}",
        e_value=found.peak if enough else None,
        strata=found.strata,
        largest_after=found.peak_after,
        limit_ms=limit_ms,
        stratum_kinds=found.kinds,
    )


def _written(value: float) -> str:
    if value >= 1e6:
        return "over a million"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
