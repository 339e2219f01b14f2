"""Back to what answered before."""

from datetime import timedelta

import pytest

from flywheel.errors import Refused
from flywheel.ids import BASE, AdapterName
from flywheel.rollout.release import Release, ReleaseState, Route
from flywheel.rollout.rollback import MeasuredAttempt, RollbackDecision, detach, harm_of, rollback_target, to_previous
from flywheel.traffic.attempt_outcome import outcome_of
from flywheel.traffic.inference import Arm
from tests.unit.rollout.release_stories import ANNA, NEW, NOW, OLD, WORKLOAD, release, route

LIVE_NEW = release(ReleaseState.LIVE, replaced=OLD)
RETIRED_OLD = release(ReleaseState.RETIRED, adapter=OLD, replaced=BASE)
THIRD = AdapterName("router-third")


def back(where: Route, *releases: Release) -> RollbackDecision:
    return to_previous(workload=WORKLOAD, route=where, releases=releases, by=ANNA, reason="it rambles", now=NOW)


def test_the_champion_gives_way_to_what_it_replaced() -> None:
    decision = back(route(champion=NEW), LIVE_NEW, RETIRED_OLD)
    assert (decision.to, decision.route.champion, decision.route.version) == (OLD, OLD, 5)
    assert [(changed.adapter, changed.state, changed.actor) for changed in decision.releases] == [(NEW, ReleaseState.ROLLED_BACK, ANNA)]


def test_a_challenger_leaves_first_and_the_champion_stays() -> None:
    canary = release(ReleaseState.CANARY, adapter=THIRD)
    decision = back(route(champion=NEW, challenger=THIRD, arm=Arm.CANARY, share=0.5), LIVE_NEW, RETIRED_OLD, canary)
    assert (decision.to, decision.route.challenger) == (NEW, None)
    assert [changed.adapter for changed in decision.releases] == [THIRD]


def test_a_rollback_beside_a_holdout_takes_the_champion_off() -> None:
    decision = back(route(champion=NEW, challenger=OLD, arm=Arm.HOLDOUT, share=0.05), LIVE_NEW, RETIRED_OLD)
    assert (decision.to, decision.route.champion, decision.route.challenger) == (OLD, OLD, None)
    assert [changed.adapter for changed in decision.releases] == [NEW]


def test_a_detached_champion_takes_its_holdout_off_the_route() -> None:
    held = route(champion=NEW, challenger=OLD, arm=Arm.HOLDOUT, share=0.05)
    decision = detach(workload=WORKLOAD, route=held, releases=[LIVE_NEW, RETIRED_OLD], by=ANNA, reason="incident", now=NOW)
    assert (decision.route.champion, decision.route.challenger) == (BASE, None)
    assert [changed.adapter for changed in decision.releases] == [NEW]


def test_rolling_back_again_goes_further_back_and_ends_at_the_base() -> None:
    live_old = release(ReleaseState.LIVE, adapter=OLD, replaced=BASE)
    rolled_back = release(ReleaseState.ROLLED_BACK, replaced=OLD)
    assert back(route(champion=OLD), live_old, rolled_back).to == BASE
    with pytest.raises(Refused, match="base model answers already"):
        back(route(), rolled_back)


def test_a_predecessor_that_was_itself_rolled_back_is_passed_over() -> None:
    bad_old = release(ReleaseState.ROLLED_BACK, adapter=OLD, replaced=THIRD)
    third = release(ReleaseState.RETIRED, adapter=THIRD, replaced=BASE)
    assert rollback_target(route=route(champion=NEW), releases=[LIVE_NEW, bad_old, third]) == THIRD
    assert rollback_target(route=route(champion=NEW), releases=[LIVE_NEW, bad_old]) == BASE


def test_a_circle_of_predecessors_ends_at_the_base() -> None:
    first = release(ReleaseState.LIVE, replaced=OLD)
    second = release(ReleaseState.ROLLED_BACK, adapter=OLD, replaced=NEW)
    assert rollback_target(route=route(champion=NEW), releases=[first, second]) == BASE


def test_detach_takes_every_adapter_off_and_saves_the_champion_first() -> None:
    canary = release(ReleaseState.CANARY, adapter=THIRD)
    decision = detach(
        workload=WORKLOAD,
        route=route(champion=NEW, challenger=THIRD, arm=Arm.CANARY, share=0.5),
        releases=[canary, LIVE_NEW, RETIRED_OLD],
        by=ANNA,
        reason="incident",
        now=NOW,
    )
    assert (decision.to, decision.route.champion, decision.route.challenger) == (BASE, BASE, None)
    assert [changed.adapter for changed in decision.releases] == [NEW, THIRD]
    with pytest.raises(Refused):
        detach(workload=WORKLOAD, route=route(), releases=[], by=ANNA, reason="", now=NOW)


def test_a_rolled_back_release_says_when_and_why() -> None:
    (changed,) = back(route(champion=NEW), LIVE_NEW, RETIRED_OLD).releases
    assert (changed.since, changed.reason) == (NOW, "it rambles")
    assert changed.since - LIVE_NEW.since == timedelta(minutes=5)


def test_a_failed_attempt_that_another_arm_answered_failed_nobody() -> None:
    attempts = [
        MeasuredAttempt(request_id="1", adapter=NEW, outcome=outcome_of(500), valid_format=None),
        MeasuredAttempt(request_id="1", adapter=OLD, outcome=outcome_of(200), valid_format=True),
        MeasuredAttempt(request_id="2", adapter=NEW, outcome=outcome_of(200), valid_format=False),
        MeasuredAttempt(request_id="3", adapter=OLD, outcome=outcome_of(200), valid_format=False),
        MeasuredAttempt(request_id="4", adapter=NEW, outcome=outcome_of(0), valid_format=None),
        MeasuredAttempt(request_id="4", adapter=OLD, outcome=outcome_of(503), valid_format=None),
        MeasuredAttempt(request_id="5", adapter=NEW, outcome=outcome_of(499), valid_format=None),  # the user went away
        MeasuredAttempt(request_id="6", adapter=NEW, outcome=outcome_of(400), valid_format=None),  # the request was at fault
        MeasuredAttempt(request_id="7", adapter=NEW, outcome=outcome_of(429), valid_format=None),
    ]
    harm = harm_of(attempts, adapter=NEW)
    assert (harm.failed_requests, harm.bad_answers) == (1, 1)
