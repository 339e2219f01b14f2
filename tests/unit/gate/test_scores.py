"""Scores that are not right or wrong: the bootstrap where it holds, and nothing where it does not."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flywheel.errors import InvalidInput
from flywheel.gate.axes import AxisPolicy, AxisVerdict, GateVerdict, Role
from flywheel.gate.scores import judge_scores

BETTER = AxisPolicy(name="judge", role=Role.SUPERIORITY, margin=0.05, alpha=0.025, binary=False)
NOT_WORSE = AxisPolicy(name="judge", role=Role.NON_INFERIORITY, margin=0.05, alpha=0.01, binary=False)
rng = np.random.default_rng(8)
OLD = rng.uniform(0.2, 0.8, size=400)


def verdict(policy: AxisPolicy, shift: float, *, items: int = 400, noise: float = 0.1, entities: list[str] | None = None) -> AxisVerdict:
    new = np.clip(OLD[:items] + shift + np.random.default_rng(2).normal(0, noise, size=items), 0, 1)
    return judge_scores(
        policy=policy, baselines={"champion": OLD[:items].tolist()}, challenger=new.tolist(), entities=entities or [], seed=1
    )


def test_higher_scores_are_better_and_equal_ones_are_not() -> None:
    assert verdict(BETTER, 0.05).verdict is GateVerdict.PASS
    assert verdict(BETTER, 0.0).verdict is GateVerdict.REFUSE


def test_scores_below_the_margin_are_refused_and_equal_ones_pass() -> None:
    assert verdict(NOT_WORSE, -0.10).verdict is GateVerdict.REFUSE
    assert verdict(NOT_WORSE, 0.0).verdict is GateVerdict.PASS


def test_the_interval_is_scipys_bootstrap_with_five_unseen_entities() -> None:
    from scipy.stats import bootstrap

    found = verdict(NOT_WORSE, -0.02)
    new = np.clip(OLD - 0.02 + np.random.default_rng(2).normal(0, 0.1, size=400), 0, 1)

    def theirs(unseen: float) -> Any:
        values = np.concatenate([new - OLD, [unseen] * 5])  # ln(1 / 0.01) is 4.6
        return bootstrap((values,), np.mean, confidence_level=0.98, n_resamples=4_000, method="percentile", random_state=5)

    assert found.test.low == pytest.approx(theirs(-1.0).confidence_interval.low, abs=0.002)
    assert found.test.high == pytest.approx(theirs(1.0).confidence_interval.high, abs=0.002)


def test_below_a_hundred_entities_nothing_can_be_told() -> None:
    assert verdict(BETTER, 0.3, items=99).verdict is GateVerdict.CANNOT_TELL
    assert verdict(BETTER, 0.3, items=99).required.at_these_shares == 100
    repeated = [str(at // 5) for at in range(400)]
    found = verdict(BETTER, 0.3, entities=repeated)
    assert found.clusters is not None
    assert (found.verdict, found.clusters.entities, found.required.at_these_shares) == (GateVerdict.CANNOT_TELL, 80, 500)


@pytest.mark.parametrize(("items", "expected"), [(100, GateVerdict.CANNOT_TELL), (400, GateVerdict.PASS)])
def test_equal_scores_pass_only_on_many_items(items: int, expected: GateVerdict) -> None:
    same = OLD[:items].tolist()
    found = judge_scores(policy=NOT_WORSE, baselines={"champion": same}, challenger=same, seed=1)
    assert found.verdict is expected
    assert found.test.low is not None
    assert found.test.low < -0.02


def test_nothing_is_refused_as_worse_for_five_scores_that_fell_by_a_hair() -> None:
    new = OLD - np.where(np.arange(400) < 5, 0.001, 0.0)
    assert judge_scores(policy=NOT_WORSE, baselines={"c": OLD.tolist()}, challenger=new.tolist(), seed=1).verdict is not GateVerdict.REFUSE


def test_entities_that_move_together_widen_the_interval() -> None:
    entities = [str(at // 4) for at in range(400)]
    together = np.repeat(np.random.default_rng(3).normal(0, 0.1, size=100), 4)
    arms = {"baselines": {"champion": OLD.tolist()}, "challenger": np.clip(OLD + together, 0, 1).tolist()}
    apart = judge_scores(policy=NOT_WORSE, **arms, seed=1)
    by_entity = judge_scores(policy=NOT_WORSE, **arms, entities=entities, seed=1)
    assert apart.test.low is not None
    assert by_entity.test.low is not None
    assert by_entity.test.low < apart.test.low - 0.005


def test_the_same_seed_gives_the_same_verdict() -> None:
    assert verdict(NOT_WORSE, -0.02) == verdict(NOT_WORSE, -0.02)


def test_the_policy_and_not_the_scores_says_whether_an_axis_is_binary() -> None:
    all_right = [1.0] * 103
    exact = judge_scores(policy=replace(NOT_WORSE, binary=True), baselines={"champion": all_right}, challenger=all_right, seed=1)
    assert (exact.verdict, exact.n, exact.test.p is not None) == (GateVerdict.PASS, 103, True)
    drawn = judge_scores(policy=NOT_WORSE, baselines={"champion": all_right}, challenger=all_right, seed=1)
    assert (drawn.verdict, drawn.test.p) == (GateVerdict.CANNOT_TELL, None)
    with pytest.raises(InvalidInput, match=r"neither correct nor incorrect \(item 1\)"):
        judge_scores(policy=replace(BETTER, binary=True), baselines={"champion": [1.0, 0.0]}, challenger=[1.0, 0.9], seed=1)


@pytest.mark.parametrize("binary", [True, False])
def test_no_items_never_pass(binary: bool) -> None:
    found = judge_scores(policy=replace(BETTER, binary=binary), baselines={"champion": []}, challenger=[], seed=1)
    assert found.verdict is GateVerdict.CANNOT_TELL
    assert math.isfinite(found.baseline)
    assert found.required.at_these_shares


@pytest.mark.parametrize("bad", [math.nan, -0.1, 1.1, math.inf])
def test_a_score_outside_its_range_is_refused_by_name(bad: float) -> None:
    with pytest.raises(InvalidInput, match="item 1"):
        judge_scores(policy=BETTER, baselines={"champion": [0.5, 0.5]}, challenger=[0.5, bad], seed=1)


def test_arms_of_different_lengths_are_refused_by_name() -> None:
    with pytest.raises(InvalidInput, match="different items"):
        judge_scores(policy=BETTER, baselines={"champion": [0.5]}, challenger=[0.5, 0.4], seed=1)


@pytest.mark.parametrize("bad", [["a", "b"], [None, 1.0], [[0.5], [0.5]], [10**400, 0.5]])
def test_what_is_no_list_of_scores_is_refused_by_name(bad: list[Any]) -> None:
    with pytest.raises(InvalidInput, match=r"scores are numbers|between 0 and 1"):
        judge_scores(policy=BETTER, baselines={"champion": [0.5, 0.5]}, challenger=bad, seed=1)


# -- what must always hold ---------------------------------------------------------------------------------------------------------

RANK = {GateVerdict.REFUSE: 0, GateVerdict.CANNOT_TELL: 1, GateVerdict.PASS: 2}


@settings(deadline=None, max_examples=60)
@given(st.sampled_from([BETTER, NOT_WORSE]), st.floats(-0.12, 0.12), st.integers(90, 240), st.integers(1, 2), st.data())
def test_no_score_that_gets_worse_improves_a_verdict(
    policy: AxisPolicy, shift: float, items: int, an_entity: int, data: st.DataObject
) -> None:
    """Few, some or all of them at once: what differs, and how many do, must not matter."""
    draws = np.random.default_rng(data.draw(st.integers(0, 1_000)))
    changed = draws.random(items) < data.draw(st.sampled_from([0.0, 0.1, 0.3, 1.0]))
    new = np.clip(OLD[:items] + np.where(changed, shift, 0.0), 0, 1)
    falls = draws.random(items) < data.draw(st.sampled_from([0.005, 0.05, 0.5, 1.0]))
    worse = np.clip(new - np.where(falls, data.draw(st.sampled_from([1e-6, 0.001, 0.05, 1.0])), 0.0), 0, 1)
    entities = [str(at // an_entity) for at in range(items)]
    before, after = (
        judge_scores(policy=policy, baselines={"c": OLD[:items].tolist()}, challenger=scores.tolist(), entities=entities, seed=3)
        for scores in (new, worse)
    )
    assert RANK[after.verdict] <= RANK[before.verdict]
    assert before.test.low is not None
    assert before.test.high is not None
    assert after.test.low is not None
    assert after.test.high is not None
    assert (after.test.low <= before.test.low, after.test.high <= before.test.high) == (True, True)


@settings(deadline=None)
@given(
    st.sampled_from([replace(BETTER, binary=True), replace(NOT_WORSE, binary=True)]),
    st.lists(st.tuples(st.sampled_from([0.0, 1.0]), st.sampled_from([0.0, 1.0]), st.booleans()), max_size=140),
)
def test_no_right_answer_that_gets_wrong_improves_a_verdict(policy: AxisPolicy, answers: list[tuple[float, float, bool]]) -> None:
    old, new = [each[0] for each in answers], [each[1] for each in answers]
    worse = [0.0 if falls else score for _, score, falls in answers]
    before, after = (judge_scores(policy=policy, baselines={"c": old}, challenger=scores, seed=3) for scores in (new, worse))
    assert RANK[after.verdict] <= RANK[before.verdict]


@pytest.mark.parametrize("worse", [0.999, 0.9, 0.5])
def test_a_single_score_that_falls_from_right_cannot_change_the_test(worse: float) -> None:
    """Read off the scores, this one had brought forty wins of ninety-nine items from cannot tell to the bootstrap, or back."""
    old, new = [0.0] * 40 + [1.0] * 60, [1.0] * 100
    before = judge_scores(policy=BETTER, baselines={"c": old}, challenger=new, seed=1)
    after = judge_scores(policy=BETTER, baselines={"c": old}, challenger=[*new[:-1], worse], seed=1)
    assert RANK[after.verdict] <= RANK[before.verdict]
    assert before.test.p is after.test.p is None
