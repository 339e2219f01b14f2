"""Is this canary worse than the champion that answers beside it?

In: what sessions of both arms met since the canary began. Out: one verdict per guard, with its counts and its evidence.
The unit is the session, since requests of one session are not independent; the control is concurrent, since the world moves
for both arms alike. How evidence is weighed stands in ``matched_sets``; what follows from a breach is decided in ``next_action``.

Each guard has its own alpha: the chance that it ever aborts a canary that is no worse, however often and however long one looks. The
alphas add up to the policy's budget, so the budget is the chance that any of them does (Bonferroni's inequality).
"""

import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from enum import StrEnum
from itertools import groupby
from numbers import Real
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from flywheel.errors import InvalidInput, InvalidSettings
from flywheel.gate.stated import only
from flywheel.ids import AdapterName, unit_interval
from flywheel.plausible import check_moment
from flywheel.rollout.canary import written_out
from flywheel.rollout.matched_sets import SetKind, set_ends, weigh

USUAL_QUANTILE = 0.9
"""Slow is what is above this quantile of the control's latencies: a tenth of its sessions, so that a shift of the whole shows soon."""
LATENCIES_KEPT = 1_000
"""So many of the control's newest latencies say what is usual; more would only be slower to sort."""
LEAST_ALPHA = 1e-12
"""Evidence beyond its inverse is not waited for by anybody."""
LATENCIES_ENOUGH = 10
"""Fewer say nothing about a tenth."""
_LARGEST = sys.float_info.max


class SessionOutcome(Protocol):
    """One session of one arm, as the record of traffic tells it."""

    @property
    def session(self) -> str: ...
    @property
    def adapter(self) -> AdapterName: ...
    @property
    def at(self) -> datetime: ...  # when it began; timezone-aware
    @property
    def ok(self) -> bool: ...
    @property
    def valid_format(self) -> bool | None: ...
    @property
    def refused(self) -> bool | None: ...
    @property
    def latency_ms(self) -> float: ...
    @property
    def slices(self) -> Collection[str]: ...
    @property
    def signals(self) -> Mapping[str, bool]: ...  # what only some sessions have: corrected, thumbs-down; True is bad


class GuardStatus(StrEnum):
    """``no_data`` is never healthy: a blocking guard without data lets no step happen."""

    HOLDS = "holds"
    BREACHED = "breached"
    NO_DATA = "no_data"


@dataclass(frozen=True, kw_only=True)
class GuardAlphas:
    """The budget's parts, one-sided. ``protected`` is for all protected slices together, ``informative`` for all signals together."""

    format: float = 0.005
    errors: float = 0.0025
    refusal: float = 0.0025
    latency: float = 0.0025
    protected: float = 0.005
    informative: float = 0.0025


@dataclass(frozen=True, kw_only=True)
class GuardPolicy:
    """``judges_format`` is False where no format is declared. Raises InvalidSettings for parts that add up to more than the budget."""

    budget: float = 0.02  # the chance that a whole canary is aborted although it is no worse
    alphas: GuardAlphas = field(default_factory=GuardAlphas)
    minimum_sessions: int = 20  # in each arm, before a guard may speak
    judges_format: bool = True
    slower_by_at_most: float = 2.0  # a session of the canary may take so many times as long: an adapter costs time by nature
    protected: tuple[str, ...] = ()  # slices with guards of their own
    informative: tuple[str, ...] = ()  # names of signals

    def __post_init__(self) -> None:
        parts = asdict(self.alphas)
        for name, part in parts.items():
            if not (_is_number(part) and LEAST_ALPHA <= part < 1):
                raise InvalidSettings(
                    f"must be {LEAST_ALPHA:g} or more and below 1", where=f"guard alpha {name}", value=part, remedy="Take 0.0025."
                )
        if not (_is_number(self.budget) and 0 < self.budget <= 1):
            raise InvalidSettings("must be a share", where="guard_budget", value=self.budget, remedy="Take 0.02.")
        if not sum(parts.values()) <= self.budget * (1 + 1e-9):  # said so that a budget that is no number is refused too
            raise InvalidSettings(
                "the guards' alphas add up to more than their budget",
                where="guard alphas",
                value=round(sum(parts.values()), 6),
                remedy=f"Lower some of them, or raise the budget of {self.budget:g} knowingly: it is the share of false aborts.",
            )
        if type(self.minimum_sessions) is not int or not self.minimum_sessions >= 1:
            raise InvalidSettings("no session is no evidence", where="minimum_sessions", value=self.minimum_sessions, remedy="Take 20.")
        if not (_is_number(self.slower_by_at_most) and 0 < self.slower_by_at_most <= _LARGEST):
            raise InvalidSettings("must be a factor above 0", where="slower_by_at_most", value=self.slower_by_at_most, remedy="Take 2.")
        for where, names in (("protected", self.protected), ("informative", self.informative)):
            if not isinstance(names, tuple) or not all(isinstance(name, str) for name in names):  # a lone text is read letter by letter
                raise InvalidSettings("must be a list of names", where=where, value=names, remedy="Take [] or ['tenant=acme'].")


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


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
    p: float | None  # valid at any time: the inverse of the evidence
    alpha: float
    reason: str
    evidence: float | None = None  # the largest so far; a breach is ``evidence >= needed``
    needed: float | None = None  # 1 / alpha
    sets: int = 0  # matched sets that were full
    largest_after: int = 0  # sessions of both arms, when the evidence was largest
    limit_ms: float | None = None  # latency: slow for the control, at the newest set; for the canary ``slower_by_at_most`` times that
    set_kinds: tuple[SetKind, ...] | None = ()  # the sets that said something; None: more kinds than are listed


def judge_guards(
    *, outcomes: Sequence[SessionOutcome], challenger: AdapterName, champion: AdapterName, policy: GuardPolicy
) -> tuple[GuardVerdict, ...]:
    """Errors, format, refusal and latency block; protected slices and informative signals may abort.

    Raises InvalidInput for a guard without a control, a session that is told twice in two ways, and a time without a zone.
    """
    if challenger == champion:
        raise InvalidInput("a guard without a control", where="champion", value=champion, remedy="Compare with the adapter beside it.")
    sessions = _in_order(outcomes, challenger=challenger, champion=champion)
    canary = np.array([outcome.adapter == challenger for outcome in sessions], dtype=bool)
    alphas, measures = policy.alphas, _measures(policy)
    verdicts = [
        _rate(name, sessions, canary, is_bad, alpha=getattr(alphas, name), blocking=True, policy=policy)
        for name, is_bad in measures.items()
    ]
    verdicts.append(_latency(sessions, canary, policy=policy))
    for name in policy.protected:
        inside = np.array([name in outcome.slices for outcome in sessions], dtype=bool)
        members = [outcome for outcome, one in zip(sessions, inside, strict=True) if one]
        alpha = alphas.protected / (len(policy.protected) * len(measures))
        verdicts += [
            _rate(f"{measure}[{name}]", members, canary[inside], is_bad, alpha=alpha, blocking=False, policy=policy)
            for measure, is_bad in measures.items()
        ]
    for name in policy.informative:
        alpha = alphas.informative / len(policy.informative)
        verdicts.append(_rate(name, sessions, canary, _signal(name), alpha=alpha, blocking=False, policy=policy))
    return tuple(verdicts)


_IsBad = Callable[[SessionOutcome], bool | None]


def _measures(policy: GuardPolicy) -> dict[str, _IsBad]:
    """None: the session says nothing about it."""
    measures: dict[str, _IsBad] = {"errors": lambda outcome: not outcome.ok}
    if policy.judges_format:
        measures["format"] = lambda outcome: None if outcome.valid_format is None else not outcome.valid_format
    measures["refusal"] = lambda outcome: outcome.refused
    return measures


def _signal(name: str) -> _IsBad:
    return lambda outcome: outcome.signals.get(name)


def _in_order(outcomes: Sequence[SessionOutcome], *, challenger: AdapterName, champion: AdapterName) -> list[SessionOutcome]:
    """Each session once, by its beginning. Ties by a hash of the session: an order by name could put one arm before the other."""
    known: dict[tuple[str, AdapterName], SessionOutcome] = {}
    for outcome in outcomes:
        if outcome.adapter not in (challenger, champion):
            continue
        where = f"session {written_out(outcome.session)}"
        check_moment(outcome.at, where=where)
        if not isinstance(outcome.ok, bool) or not isinstance(outcome.valid_format, bool | None):
            value = (outcome.ok, outcome.valid_format)
            raise InvalidInput("a session was answered or not, in its format or not", where=where, value=value, remedy="True or False.")
        if not (_is_number(outcome.latency_ms) and 0 <= outcome.latency_ms <= _LARGEST):
            raise InvalidInput("not a latency", where=where, value=outcome.latency_ms, remedy="Milliseconds, 0 or more.")
        before = known.setdefault((outcome.session, outcome.adapter), outcome)
        if before != outcome:
            raise InvalidInput(
                "told twice, in two ways",
                where=f"{where} of {outcome.adapter}",
                value=(before, outcome),
                remedy="Put all requests of a session into one outcome.",
            )
    # A session whose canary attempt failed was answered by the champion: it is the canary's failure, not the control's success.
    touched = {session for session, adapter in known if adapter == challenger}
    kept = (outcome for (session, adapter), outcome in known.items() if adapter == challenger or session not in touched)
    ordered: list[SessionOutcome] = []
    for _, tied in groupby(sorted(kept, key=lambda outcome: outcome.at), key=lambda outcome: outcome.at):
        members = list(tied)
        if len(members) > 1:  # hashing every session would be most of the work
            members.sort(key=lambda outcome: (unit_interval(written_out(outcome.session)), outcome.session))
        ordered += members
    return ordered


def _rate(
    name: str,
    sessions: Sequence[SessionOutcome],
    canary: NDArray[np.bool_],
    is_bad: _IsBad,
    *,
    alpha: float,
    blocking: bool,
    policy: GuardPolicy,
) -> GuardVerdict:
    said = [is_bad(outcome) for outcome in sessions]
    only(said, (True, False, None), where=f"guard {name}", said="a session is bad, not bad or says nothing", remedy="True, False or None.")
    known = np.array([bad is not None for bad in said], dtype=bool)
    bad = np.array([bool(bad) for bad in said], dtype=bool)[known]
    return _judged(name, canary[known], bad, alpha=alpha, blocking=blocking, policy=policy)


def _latency(sessions: Sequence[SessionOutcome], canary: NDArray[np.bool_], *, policy: GuardPolicy) -> GuardVerdict:
    """A session that failed, or whose user went away, is as slow as can be: its answer never came. In both arms, so that nothing follows
    where both fail alike.

    Left out, it would make the canary that fails its slow sessions look quick. It is counted by the errors guard too, which takes nothing
    from the budget: a canary that is no worse has neither more errors nor more slow sessions, so no more of both together.
    Source: Lachin (1999), "Worst-rank score analysis with informatively missing observations in clinical trials".
    """
    answered = np.array([outcome.ok for outcome in sessions], dtype=bool)
    took = np.array([outcome.latency_ms for outcome in sessions], dtype=float)
    with np.errstate(over="ignore"):  # a factor near 0 makes every session of the canary too slow
        took = np.where(canary, took / policy.slower_by_at_most, took)
    bad, limit = ~answered, None
    for begin, end, usual in _usual_latencies(took, of_control=~canary & answered):
        bad[begin:end] |= took[begin:end] > usual
        limit = usual
    return _judged("latency", canary, bad, alpha=policy.alphas.latency, blocking=True, policy=policy, limit_ms=limit)


def _usual_latencies(took: NDArray[np.float64], *, of_control: NDArray[np.bool_]) -> Iterator[tuple[int, int, float]]:
    """For each matched set, what is slow, from the control's answered sessions before it: it must not depend on the set itself."""
    begin, control = 0, np.flatnonzero(of_control)
    for end in [*set_ends(took.size).tolist(), took.size]:
        before = control[: int(np.searchsorted(control, begin))][-LATENCIES_KEPT:]
        if before.size >= LATENCIES_ENOUGH:
            yield begin, end, float(np.quantile(took[before], USUAL_QUANTILE))
        begin = end


def _judged(
    name: str,
    canary: NDArray[np.bool_],
    bad: NDArray[np.bool_],
    *,
    alpha: float,
    blocking: bool,
    policy: GuardPolicy,
    limit_ms: float | None = None,
) -> GuardVerdict:
    n, n_control = int(canary.sum()), int((~canary).sum())
    n_bad, n_control_bad = int((bad & canary).sum()), int((bad & ~canary).sum())
    weighed, needed = weigh(canary=canary, bad=bad), 1 / alpha
    p: float | None = min(1.0, 1 / weighed.peak)
    counts = f"{n_bad} of {n} sessions against {n_control_bad} of {n_control} beside it"
    if limit_ms is not None:  # each arm has its own limit
        factor = policy.slower_by_at_most
        counts = (
            f"{n_bad} of {n} sessions failed or took longer than {limit_ms * factor:.0f} ms, against {n_control_bad} of {n_control}"
            f" beside it that failed or took longer than {limit_ms:.0f} ms ({factor:g} times as long is allowed)"
        )
    if min(n, n_control) < policy.minimum_sessions:
        p, status = None, GuardStatus.NO_DATA
        reason = f"{n} sessions on the canary and {n_control} beside it: at least {policy.minimum_sessions} are needed in each"
    else:
        status = GuardStatus.BREACHED if weighed.peak >= needed else GuardStatus.HOLDS
        reason = f"{counts} (evidence {_written(weighed.peak)}, an abort needs {_written(needed)})"
        if n_control_bad == n_control:
            reason += "; beside it all were bad: nothing is worse than that, and this guard cannot speak"
    return GuardVerdict(
        name=name,
        blocking=blocking,
        status=status,
        bad=n_bad,
        sessions=n,
        control_bad=n_control_bad,
        control_sessions=n_control,
        p=p,
        alpha=alpha,
        reason=f"{name}: {reason}",
        evidence=None if p is None else weighed.peak,
        needed=needed,
        sets=weighed.sets,
        largest_after=weighed.peak_after,
        limit_ms=limit_ms,
        set_kinds=weighed.kinds,
    )


def _written(evidence: float) -> str:
    if evidence >= 1e6:
        return "over a million"
    return f"{evidence:,.0f}" if evidence >= 100 else f"{evidence:.3g}"
