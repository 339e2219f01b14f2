"""The release policy, told as moves."""

import itertools
import json
from dataclasses import replace
from datetime import timedelta

import pytest

from flywheel.errors import InvalidSettings
from flywheel.gate.axes import GateVerdict
from flywheel.ids import BASE, AdapterName, ReleaseId
from flywheel.rollout.next_action import Action, ActionKind, Mode, ReleaseFacts, RolloutPolicy, Served, gate_that_counts, next_action
from flywheel.rollout.release import Release, ReleaseState, release_line
from flywheel.rollout.shadow import ShadowCounts
from flywheel.traffic.inference import Arm
from tests.unit.rollout.release_stories import ANNA, NEW, NOW, OLD, POLICY, Seen, columns, gate, release, route, sessions

APPLIED = ReleaseFacts(route=route(), served=Served.APPLIED, served_reason="the server answers as the trained weights do")


def act(of: Release, facts: ReleaseFacts, *, mode: Mode = "auto", policy: RolloutPolicy = POLICY) -> Action:
    return next_action(release=of, facts=facts, policy=policy, mode=mode, now=NOW)


def on_route(arm: Arm, *, share: float = 0.1, champion: AdapterName = BASE) -> ReleaseFacts:
    return replace(APPLIED, route=route(champion=champion, challenger=NEW, arm=arm, share=share))


def test_a_registered_adapter_waits_until_the_server_has_answered_for_it() -> None:
    action = act(release(ReleaseState.REGISTERED), ReleaseFacts(route=route()))
    assert (action.kind, action.release, action.route) == (ActionKind.WAIT, None, None)


def test_an_applied_adapter_is_probed() -> None:
    action = act(release(ReleaseState.REGISTERED), APPLIED)
    assert action.kind is ActionKind.PROBED
    assert action.by == "probe"
    assert action.release is not None
    assert action.release.state is ReleaseState.PROBED


@pytest.mark.parametrize("state", [ReleaseState.REGISTERED, ReleaseState.PROBED, ReleaseState.GATED])
def test_no_override_approves_an_adapter_with_wrong_weights(state: ReleaseState) -> None:
    facts = replace(APPLIED, served=Served.NOT_SERVABLE, served_reason="the adapter's weights are ignored", gate=gate(GateVerdict.PASS))
    action = act(release(state), facts)
    assert (action.kind, action.by) == (ActionKind.REFUSE, "probe")
    assert action.release is not None
    assert action.release.gate == ""


def test_only_a_passed_gate_lets_a_release_on() -> None:
    passed = act(release(ReleaseState.PROBED), replace(APPLIED, gate=gate(GateVerdict.PASS)))
    assert passed.kind is ActionKind.GATED
    for verdict in (GateVerdict.REFUSE, GateVerdict.CANNOT_TELL):
        action = act(release(ReleaseState.PROBED), replace(APPLIED, gate=gate(verdict)))
        assert (action.kind, action.by) == (ActionKind.REFUSE, "gate")
        assert action.release is not None
        assert action.release.gate == "gate-1"


def test_a_gate_against_another_champion_decides_nothing() -> None:
    stale = replace(APPLIED, gate=gate(GateVerdict.PASS, champion=OLD))
    assert act(release(ReleaseState.PROBED), stale).kind is ActionKind.WAIT
    again = act(release(ReleaseState.GATED, approved_by=ANNA), stale)
    assert again.kind is ActionKind.GATE_AGAIN
    assert again.release is not None
    assert (again.release.state, again.release.approved_by) == (ReleaseState.PROBED, None)


def test_auto_goes_on_and_propose_and_observe_wait_for_a_named_person() -> None:
    facts = replace(APPLIED, gate=gate(GateVerdict.PASS))
    assert act(release(ReleaseState.GATED), facts, mode="auto").kind is ActionKind.START_SHADOW
    for mode in ("observe", "propose"):
        assert act(release(ReleaseState.GATED), facts, mode=mode).kind is ActionKind.WAIT  # type: ignore[arg-type]
        approved = act(release(ReleaseState.GATED, approved_by=ANNA), facts, mode=mode)  # type: ignore[arg-type]
        assert approved.kind is ActionKind.START_SHADOW
        assert approved.release is not None
        assert approved.release.actor == ANNA


def test_a_gated_release_waits_for_the_weight_parity_check() -> None:
    facts = replace(APPLIED, gate=gate(GateVerdict.PASS), served=Served.UNKNOWN)
    assert act(release(ReleaseState.GATED), facts).kind is ActionKind.WAIT


def test_an_overridden_release_goes_to_shadow_like_any_other() -> None:
    by_hand = release(ReleaseState.GATED, overridden_by=ANNA, approved_by=ANNA)
    action = act(by_hand, replace(APPLIED, gate=gate(GateVerdict.REFUSE)), mode="propose")
    assert action.kind is ActionKind.START_SHADOW
    assert action.route is not None
    assert (action.route.challenger, action.route.challenger_arm, action.route.champion) == (NEW, Arm.SHADOW, BASE)
    assert action.route.version == 5


def test_only_one_release_is_in_flight() -> None:
    waiting = replace(APPLIED, gate=gate(GateVerdict.PASS), in_flight=ReleaseId("release-other"))
    assert act(release(ReleaseState.GATED), waiting).kind is ActionKind.WAIT


def test_a_shadow_with_enough_answers_becomes_a_canary() -> None:
    shadowed = on_route(Arm.SHADOW)
    assert act(release(ReleaseState.SHADOW), shadowed).kind is ActionKind.WAIT
    few = replace(shadowed, shadow=ShadowCounts(answered=19))
    assert act(release(ReleaseState.SHADOW), few).kind is ActionKind.WAIT
    action = act(release(ReleaseState.SHADOW), replace(shadowed, shadow=ShadowCounts(answered=20)))
    assert action.kind is ActionKind.START_CANARY
    assert action.route is not None
    assert (action.route.challenger_arm, action.route.share) == (Arm.CANARY, 0.1)


def test_a_shadow_whose_requests_fail_never_reaches_a_user() -> None:
    action = act(release(ReleaseState.SHADOW), replace(on_route(Arm.SHADOW), shadow=ShadowCounts(answered=8, failed=4)))
    assert (action.kind, action.by) == (ActionKind.ROLL_BACK, "guard")
    assert action.route is not None
    assert action.route.challenger is None


def test_a_canary_without_data_waits() -> None:
    canary = release(ReleaseState.CANARY, step_since=NOW)
    assert act(canary, on_route(Arm.CANARY)).kind is ActionKind.WAIT
    assert act(canary, replace(on_route(Arm.CANARY), sessions=columns(()))).kind is ActionKind.WAIT
    one_armed = replace(on_route(Arm.CANARY), sessions=columns(sessions(NEW, 500)))
    assert act(canary, one_armed).kind is ActionKind.WAIT


def test_a_canary_steps_and_is_promoted_when_its_guards_hold() -> None:
    facts = replace(on_route(Arm.CANARY), sessions=columns(sessions(NEW, 40) + sessions(BASE, 200)))
    stepped = act(release(ReleaseState.CANARY, step_since=NOW - timedelta(minutes=2)), facts)
    assert stepped.kind is ActionKind.STEP
    assert stepped.release is not None
    assert stepped.route is not None
    assert (stepped.release.step, stepped.release.step_since, stepped.route.share) == (1, NOW, 0.5)
    promoted = act(release(ReleaseState.CANARY, step=1), facts)
    assert promoted.kind is ActionKind.PROMOTE
    assert promoted.release is not None
    assert promoted.route is not None
    assert (promoted.release.state, promoted.release.replaced) == (ReleaseState.LIVE, BASE)
    assert (promoted.route.champion, promoted.route.challenger, promoted.route.challenger_arm) == (NEW, BASE, Arm.HOLDOUT)
    assert "5% of the sessions stay on base" in promoted.reason


def test_a_canarys_evidence_holds_its_policy_and_its_control() -> None:
    facts = replace(on_route(Arm.CANARY, champion=OLD), sessions=columns(sessions(NEW, 40) + sessions(OLD, 200)))
    begun = release(ReleaseState.CANARY, step=1, step_since=NOW - timedelta(minutes=2))
    promoted = act(begun, facts)
    assert promoted.kind is ActionKind.PROMOTE
    assert {name: promoted.evidence[name] for name in promoted.evidence if name != "guards"} == {
        "control": OLD,
        "step": 1,
        "steps": [0.1, 0.5],
        "share": 0.1,
        "step_began": (NOW - timedelta(minutes=2)).isoformat(),
        "step_sessions": 40,
        "step_sessions_least": 40,
        "step_seconds_least": 120.0,
        "guard_sessions_least": 10,
    }
    bad = replace(facts, sessions=columns(sessions(NEW, 0, bad_format=40) + sessions(OLD, 200)))
    aborted = act(begun, bad)
    assert aborted.kind is ActionKind.ROLL_BACK
    assert set(aborted.evidence) == set(promoted.evidence)
    assert json.loads(json.dumps(aborted.evidence)) == aborted.evidence
    guards = {guard["name"]: guard for guard in aborted.evidence["guards"]}  # type: ignore[attr-defined]
    assert guards["format"]["set_kinds"]
    assert guards["errors"]["set_kinds"] == []


def test_a_canary_with_too_few_sessions_in_its_step_waits() -> None:
    facts = replace(on_route(Arm.CANARY), sessions=columns(sessions(NEW, 39) + sessions(BASE, 200)))
    assert act(release(ReleaseState.CANARY), facts).kind is ActionKind.WAIT


def test_a_canary_with_enough_sessions_in_too_short_a_time_waits() -> None:
    facts = replace(on_route(Arm.CANARY), sessions=columns(sessions(NEW, 400) + sessions(BASE, 400)))
    begun = release(ReleaseState.CANARY, step_since=NOW - timedelta(minutes=2) + timedelta(seconds=1))
    action = act(begun, facts)
    assert action.kind is ActionKind.WAIT
    assert "at the earliest" in action.reason
    assert act(replace(begun, step_since=NOW - timedelta(minutes=2)), facts).kind is ActionKind.STEP


def test_without_a_holdout_a_promotion_leaves_the_new_champion_alone() -> None:
    facts = replace(on_route(Arm.CANARY), sessions=columns(sessions(NEW, 40) + sessions(BASE, 200)))
    for policy in (replace(POLICY, holdout_share=0.0), replace(POLICY, holdout_time=timedelta(0))):
        promoted = act(release(ReleaseState.CANARY, step=1), facts, policy=policy)
        assert promoted.route is not None
        assert (promoted.kind, promoted.route.champion, promoted.route.challenger) == (ActionKind.PROMOTE, NEW, None)


WATCHED = replace(APPLIED, route=route(champion=NEW, challenger=OLD, arm=Arm.HOLDOUT, share=0.05))


def test_a_guard_rolls_a_watched_champion_back_in_every_mode() -> None:
    live = release(ReleaseState.LIVE, replaced=OLD)
    good = replace(WATCHED, sessions=columns(sessions(NEW, 400) + sessions(OLD, 30)))
    assert act(live, good).kind is ActionKind.WAIT
    assert act(live, WATCHED).kind is ActionKind.WAIT
    bad = replace(WATCHED, sessions=columns(sessions(NEW, 100, bad_format=300) + sessions(OLD, 60)))
    for mode in ("observe", "propose", "auto"):
        action = act(live, bad, mode=mode)  # type: ignore[arg-type]
        assert (action.kind, action.by) == (ActionKind.ROLL_BACK, "guard")
        assert action.route is not None
        assert (action.route.champion, action.route.challenger) == (OLD, None)
        assert "format: 300 of 400 sessions" in action.reason


def test_the_holdout_ends_with_the_watch_period() -> None:
    live = release(ReleaseState.LIVE, replaced=OLD, since=NOW - timedelta(hours=24))
    ended = act(live, replace(WATCHED, sessions=columns(sessions(NEW, 400) + sessions(OLD, 30))))
    assert ended.kind is ActionKind.END_HOLDOUT
    assert ended.release is not None
    assert ended.route is not None
    assert (ended.release.state, ended.release.since, ended.release.step_since) == (ReleaseState.LIVE, live.since, NOW)
    assert release_line(ended.release, by="policy").at == NOW
    assert (ended.route.champion, ended.route.challenger, ended.route.version) == (NEW, None, 5)
    assert len(ended.evidence["guards"]) == 4  # type: ignore[arg-type]
    assert (ended.evidence["hold_back"], ended.evidence["hold_back_until"]) == (OLD, NOW.isoformat())


@pytest.mark.parametrize("outcomes", [None, (), sessions(NEW, 400), sessions(NEW, 400) + sessions(OLD, 3)])
def test_a_watch_period_that_ends_without_data_says_so(outcomes: tuple[Seen, ...] | None) -> None:
    live = release(ReleaseState.LIVE, replaced=OLD, since=NOW - timedelta(hours=24))
    ended = act(live, replace(WATCHED, sessions=None if outcomes is None else columns(outcomes)))
    assert ended.kind is ActionKind.END_HOLDOUT
    assert "without data to judge by: " in ended.reason
    judged = act(live, replace(WATCHED, sessions=columns(sessions(NEW, 400) + sessions(OLD, 30))))
    assert "without data" not in judged.reason


def test_a_next_release_waits_for_the_end_of_the_watch_period() -> None:
    held = replace(
        WATCHED, route=route(champion=OLD, challenger=BASE, arm=Arm.HOLDOUT, share=0.05), gate=gate(GateVerdict.PASS, champion=OLD)
    )
    action = act(release(ReleaseState.GATED), held)
    assert action.kind is ActionKind.WAIT
    assert "watch period" in action.reason


@pytest.mark.parametrize("ahead", [timedelta(hours=1), timedelta(days=1), timedelta(days=365)])
def test_the_waits_of_a_release_from_the_future_begin_anew(ahead: timedelta) -> None:
    facts = replace(on_route(Arm.CANARY), sessions=columns(()))
    assert act(release(ReleaseState.CANARY, since=NOW + timedelta(seconds=30)), facts).kind is ActionKind.WAIT
    for since, step_since in ((NOW + ahead, NOW + ahead), (NOW - ahead, NOW + ahead)):
        held = replace(release(ReleaseState.CANARY, since=since), step_since=step_since)
        action = act(held, facts)
        assert action.kind is ActionKind.TIME_ANEW
        assert action.release is not None
        assert (action.release.since, action.release.step_since) == (min(since, NOW), NOW)
        assert "lay in the future" in action.release.reason
        assert act(action.release, facts).kind is ActionKind.WAIT
    assert act(release(ReleaseState.ROLLED_BACK, since=NOW + ahead), facts).kind is ActionKind.DONE


@pytest.mark.parametrize("shares", [(1.0,), (0.05, 1.0), (0.0, 0.5), (0.5, 0.25), (0.5, 0.5)])
def test_a_policy_that_leaves_a_guard_without_a_control_is_an_error(shares: tuple[float, ...]) -> None:
    with pytest.raises(InvalidSettings, match="has no control"):
        RolloutPolicy(canary_shares=shares)
    with pytest.raises(InvalidSettings):
        RolloutPolicy(holdout_share=1.0)


@pytest.mark.parametrize("mode", ["observe", "propose", "auto"])
def test_a_breached_guard_rolls_back_in_every_mode(mode: Mode) -> None:
    facts = replace(on_route(Arm.CANARY, champion=OLD), sessions=columns(sessions(NEW, 5, bad_format=20) + sessions(OLD, 30)))
    action = act(release(ReleaseState.CANARY), facts, mode=mode)
    assert (action.kind, action.by) == (ActionKind.ROLL_BACK, "guard")
    assert action.release is not None
    assert action.route is not None
    assert action.release.state is ReleaseState.ROLLED_BACK
    assert (action.route.champion, action.route.challenger, action.route.share) == (OLD, None, 0.0)
    assert "format: 20 of 25 sessions" in action.reason


@pytest.mark.parametrize("state", [ReleaseState.SHADOW, ReleaseState.CANARY])
def test_a_challenger_off_the_route_or_not_servable_is_rolled_back(state: ReleaseState) -> None:
    gone = act(release(state), APPLIED)
    assert (gone.kind, gone.route) == (ActionKind.ROLL_BACK, None)
    arm = Arm.SHADOW if state is ReleaseState.SHADOW else Arm.CANARY
    lost = act(release(state), replace(on_route(arm), served=Served.NOT_SERVABLE, served_reason="no adapter found"))
    assert (lost.kind, lost.by) == (ActionKind.ROLL_BACK, "probe")
    assert lost.route is not None
    assert lost.route.challenger is None


def test_a_server_that_is_away_rolls_nothing_back() -> None:
    away = replace(on_route(Arm.CANARY), served=Served.UNKNOWN, sessions=columns(sessions(NEW, 40) + sessions(BASE, 40)))
    assert act(release(ReleaseState.CANARY), away).kind is ActionKind.WAIT
    live = replace(APPLIED, route=route(champion=NEW), served=Served.UNKNOWN)
    assert act(release(ReleaseState.LIVE), live).kind is ActionKind.WAIT


def test_the_route_is_the_truth_for_live_and_retired() -> None:
    retired = act(release(ReleaseState.LIVE), replace(APPLIED, route=route(champion=OLD)))
    assert retired.kind is ActionKind.RETIRE
    back = act(release(ReleaseState.RETIRED), replace(APPLIED, route=route(champion=NEW)))
    assert back.kind is ActionKind.PUT_BACK
    assert back.release is not None
    assert back.release.state is ReleaseState.LIVE


def test_a_champion_that_cannot_be_served_is_rolled_back() -> None:
    facts = replace(APPLIED, route=route(champion=NEW), served=Served.NOT_SERVABLE, rollback_target=OLD)
    action = act(release(ReleaseState.LIVE), facts, mode="observe")
    assert action.kind is ActionKind.ROLL_BACK
    assert action.route is not None
    assert action.route.champion == OLD


def test_a_refused_release_goes_on_only_by_a_newer_gate_that_passes() -> None:
    refused = release(ReleaseState.REFUSED)
    assert act(refused, replace(APPLIED, gate=gate(GateVerdict.PASS))).kind is ActionKind.DONE
    assert act(refused, replace(APPLIED, gate=gate(GateVerdict.PASS, name="gate-2"))).kind is ActionKind.GATED
    by_probe = release(ReleaseState.REFUSED, gate="")
    assert act(by_probe, replace(APPLIED, gate=gate(GateVerdict.PASS, name="gate-2"))).kind is ActionKind.DONE


def test_the_policy_is_total_and_never_goes_on_without_facts() -> None:
    going_on = {ActionKind.START_SHADOW, ActionKind.START_CANARY, ActionKind.STEP, ActionKind.PROMOTE, ActionKind.PROBED, ActionKind.GATED}
    routes = [None, route(), route(champion=NEW), route(challenger=NEW, arm=Arm.SHADOW), route(challenger=NEW, arm=Arm.CANARY, share=0.5)]
    routes += [route(champion=NEW, challenger=OLD, arm=Arm.HOLDOUT, share=0.05), route(challenger=OLD, arm=Arm.HOLDOUT, share=0.05)]
    for state, where, mode in itertools.product(ReleaseState, routes, ("observe", "propose", "auto")):
        action = act(release(state), ReleaseFacts(route=where), mode=mode)  # type: ignore[arg-type]
        assert action.kind not in going_on, (state, where, mode)
        assert action.reason
        assert (action.release is None) == (action.kind in (ActionKind.WAIT, ActionKind.DONE))


def test_the_same_facts_give_the_same_action() -> None:
    facts = replace(on_route(Arm.CANARY), sessions=columns(sessions(NEW, 5, bad_format=20) + sessions(BASE, 30)))
    assert act(release(ReleaseState.CANARY), facts) == act(release(ReleaseState.CANARY), facts)


def test_the_newest_gate_against_the_present_champion_counts() -> None:
    gates = [gate(GateVerdict.REFUSE, champion=OLD, name="gate-3"), gate(GateVerdict.PASS, name="gate-2"), gate(GateVerdict.REFUSE)]
    assert gate_that_counts(gates, champion=BASE) == gates[1]
    assert gate_that_counts(gates, champion=NEW) == gates[0]
    assert gate_that_counts([], champion=BASE) is None


def test_a_gate_against_another_champion_asks_for_a_new_one() -> None:
    probed = release(ReleaseState.PROBED)
    assert act(probed, replace(APPLIED, gate=gate(GateVerdict.PASS, champion=OLD))).asks_for_gate
    assert not act(probed, APPLIED).asks_for_gate
    assert not act(probed, replace(APPLIED, gate=gate(GateVerdict.PASS))).asks_for_gate
