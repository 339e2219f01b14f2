"""Scores that are not right or wrong: the bootstrap where it holds, and nothing where it does not."""

import math

import numpy as np
import pytest

from flywheel.errors import InvalidInput
from flywheel.gate.axes import AxisPolicy, AxisVerdict, GateVerdict, Role
from flywheel.gate.scores import judge_scores

BETTER = AxisPolicy(name="judge", role=Role.SUPERIORITY, margin=0.05, alpha=0.025)
NOT_WORSE = AxisPolicy(name="judge", role=Role.NON_INFERIORITY, margin=0.05, alpha=0.01)
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


def test_scores_lower_by_more_than_the_margin_are_refused_and_equal_ones_pass() -> None:
    assert verdict(NOT_WORSE, -0.10).verdict is GateVerdict.REFUSE
    assert verdict(NOT_WORSE, 0.0).verdict is GateVerdict.PASS


def test_the_interval_is_the_one_of_scipys_bootstrap() -> None:
    from scipy.stats import bootstrap

    found = verdict(NOT_WORSE, -0.02)
    new = np.clip(OLD - 0.02 + np.random.default_rng(2).normal(0, 0.1, size=400), 0, 1)
    theirs = bootstrap((new - OLD,), np.mean, confidence_level=0.98, n_resamples=4_000, method="percentile", random_state=5)
    assert found.low == pytest.approx(theirs.confidence_interval.low, abs=0.002)
    assert found.high == pytest.approx(theirs.confidence_interval.high, abs=0.002)


def test_below_a_hundred_entities_nothing_can_be_told() -> None:
    assert verdict(BETTER, 0.3, items=99).verdict is GateVerdict.CANNOT_TELL
    assert verdict(BETTER, 0.3, items=99).needs_n == 100
    repeated = [str(at // 5) for at in range(400)]
    found = verdict(BETTER, 0.3, entities=repeated)
    assert (found.verdict, found.entities, found.needs_n) == (GateVerdict.CANNOT_TELL, 80, 500)


def test_scores_that_hardly_differ_do_not_pass_on_an_interval_of_no_length() -> None:
    same = judge_scores(policy=NOT_WORSE, baselines={"champion": OLD.tolist()}, challenger=OLD.tolist(), seed=1)
    assert same.verdict is GateVerdict.CANNOT_TELL


def test_entities_that_move_together_widen_the_interval() -> None:
    entities = [str(at // 4) for at in range(400)]
    together = np.repeat(np.random.default_rng(3).normal(0, 0.1, size=100), 4)
    arms = {"baselines": {"champion": OLD.tolist()}, "challenger": np.clip(OLD + together, 0, 1).tolist()}
    apart = judge_scores(policy=NOT_WORSE, **arms, seed=1)
    by_entity = judge_scores(policy=NOT_WORSE, **arms, entities=entities, seed=1)
    assert apart.low is not None
    assert by_entity.low is not None
    assert by_entity.low < apart.low - 0.005


def test_the_same_seed_gives_the_same_verdict() -> None:
    assert verdict(NOT_WORSE, -0.02) == verdict(NOT_WORSE, -0.02)


def test_scores_that_are_right_or_wrong_go_to_the_exact_tests() -> None:
    found = judge_scores(policy=NOT_WORSE, baselines={"champion": [1.0] * 103}, challenger=[1.0] * 103, seed=1)
    assert (found.verdict, found.n, found.p is not None) == (GateVerdict.PASS, 103, True)


def test_no_items_never_pass() -> None:
    assert judge_scores(policy=BETTER, baselines={"champion": []}, challenger=[], seed=1).verdict is GateVerdict.CANNOT_TELL


@pytest.mark.parametrize("bad", [math.nan, -0.1, 1.1, math.inf])
def test_a_score_outside_its_range_is_refused_by_name(bad: float) -> None:
    with pytest.raises(InvalidInput, match="item 1"):
        judge_scores(policy=BETTER, baselines={"champion": [0.5, 0.5]}, challenger=[0.5, bad], seed=1)


def test_arms_of_different_lengths_are_refused_by_name() -> None:
    with pytest.raises(InvalidInput, match="different items"):
        judge_scores(policy=BETTER, baselines={"champion": [0.5]}, challenger=[0.5, 0.4], seed=1)
