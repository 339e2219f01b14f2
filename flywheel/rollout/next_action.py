"""What happens next to a release: the whole release policy on one page.

In: a release, the facts about it, the policy, the workload's mode, the time. Out: an Action: wait, or the release's next state
with its route, and the reason that an operator will read. Loading, saving and notifying the gateways are not done here.

Four rules hold in every state. Missing data is never healthy: without facts the release waits. Going back is allowed in
every mode; going on needs mode ``auto`` or a named person. The route decides: a release follows the route. A canary step ends after
enough sessions and enough time, because a night's sessions say nothing about the day's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import pairwise
from typing import Literal

from flywheel.clock import CLOCKS_DIFFER_BY, lies_ahead
from flywheel.errors import InvalidInput, InvalidSettings
from flywheel.gate.axes import GateVerdict
from flywheel.ids import BASE, DAEMON, AdapterName, GateId, Person, ReleaseId
from flywheel.rollout.arm_sessions import ArmSessions
from flywheel.rollout.guards import GuardPolicy, GuardStatus, GuardVerdict, guard_document, judge_guards
from flywheel.rollout.release import CLOSED, Release, ReleaseState, Route
from flywheel.rollout.route_changes import with_canary, with_champion, with_holdout, with_shadow
from flywheel.rollout.shadow import ShadowCounts, ShadowStatus, judge_shadow
from flywheel.traffic.inference import Arm

Mode = Literal["observe", "propose", "auto"]


class Served(StrEnum):
    """Is the adapter served as it was trained? Unknown: the server does not answer, or was not asked yet."""

    UNKNOWN = "unknown"
    APPLIED = "applied"
    NOT_SERVABLE = "not_servable"  # refused by the server, or not the trained weights


class ActionKind(StrEnum):
    """``wait`` and ``done`` change nothing; every other one is a transition of the diagram in ``release``."""

    WAIT = "wait"
    DONE = "done"
    PROBED = "probed"
    REFUSE = "refuse"
    GATED = "gated"
    GATE_AGAIN = "gate_again"
    START_SHADOW = "start_shadow"
    START_CANARY = "start_canary"
    STEP = "step"
    PROMOTE = "promote"
    END_HOLDOUT = "end_hold_back"
    ROLL_BACK = "roll_back"
    RETIRE = "retire"
    TIME_ANEW = "time_anew"
    PUT_BACK = "put_back"


_STATE_AFTER = {
    ActionKind.PROBED: ReleaseState.PROBED,
    ActionKind.REFUSE: ReleaseState.REFUSED,
    ActionKind.GATED: ReleaseState.GATED,
    ActionKind.GATE_AGAIN: ReleaseState.PROBED,
    ActionKind.START_SHADOW: ReleaseState.SHADOW,
    ActionKind.START_CANARY: ReleaseState.CANARY,
    ActionKind.PROMOTE: ReleaseState.LIVE,
    ActionKind.ROLL_BACK: ReleaseState.ROLLED_BACK,
    ActionKind.RETIRE: ReleaseState.RETIRED,
    ActionKind.PUT_BACK: ReleaseState.LIVE,
}


@dataclass(frozen=True, kw_only=True)
class RolloutPolicy:
    """``canary_sessions`` of the challenger and ``step_time`` for each share. Raises InvalidSettings for a value outside its range."""

    shadow_requests: int = 200
    canary_shares: tuple[float, ...] = (0.05, 0.25, 0.5)
    canary_sessions: int = 400
    step_time: timedelta = timedelta(minutes=30)
    holdout_share: float = 0.05  # of the sessions, on the old champion after a promotion; 0: none
    holdout_time: timedelta = timedelta(hours=24)  # the watch period; 0: none
    guards: GuardPolicy = field(default_factory=GuardPolicy)

    def __post_init__(self) -> None:
        shares = self.canary_shares
        if not all(0 < share < 1 for share in shares) or any(later <= earlier for earlier, later in pairwise(shares)):
            raise InvalidSettings(
                "each share must be above 0, below 1 and larger than the one before: at 1 a guard has no control",
                where="canary_shares",
                value=shares,
                remedy="Take 0.05, 0.25, 0.5.",
            )
        for name, least in (("shadow_requests", 1), ("canary_sessions", 1), ("step_time", timedelta(0)), ("holdout_time", timedelta(0))):
            value = getattr(self, name)
            if value < least:
                raise InvalidSettings(f"must be {least} or more", where=name, value=value, remedy=f"Give {least} or more.")
        if not 0 <= self.holdout_share < 1:
            raise InvalidSettings("must be 0 or more and below 1", where="holdout_share", value=self.holdout_share, remedy="Take 0.05.")


@dataclass(frozen=True, kw_only=True)
class GateFact:
    """The gate that counts for the adapter: its newest against the present champion, else its newest."""

    id: GateId
    champion: AdapterName  # what it was compared with
    verdict: GateVerdict
    reason: str


@dataclass(frozen=True, kw_only=True)
class ReleaseFacts:
    """Everything that the policy reads. ``sessions`` and ``shadow`` count since the release entered its state; None: not known."""

    route: Route | None
    served: Served = Served.UNKNOWN
    served_reason: str = "the server was not asked yet"
    served_evidence: Mapping[str, object] = field(default_factory=dict)
    gate: GateFact | None = None
    in_flight: ReleaseId | None = None  # another release in shadow or canary
    shadow: ShadowCounts | None = None
    sessions: ArmSessions | None = None
    rollback_target: AdapterName = BASE


@dataclass(frozen=True, kw_only=True)
class Action:
    """``release`` is the release after the move, ``route`` the route to be saved with it; both None when nothing changes."""

    kind: ActionKind
    reason: str
    by: str = "policy"  # probe, gate, guard, policy
    asks_for_gate: bool = False  # against the present champion
    release: Release | None = None
    route: Route | None = None
    evidence: Mapping[str, object] = field(default_factory=dict)


def gate_that_counts(newest_first: Sequence[GateFact], *, champion: AdapterName) -> GateFact | None:
    """The newest gate against the present champion; else the newest."""
    return next((gate for gate in newest_first if gate.champion == champion), newest_first[0] if newest_first else None)


def reads_gate(release: Release) -> bool:
    """Does the policy look at the gate in this state?"""
    return release.state in (ReleaseState.PROBED, ReleaseState.GATED, ReleaseState.REFUSED)


def reads_sessions(release: Release, route: Route) -> bool:
    """Does the policy look at sessions in this state? On a canary, and in the watch period after it."""
    watched = release.state is ReleaseState.LIVE and route.champion == release.adapter and route.challenger_arm is Arm.HOLDOUT
    return release.state is ReleaseState.CANARY or watched


def next_action(*, release: Release, facts: ReleaseFacts, policy: RolloutPolicy, mode: Mode, now: datetime) -> Action:
    """Safe to repeat: a release moves once, because the next call sees the next state.

    Sessions of the future, of a clock that ran ahead, are not counted. Raises InvalidInput for a canary at a step that the policy does not
    have. There too a breached guard rolls it back.
    """
    if release.state not in CLOSED and any(at is not None and lies_ahead(at, now=now) for at in (release.since, release.step_since)):
        return _timed_anew(release, now)
    route = facts.route
    if route is None:
        return _wait("there is no route yet")
    if facts.sessions is not None:
        facts = replace(facts, sessions=facts.sessions.began_by(now + CLOCKS_DIFFER_BY))
    match release.state:
        case ReleaseState.REGISTERED:
            return _registered(release, facts, now)
        case ReleaseState.PROBED:
            return _probed(release, facts, route, now)
        case ReleaseState.GATED:
            return _gated(release, facts, route, mode, now)
        case ReleaseState.SHADOW:
            return _shadow(release, facts, route, policy, now)
        case ReleaseState.CANARY:
            return _canary(release, facts, route, policy, now)
        case ReleaseState.LIVE:
            return _live(release, facts, route, policy, now)
        case ReleaseState.RETIRED:
            if route.champion == release.adapter:
                return _move(ActionKind.PUT_BACK, release, "put back: its successor was rolled back", now)
        case ReleaseState.REFUSED:
            if release.gate and facts.gate and facts.gate.id != release.gate and _passed(facts.gate, route):
                return _gate_passed(release, facts.gate, now)
        case ReleaseState.ROLLED_BACK:
            pass
    return Action(kind=ActionKind.DONE, reason=f"closed: {release.reason}")


def _registered(release: Release, facts: ReleaseFacts, now: datetime) -> Action:
    if facts.served is Served.NOT_SERVABLE:
        return _not_servable(release, facts, now)
    if facts.served is Served.UNKNOWN:
        return _wait(facts.served_reason)
    return _move(ActionKind.PROBED, release, facts.served_reason, now, by="probe", evidence=facts.served_evidence)


def _probed(release: Release, facts: ReleaseFacts, route: Route, now: datetime) -> Action:
    if facts.served is Served.NOT_SERVABLE:
        return _not_servable(release, facts, now)
    gate = facts.gate
    if gate is None or gate.champion != route.champion:  # without any gate the gatekeeper runs one by itself
        return Action(kind=ActionKind.WAIT, reason="waits for its gate", asks_for_gate=gate is not None)
    if gate.verdict is GateVerdict.PASS:
        return _gate_passed(release, gate, now)
    refused = replace(release, gate=gate.id)
    return _move(ActionKind.REFUSE, refused, gate.reason, now, by="gate", evidence=_of_gate(gate))


def _gated(release: Release, facts: ReleaseFacts, route: Route, mode: Mode, now: datetime) -> Action:
    if facts.served is Served.NOT_SERVABLE:
        return _not_servable(release, facts, now)
    if release.overridden_by is None and (facts.gate is None or facts.gate.champion != route.champion):
        waits = replace(release, gate="", approved_by=None)
        return _move(ActionKind.GATE_AGAIN, waits, "the champion has changed since its gate", now)
    if mode != "auto" and release.approved_by is None:
        return _wait(f"waits for a named person: mode is {mode}")
    if facts.served is Served.UNKNOWN:
        return _wait(facts.served_reason)
    if route.challenger_arm is Arm.HOLDOUT:
        return _wait(f"waits for the end of the watch period of {route.champion}: {route.challenger} still answers beside it")
    if facts.in_flight is not None or route.challenger is not None:
        return _wait("waits for another release to end its shadow or canary")
    reason = f"approved by {release.approved_by}" if release.approved_by else "mode is auto and the gate passed"
    changed = with_shadow(route, release, now=now)
    return _move(ActionKind.START_SHADOW, release, reason, now, route=changed)


def _shadow(release: Release, facts: ReleaseFacts, route: Route, policy: RolloutPolicy, now: datetime) -> Action:
    gone = _gone(release, facts, route, now)
    if gone is not None:
        return gone
    verdict = judge_shadow(counts=facts.shadow, wanted=policy.shadow_requests)
    evidence = asdict(verdict)
    if verdict.status is ShadowStatus.FAILS:
        return _roll_back(release, route, verdict.reason, now, evidence=evidence)
    if verdict.status is ShadowStatus.WAITS or facts.served is Served.UNKNOWN:
        return _wait(verdict.reason if verdict.status is ShadowStatus.WAITS else facts.served_reason)
    if not policy.canary_shares:
        return _promote(release, route, policy, "the policy has no canary steps", now, evidence)
    first = replace(release, step=0, step_since=now)
    share = policy.canary_shares[0]
    reason = f"{verdict.reason}; canary at {share:.0%} of the sessions"
    changed = with_canary(route, release, share=share, now=now)
    return _move(ActionKind.START_CANARY, first, reason, now, route=changed, evidence=evidence)


def _canary(release: Release, facts: ReleaseFacts, route: Route, policy: RolloutPolicy, now: datetime) -> Action:
    gone = _gone(release, facts, route, now)
    if gone is not None:
        return gone
    if facts.sessions is None:
        return _wait("no outcomes of the canary are known")
    verdicts, breaches = _guards(facts.sessions, release, beside=route.champion, policy=policy)
    began = release.step_since or release.since
    in_step = facts.sessions.count_since(release.adapter, began)
    evidence = {
        "control": route.champion,  # a promotion's line names the new champion
        "step": release.step,
        "steps": list(policy.canary_shares),
        "share": route.share,
        "step_began": began.isoformat(),
        "step_sessions": in_step,
        "step_sessions_least": policy.canary_sessions,
        "step_seconds_least": policy.step_time.total_seconds(),
        **_guarded(verdicts, policy),
    }
    if breaches:
        return _roll_back(release, route, breaches, now, evidence=evidence)
    if release.step >= len(policy.canary_shares):  # else it would be promoted from a share that it never reached
        raise InvalidInput(
            f"the policy has {len(policy.canary_shares)} canary steps, and the release stands beyond them",
            where=release.id,
            value=release.step,
            remedy="Restore release.canary_shares, or roll the release back.",
        )
    silent = [verdict.reason for verdict in verdicts if verdict.blocking and verdict.status is GuardStatus.NO_DATA]
    if silent:
        return _wait("; ".join(silent), evidence=evidence)
    if in_step < policy.canary_sessions:
        return _wait(f"{in_step} of {policy.canary_sessions} sessions in this step", evidence=evidence)
    going_on_at = began + policy.step_time
    if now < going_on_at:
        return _wait(f"{in_step} sessions in this step; goes on at {going_on_at.isoformat()} at the earliest", evidence=evidence)
    if facts.served is Served.UNKNOWN:
        return _wait(facts.served_reason)
    held = f"all guards held over {in_step} sessions at {route.share:.0%}"
    if release.step + 1 >= len(policy.canary_shares):
        return _promote(release, route, policy, held, now, evidence)
    share = policy.canary_shares[release.step + 1]
    stepped = replace(release, step=release.step + 1, step_since=now, reason=f"{held}; on to {share:.0%}", actor=DAEMON)
    changed = with_canary(route, release, share=share, now=now)
    return Action(kind=ActionKind.STEP, reason=stepped.reason, release=stepped, route=changed, evidence=evidence)


def _live(release: Release, facts: ReleaseFacts, route: Route, policy: RolloutPolicy, now: datetime) -> Action:
    if route.champion != release.adapter:
        return _move(ActionKind.RETIRE, release, f"replaced by {route.champion}", now)
    if facts.served is Served.NOT_SERVABLE:  # it answers nobody any more, so this does not wait for a person
        reason, changed = f"cannot be served: {facts.served_reason}", with_champion(route, facts.rollback_target, now=now)
        return _move(ActionKind.ROLL_BACK, release, reason, now, by="probe", route=changed)
    if route.challenger_arm is Arm.HOLDOUT and route.challenger is not None:
        return _watched(release, facts, route, route.challenger, policy, now)
    return _wait("live")


def _watched(release: Release, facts: ReleaseFacts, route: Route, before: AdapterName, policy: RolloutPolicy, now: datetime) -> Action:
    """The watch period: the canary's guards again, with nearly all sessions on the new champion and a few on the old one."""
    until = release.since + policy.holdout_time
    evidence: dict[str, object] = {"hold_back": before, "share": route.share, "hold_back_until": until.isoformat()}
    unseen = ["no outcomes are known"]
    if facts.sessions is not None:
        verdicts, breaches = _guards(facts.sessions, release, beside=before, policy=policy)
        evidence |= _guarded(verdicts, policy)
        unseen = [verdict.reason for verdict in verdicts if verdict.blocking and verdict.status is GuardStatus.NO_DATA]
        if breaches:
            changed = with_champion(route, before, now=now)
            return _move(ActionKind.ROLL_BACK, release, breaches, now, by="guard", route=changed, evidence=evidence)
    if now < until:
        return _wait(f"live; {route.share:.0%} of the sessions stay on {before} until {until.isoformat()}", evidence=evidence)
    judged = f", without data to judge by: {'; '.join(unseen)}" if unseen else ""
    reason = f"the watch period beside {before} has ended{judged}"
    alone = replace(release, step_since=now, reason=reason, actor=DAEMON)
    changed = with_champion(route, release.adapter, now=now)
    return Action(kind=ActionKind.END_HOLDOUT, reason=reason, release=alone, route=changed, evidence=evidence)


def _guards(sessions: ArmSessions, release: Release, *, beside: AdapterName, policy: RolloutPolicy) -> tuple[tuple[GuardVerdict, ...], str]:
    """The verdicts, and the reasons of those that are breached."""
    verdicts = judge_guards(sessions=sessions, challenger=release.adapter, champion=beside, policy=policy.guards)
    return verdicts, "; ".join(verdict.reason for verdict in verdicts if verdict.status is GuardStatus.BREACHED)


def _gone(release: Release, facts: ReleaseFacts, route: Route, now: datetime) -> Action | None:
    """A challenger that is off the route, or can no longer be served, is rolled back in every mode."""
    if route.challenger != release.adapter:
        return _move(ActionKind.ROLL_BACK, release, "taken off the route", now)
    if facts.served is Served.NOT_SERVABLE:
        return _roll_back(release, route, f"cannot be served: {facts.served_reason}", now, by="probe", evidence=facts.served_evidence)
    return None


def _timed_anew(release: Release, now: datetime) -> Action:
    """Its waits begin anew: a wait that began in the future would last as long as the clock was ahead."""
    reason = f"its time lay in the future, {max(release.since, release.step_since or release.since).isoformat()}: a clock ran ahead"
    step_since = min(release.step_since, now) if release.step_since is not None else None
    timed = replace(release, since=min(release.since, now), step_since=step_since, reason=reason, actor=DAEMON)
    return Action(kind=ActionKind.TIME_ANEW, reason=reason, release=timed)


def _not_servable(release: Release, facts: ReleaseFacts, now: datetime) -> Action:
    unproven = replace(release, gate="")  # without a gate no override can approve it
    reason, evidence = facts.served_reason, facts.served_evidence
    return _move(ActionKind.REFUSE, unproven, reason, now, by="probe", evidence=evidence)


def _passed(gate: GateFact, route: Route) -> bool:
    return gate.verdict is GateVerdict.PASS and gate.champion == route.champion


def _gate_passed(release: Release, gate: GateFact, now: datetime) -> Action:
    passed = replace(release, gate=gate.id)
    return _move(ActionKind.GATED, passed, gate.reason, now, by="gate", evidence=_of_gate(gate))


def _promote(release: Release, route: Route, policy: RolloutPolicy, reason: str, now: datetime, evidence: Mapping[str, object]) -> Action:
    champion = replace(release, replaced=route.champion)
    if policy.holdout_share > 0 and policy.holdout_time > timedelta(0):
        changed = with_holdout(route, release, share=policy.holdout_share, now=now)
        reason += f"; {policy.holdout_share:.0%} of the sessions stay on {route.champion} for {policy.holdout_time}"
    else:
        changed = with_champion(route, release.adapter, now=now)
    return _move(ActionKind.PROMOTE, champion, reason, now, route=changed, evidence=evidence)


def _roll_back(release: Release, route: Route, reason: str, now: datetime, *, evidence: Mapping[str, object], by: str = "guard") -> Action:
    changed = with_champion(route, route.champion, now=now)
    return _move(ActionKind.ROLL_BACK, release, reason, now, by=by, route=changed, evidence=evidence)


def _move(
    kind: ActionKind,
    release: Release,
    reason: str,
    now: datetime,
    *,
    by: str = "policy",
    route: Route | None = None,
    evidence: Mapping[str, object] | None = None,
) -> Action:
    actor: Person = release.approved_by if kind is ActionKind.START_SHADOW and release.approved_by else DAEMON
    moved = replace(release, state=_STATE_AFTER[kind], since=now, reason=reason, actor=actor)
    return Action(kind=kind, reason=reason, by=by, release=moved, route=route, evidence=evidence or {})


def _wait(reason: str, *, evidence: Mapping[str, object] | None = None) -> Action:
    return Action(kind=ActionKind.WAIT, reason=reason, evidence=evidence or {})


def _of_gate(gate: GateFact) -> dict[str, object]:
    return {"gate": gate.id, "verdict": gate.verdict.value, "champion": gate.champion}


def _guarded(verdicts: Sequence[GuardVerdict], policy: RolloutPolicy) -> dict[str, object]:
    return {"guard_sessions_least": policy.guards.minimum_sessions, "guards": [guard_document(verdict) for verdict in verdicts]}
