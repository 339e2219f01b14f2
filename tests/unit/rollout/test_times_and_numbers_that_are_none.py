"""A time without a zone, a step that is none, a session of the future: refused by name, and never a reason to go on."""

import math
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from flywheel.errors import InvalidInput
from flywheel.ids import BASE
from flywheel.rollout.approval import approve
from flywheel.rollout.canary import arm_for
from flywheel.rollout.desired import slots
from flywheel.rollout.guards import GuardAlphas, GuardPolicy, judge_guards
from flywheel.rollout.next_action import ActionKind, ReleaseFacts, RolloutPolicy, Served, next_action
from flywheel.rollout.release import ReleaseState, route_line
from flywheel.rollout.rollback import Attempt, to_previous
from flywheel.rollout.routes import first_route, with_canary
from flywheel.rollout.shadow import ShadowCounts, judge_shadow
from flywheel.traffic.inference import Arm
from tests.unit.rollout.release_stories import ANNA, NEW, NOW, POLICY, WORKLOAD, Seen, columns, release, route, sessions

CANARY = release(ReleaseState.CANARY)
ROUTE = route(challenger=NEW, arm=Arm.CANARY, share=0.1)
FACTS = ReleaseFacts(route=ROUTE, served=Served.APPLIED, sessions=columns(sessions(NEW, 40) + sessions(BASE, 200)))
NO_COUNT = [-1, 1.5, math.nan, math.inf, True, None, "3", 10**400]
NO_TIME = [datetime(2026, 11, 22), None, 3.0, datetime.max.replace(tzinfo=UTC), datetime.min.replace(tzinfo=UTC)]

TAKES_TIME: list[Callable[[Any], object]] = [
    lambda at: next_action(release=CANARY, facts=FACTS, policy=POLICY, mode="auto", now=at),
    lambda at: release(ReleaseState.CANARY, since=at),
    lambda at: first_route(workload=WORKLOAD, alias="a", now=at) if at else replace(ROUTE, changed_at="soon"),  # type: ignore[arg-type]
    lambda at: slots(route=ROUTE, releases=[CANARY], listed=[], drain=timedelta(0), now=at),
    lambda at: approve(release=release(ReleaseState.GATED), gate=None, override=False, by=ANNA, reason="", now=at),
    lambda at: to_previous(workload=WORKLOAD, route=ROUTE, releases=[CANARY], by=ANNA, reason="slow", now=at) if at else told_nothing(),
    lambda at: route_line(ROUTE, actor=ANNA, reason="r", at=at),
]
TAKES_COUNT: list[Callable[[Any], object]] = [
    lambda count: release(ReleaseState.CANARY, step=count),
    lambda count: replace(ROUTE, version=count),
    lambda count: RolloutPolicy(canary_sessions=count),
    lambda count: RolloutPolicy(shadow_requests=count),
    lambda count: ShadowCounts(answered=count),
    lambda count: judge_shadow(counts=None, wanted=count),
    lambda count: Attempt(request_id="r", adapter=NEW, status=count, valid_format=None),
]


def told_nothing() -> object:
    return approve(release=CANARY, gate=None, override=False, by=ANNA, reason="", now=None)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", NO_TIME)
@pytest.mark.parametrize("call", TAKES_TIME)
def test_what_is_no_time_is_refused_wherever_a_time_comes_in(call: Callable[[Any], object], value: object) -> None:
    with pytest.raises(InvalidInput, match="time") as error:
        call(value)
    assert error.value.where
    assert error.value.remedy


@pytest.mark.parametrize("value", NO_COUNT, ids=lambda value: repr(value)[:8])
@pytest.mark.parametrize("call", TAKES_COUNT)
def test_what_is_no_count_is_refused(call: Callable[[Any], object], value: object) -> None:
    with pytest.raises(InvalidInput) as error:
        call(value)
    assert error.value.where
    assert str(error.value)


def test_a_shadow_that_wants_nothing_is_no_proof() -> None:
    with pytest.raises(InvalidInput, match="from 1"):
        judge_shadow(counts=None, wanted=0)


@pytest.mark.parametrize("step", [2, 99])
def test_a_canary_beyond_the_policys_steps_is_not_promoted_but_still_taken_back_by_a_guard(step: int) -> None:
    beyond = release(ReleaseState.CANARY, step=step)
    with pytest.raises(InvalidInput, match="beyond them") as error:
        next_action(release=beyond, facts=FACTS, policy=POLICY, mode="auto", now=NOW)
    assert error.value.value == step
    bad = replace(FACTS, sessions=columns(sessions(NEW, 5, bad_format=35) + sessions(BASE, 200)))
    assert next_action(release=beyond, facts=bad, policy=POLICY, mode="auto", now=NOW).kind is ActionKind.ROLL_BACK


def test_a_session_of_the_future_is_an_error_that_names_it_and_a_small_difference_of_clocks_is_not() -> None:
    soon, late = (Seen(session="s", adapter=NEW, at=NOW + timedelta(seconds=seconds)) for seconds in (30, 90))
    kept = next_action(release=CANARY, facts=replace(FACTS, sessions=columns((soon,))), policy=POLICY, mode="auto", now=NOW)
    assert kept.kind is ActionKind.WAIT
    with pytest.raises(InvalidInput, match="in the future") as error:
        next_action(release=CANARY, facts=replace(FACTS, sessions=columns((late,))), policy=POLICY, mode="auto", now=NOW)
    assert error.value.where == CANARY.id


@pytest.mark.parametrize(
    "call",
    [
        lambda: release("nonsense"),  # type: ignore[arg-type]
        lambda: next_action(release=CANARY, facts=FACTS, policy=POLICY, mode="whatever", now=NOW),  # type: ignore[arg-type]
        lambda: replace(ROUTE, challenger_arm="canary?"),  # type: ignore[arg-type]
        lambda: replace(ROUTE, share=math.nan),
        lambda: with_canary(ROUTE, CANARY, share=1.5, now=NOW),
        lambda: slots(route=ROUTE, releases=[], listed=[], drain=timedelta(-1), now=NOW),
        lambda: RolloutPolicy(step_time=timedelta.max),
        lambda: RolloutPolicy(hold_back_time=timedelta(-1)),
        lambda: RolloutPolicy(canary_shares=(math.nan,)),
        lambda: RolloutPolicy(hold_back_share=math.nan),
        lambda: GuardPolicy(budget=math.inf),
        lambda: GuardPolicy(alphas=GuardAlphas(format=5e-324)),
        lambda: approve(release=release(ReleaseState.REFUSED), gate=None, override=True, by=ANNA, reason="\udcff", now=NOW),
        lambda: to_previous(workload=WORKLOAD, route=ROUTE, releases=[CANARY], by=ANNA, reason="\ud800", now=NOW),
    ],
)
def test_what_was_read_as_something_else_is_refused(call: Callable[[], object]) -> None:
    with pytest.raises(InvalidInput) as error:
        call()
    assert error.value.where
    assert error.value.remedy


def test_a_session_whose_name_is_no_utf_8_is_answered_and_counted_like_any_other() -> None:
    odd = "caf\udce9"
    assert arm_for(route=ROUTE, session=odd) == arm_for(route=ROUTE, session=odd)
    assert arm_for(route=replace(ROUTE, share=1.0), session=odd)[0] == NEW
    named = [Seen(session=f"{odd}{number}", adapter=NEW if number % 2 else BASE) for number in range(60)]
    verdicts = judge_guards(sessions=columns(tuple(named)), challenger=NEW, champion=BASE, policy=GuardPolicy())
    assert {verdict.sessions for verdict in verdicts} == {30}
