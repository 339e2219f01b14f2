"""Is this canary worse than the champion that answers beside it?

In: what sessions of both arms met since the canary began. Out: one verdict per guard, with its counts.
The unit is the session, since requests of one session are not independent; the control is concurrent, since the world moves
for both arms alike. What follows from a breach is decided in ``next_action``.

Each guard is a one-sided Fisher exact test (R. A. Fisher, 1935; here as the upper tail of the hypergeometric distribution), asked
again at every look. Repeated looks at a fixed level raise the share of false aborts above ``alpha``: it is kept small for that reason.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from flywheel.ids import AdapterName


class SessionOutcome(Protocol):
    """One session of one arm, as the record of traffic tells it."""

    @property
    def session(self) -> str: ...
    @property
    def adapter(self) -> AdapterName: ...
    @property
    def ok(self) -> bool: ...
    @property
    def valid_format(self) -> bool | None: ...
    @property
    def refused(self) -> bool | None: ...
    @property
    def latency_ms(self) -> float: ...


class GuardStatus(StrEnum):
    """``no_data`` is never healthy: a blocking guard without data lets no step happen."""

    HOLDS = "holds"
    BREACHED = "breached"
    NO_DATA = "no_data"


@dataclass(frozen=True, kw_only=True)
class GuardPolicy:
    """``alpha`` is one-sided, for each guard. ``judges_format`` is False where the workload declares no format to judge."""

    alpha: float = 0.005
    minimum_sessions: int = 20  # in each arm, before a guard may speak
    judges_format: bool = True


@dataclass(frozen=True, kw_only=True)
class GuardVerdict:
    """Counts are sessions. A guard that is not ``blocking`` may abort but never holds a step up; latency is only shown."""

    name: str
    blocking: bool
    status: GuardStatus
    bad: int
    sessions: int
    control_bad: int
    control_sessions: int
    p: float | None
    alpha: float
    reason: str


def judge_guards(
    *, outcomes: Sequence[SessionOutcome], challenger: AdapterName, champion: AdapterName, policy: GuardPolicy
) -> tuple[GuardVerdict, ...]:
    """Format and errors block, refusal may abort, latency is shown."""
    canary = [outcome for outcome in outcomes if outcome.adapter == challenger]
    # A session whose canary attempt failed was answered by the champion: it is the canary's failure, not the control's success.
    touched = {outcome.session for outcome in canary}
    control = [outcome for outcome in outcomes if outcome.adapter == champion and outcome.session not in touched]
    verdicts = [_rate("errors", canary, control, lambda outcome: not outcome.ok, blocking=True, policy=policy)]
    if policy.judges_format:
        verdicts.append(_rate("format", canary, control, _invalid, blocking=True, policy=policy))
    verdicts.append(_rate("refusal", canary, control, lambda outcome: outcome.refused, blocking=False, policy=policy))
    verdicts.append(_latency(canary, control, policy=policy))
    return tuple(verdicts)


def _invalid(outcome: SessionOutcome) -> bool | None:
    return None if outcome.valid_format is None else not outcome.valid_format


def _rate(
    name: str,
    canary: Sequence[SessionOutcome],
    control: Sequence[SessionOutcome],
    is_bad: Callable[[SessionOutcome], bool | None],
    *,
    blocking: bool,
    policy: GuardPolicy,
) -> GuardVerdict:
    known = [bad for bad in map(is_bad, canary) if bad is not None]
    known_control = [bad for bad in map(is_bad, control) if bad is not None]
    n, bad, n_control, bad_control = len(known), sum(known), len(known_control), sum(known_control)
    if min(n, n_control) < policy.minimum_sessions:
        p, status = None, GuardStatus.NO_DATA
        reason = f"{n} sessions on the canary and {n_control} beside it: at least {policy.minimum_sessions} are needed in each"
    else:
        p = _upper_tail(bad=bad, n=n, bad_in_all=bad + bad_control, in_all=n + n_control)
        status = GuardStatus.BREACHED if p < policy.alpha else GuardStatus.HOLDS
        reason = f"{bad} of {n} sessions against {bad_control} of {n_control} beside it (p {p:.2g}, alpha {policy.alpha:g})"
    return GuardVerdict(
        name=name,
        blocking=blocking,
        status=status,
        bad=bad,
        sessions=n,
        control_bad=bad_control,
        control_sessions=n_control,
        p=p,
        alpha=policy.alpha,
        reason=f"{name}: {reason}",
    )


def _upper_tail(*, bad: int, n: int, bad_in_all: int, in_all: int) -> float:
    """P(at least ``bad`` of the n canary sessions are bad), when ``bad_in_all`` of all sessions are and the arm says nothing.

    By the logarithm of the gamma function: scipy.stats says the same and takes seconds to import, in a process that must be up soon.
    """
    if bad <= max(0, n - (in_all - bad_in_all)):
        return 1.0
    ways = _log_choose(in_all, n)
    most = min(n, bad_in_all)
    terms = (_log_choose(bad_in_all, k) + _log_choose(in_all - bad_in_all, n - k) - ways for k in range(bad, most + 1))
    return min(1.0, math.fsum(math.exp(term) for term in terms))


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def _latency(canary: Sequence[SessionOutcome], control: Sequence[SessionOutcome], *, policy: GuardPolicy) -> GuardVerdict:
    """Shown, never breached: an adapter is slower than the base by nature, up to four times on a CPU."""
    slow, usual = _median(canary), _median(control)
    known = slow is not None and usual is not None
    return GuardVerdict(
        name="latency",
        blocking=False,
        status=GuardStatus.HOLDS if known else GuardStatus.NO_DATA,
        bad=0,
        sessions=len(canary),
        control_bad=0,
        control_sessions=len(control),
        p=None,
        alpha=policy.alpha,
        reason=f"latency: median {slow:.0f} ms against {usual:.0f} ms beside it" if known else "latency: no answers in one of the arms",
    )


def _median(outcomes: Sequence[SessionOutcome]) -> float | None:
    values = sorted(outcome.latency_ms for outcome in outcomes if outcome.ok)
    return values[len(values) // 2] if values else None
