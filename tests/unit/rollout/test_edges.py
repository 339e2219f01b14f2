"""Clocks that differ, a policy that was shortened, settings outside their range, and session names that are not UTF-8."""

import math
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from flywheel.errors import InvalidInput, InvalidSettings
from flywheel.ids import BASE
from flywheel.rollout.arm_of_session import arm_for
from flywheel.rollout.guards import GuardAlphas, GuardPolicy, judge_guards
from flywheel.rollout.next_action import ActionKind, ReleaseFacts, RolloutPolicy, Served, next_action
from flywheel.rollout.release import ReleaseState
from flywheel.traffic.inference import Arm
from tests.unit.rollout.release_stories import NEW, NOW, POLICY, Seen, columns, release, route, sessions

CANARY = release(ReleaseState.CANARY)
ROUTE = route(challenger=NEW, arm=Arm.CANARY, share=0.1)
FACTS = ReleaseFacts(route=ROUTE, served=Served.APPLIED, sessions=columns(sessions(NEW, 40) + sessions(BASE, 200)))


@pytest.mark.parametrize("step", [2, 99])
def test_a_canary_beyond_the_policys_steps_is_rolled_back_by_a_guard_only(step: int) -> None:
    beyond = release(ReleaseState.CANARY, step=step)
    with pytest.raises(InvalidInput, match="beyond them") as error:
        next_action(release=beyond, facts=FACTS, policy=POLICY, mode="auto", now=NOW)
    assert error.value.value == step
    bad = replace(FACTS, sessions=columns(sessions(NEW, 5, bad_format=35) + sessions(BASE, 200)))
    assert next_action(release=beyond, facts=bad, policy=POLICY, mode="auto", now=NOW).kind is ActionKind.ROLL_BACK


def test_a_session_of_the_future_does_not_count_unless_clocks_differ_slightly() -> None:
    soon, late = (Seen(session=f"s{seconds}", adapter=NEW, at=NOW + timedelta(seconds=seconds)) for seconds in (30, 90))
    for seen, counted in (((soon,), 1), ((late,), 0), ((late, soon), 1)):
        action = next_action(release=CANARY, facts=replace(FACTS, sessions=columns(seen)), policy=POLICY, mode="auto", now=NOW)
        assert (action.kind, action.evidence["step_sessions"]) == (ActionKind.WAIT, counted)


@pytest.mark.parametrize(
    "make",
    [
        lambda: RolloutPolicy(canary_shares=(math.nan,)),
        lambda: RolloutPolicy(canary_sessions=0),
        lambda: RolloutPolicy(shadow_requests=0),
        lambda: RolloutPolicy(step_time=timedelta(-1)),
        lambda: RolloutPolicy(holdout_time=timedelta(-1)),
        lambda: RolloutPolicy(holdout_share=math.nan),
        lambda: RolloutPolicy(holdout_share=1.0),
        lambda: GuardPolicy(budget=math.inf),
        lambda: GuardPolicy(budget=math.nan),
        lambda: GuardPolicy(minimum_sessions=0),
        lambda: GuardPolicy(slower_by_at_most=math.inf),
        lambda: GuardPolicy(alphas=GuardAlphas(format=5e-324)),
    ],
)
def test_a_setting_outside_its_range_is_refused_by_name(make: Callable[[], object]) -> None:
    with pytest.raises(InvalidSettings) as error:
        make()
    assert error.value.where
    assert error.value.remedy


def test_a_session_whose_name_is_not_utf_8_is_routed_and_counted() -> None:
    odd = "caf\udce9"
    assert arm_for(route=ROUTE, session=odd) == arm_for(route=ROUTE, session=odd)
    assert arm_for(route=replace(ROUTE, share=1.0), session=odd)[0] == NEW
    named = [Seen(session=f"{odd}{number}", adapter=NEW if number % 2 else BASE) for number in range(60)]
    verdicts = judge_guards(sessions=columns(tuple(named)), challenger=NEW, champion=BASE, policy=GuardPolicy())
    assert {verdict.sessions for verdict in verdicts} == {30}
