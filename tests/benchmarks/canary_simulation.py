"""Simulated canaries, judged by the release policy that the release controller runs.

A canary is drawn as ``ArmSessions``, the columns that ``next_action`` and ``judge_guards`` read. Every look is a call of ``next_action``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from flywheel.ids import BASE, DAEMON, AdapterName, GateId, WorkloadId
from flywheel.rollout.arm_sessions import UNKNOWN, ArmSessions, OutcomeColumn
from flywheel.rollout.guards import GuardPolicy
from flywheel.rollout.next_action import Action, ActionKind, ReleaseFacts, RolloutPolicy, Served, next_action
from flywheel.rollout.release import Release, ReleaseState, Route, release_id
from flywheel.traffic.inference import Arm

NEW = AdapterName("router-new")
START = datetime(2026, 11, 22, tzinfo=UTC)
SECONDS_A_SESSION = 1.0
GUARDS = GuardPolicy(protected=("large", "small"), informative=("corrected", "thumbs_down"))
SIZE_OF_SLICE = {"large": 0.2, "small": 0.02}
SIGNALS = {"corrected": (0.05, 0.2), "thumbs_down": (0.02, 0.5)}
"""Share of sessions that have the signal, and share of these that are bad."""

Rates = NDArray[np.float64] | float


@dataclass(frozen=True, kw_only=True)
class Quality:
    """Rates of bad sessions: one number, or one for each session. ``took``: times the usual latency."""

    errors: Rates = 0.005
    format: Rates = 0.02
    refusal: Rates = 0.03
    took: float = 1.0
    signals: Mapping[str, Rates] | None = None


def drawn(on_canary: NDArray[np.bool_], *, canary: Quality, control: Quality, rng: np.random.Generator) -> ArmSessions:
    """Sessions one second apart. Latencies are log-normal with sigma 0.5. A session that failed has no format and no refusal."""
    n = on_canary.size

    def bad(rate_on_canary: Rates, rate_beside: Rates) -> OutcomeColumn:
        return (rng.random(n) < np.where(on_canary, rate_on_canary, rate_beside)).astype(np.int8)

    failed = bad(canary.errors, control.errors)
    signals = {}
    for name, (share, usual) in SIGNALS.items():
        on, beside = ((one.signals or {}).get(name, usual) for one in (canary, control))
        signals[name] = np.where(rng.random(n) < share, bad(on, beside), UNKNOWN).astype(np.int8)
    return ArmSessions(
        adapters=(BASE, NEW),
        adapter=on_canary.astype(np.int64),
        session=np.arange(n),
        began=np.asarray(START.timestamp() + SECONDS_A_SESSION * np.arange(n), dtype=np.float64),
        failed=failed,
        bad_format=np.where(failed == 1, UNKNOWN, bad(canary.format, control.format)).astype(np.int8),
        refused=np.where(failed == 1, UNKNOWN, bad(canary.refusal, control.refusal)).astype(np.int8),
        latency_ms=1_000 * np.where(on_canary, canary.took, control.took) * np.exp(0.5 * rng.standard_normal(n)),
        in_slice={name: rng.random(n) < size for name, size in SIZE_OF_SLICE.items()},
        signals=signals,
    )


def at_one_share(share: float, guards: GuardPolicy = GUARDS) -> RolloutPolicy:
    """The standard policy, but the canary stays at its first share."""
    return RolloutPolicy(canary_shares=(share,), canary_sessions=10**9, guards=guards)


def look(sessions: ArmSessions, seen: int, *, policy: RolloutPolicy, release: Release | None = None, share: float = 0.05) -> Action:
    """What the release policy does when the first ``seen`` sessions have begun."""
    route = Route(
        workload=WorkloadId("router"),
        alias="router",
        version=1,
        champion=BASE,
        challenger=NEW,
        challenger_arm=Arm.CANARY,
        share=share,
        changed_at=START,
    )
    facts = ReleaseFacts(route=route, served=Served.APPLIED, served_reason="applied", sessions=_first(sessions, seen))
    now = START + timedelta(seconds=SECONDS_A_SESSION * seen)
    return next_action(release=release or new_canary(), facts=facts, policy=policy, mode="auto", now=now)


def new_canary() -> Release:
    """A release on its first canary step."""
    workload = WorkloadId("router")
    return Release(
        id=release_id(workload, NEW),
        workload=workload,
        adapter=NEW,
        state=ReleaseState.CANARY,
        since=START,
        step_since=START,
        reason="canary",
        actor=DAEMON,
        gate=GateId("gate-1"),
    )


def rolled_back_after(
    sessions: ArmSessions, *, policy: RolloutPolicy, release: Release | None = None, share: float = 0.05, start: int = 0
) -> int | None:
    """The first number of sessions at which the policy rolls back; None where it does not.

    A guard judges the peak of its e-value, which never falls as sessions are added: bisection finds the first look that rolls back.
    """

    def bad(seen: int) -> bool:
        return look(sessions, seen, policy=policy, release=release, share=share).kind is ActionKind.ROLL_BACK

    total = sessions.adapter.size
    low, high = start, min(total, max(2 * start, 500))
    while not bad(high):
        if high == total:
            return None
        low, high = high, min(total, 2 * high)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if bad(middle) else (middle, high)
    return high


@dataclass(frozen=True, kw_only=True)
class Rollout:
    """How one canary ended. ``canary_sessions``: sessions that the new adapter had answered by then."""

    promoted: bool
    canary_sessions: int


def rollout(*, canary: Quality, control: Quality, policy: RolloutPolicy, rng: np.random.Generator) -> Rollout:
    """A whole canary: each step lasts until the policy ends it, by going on, promoting or rolling back."""
    release, begun = new_canary(), 0
    on_canary = np.zeros(0, dtype=bool)
    lengths = [int(max(policy.canary_sessions * 1.25 / share + 200, policy.step_time.total_seconds())) for share in policy.canary_shares]
    for length, share in zip(lengths, policy.canary_shares, strict=True):
        on_canary = np.concatenate([on_canary, rng.random(length) < share])
    sessions = drawn(on_canary, canary=canary, control=control, rng=rng)
    for length, share in zip(lengths, policy.canary_shares, strict=True):
        # The policy looks every second and goes on at the first look that allows it. Sessions come one a second, so the step is as long
        # as it takes; what was drawn beyond it is not looked at.
        enough = begun + int(np.searchsorted(np.cumsum(on_canary[begun : begun + length]), policy.canary_sessions)) + 1
        end = min(max(enough, begun + int(policy.step_time.total_seconds())), begun + length)
        action = look(sessions, end, policy=policy, release=release, share=share)
        if action.kind is ActionKind.ROLL_BACK:
            after = rolled_back_after(_first(sessions, end), policy=policy, release=release, share=share, start=begun)
            return Rollout(promoted=False, canary_sessions=int(on_canary[:after].sum()))
        if action.kind is ActionKind.PROMOTE:
            return Rollout(promoted=True, canary_sessions=int(on_canary[:end].sum()))
        assert action.release is not None, action.reason
        # The rest of the step was not lived: the next one begins here.
        keep = np.ones(on_canary.size, dtype=bool)
        keep[end : begun + length] = False
        sessions, on_canary, release, begun = _kept(sessions, keep), on_canary[keep], action.release, end
    raise AssertionError("the last step neither promotes nor rolls back")


def _first(sessions: ArmSessions, n: int) -> ArmSessions:
    return _kept(sessions, slice(0, n), moved=False)


def _kept(sessions: ArmSessions, rows: NDArray[np.bool_] | slice, *, moved: bool = True) -> ArmSessions:
    """Only these rows. ``moved``: later sessions begin earlier, one second after the one before."""
    kept = {name: getattr(sessions, name)[rows] for name in ("adapter", "session", "failed", "bad_format", "refused", "latency_ms")}
    began = sessions.began[: kept["adapter"].size] if moved else sessions.began[rows]
    return replace(
        sessions,
        **kept,
        began=began,
        in_slice={name: values[rows] for name, values in sessions.in_slice.items()},
        signals={name: values[rows] for name, values in sessions.signals.items()},
    )
