"""Items that share an entity: their effective sample size, compared with brute force."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flywheel.gate.entities import design_effect, effective, measure, p_better_by_entity, p_of_sums
from flywheel.gate.paired_tests import p_better, score_z

outcome = st.integers(-1, 1)
asked = st.lists(st.tuples(outcome, st.sampled_from("abcdefgh")), min_size=1, max_size=40)


@settings(deadline=None)
@given(st.lists(outcome, min_size=1, max_size=60))
def test_entities_of_one_item_give_mcnemars_test(differences: list[int]) -> None:
    entities = [str(at) for at in range(len(differences))]
    expected = p_better(wins=differences.count(1), losses=differences.count(-1))
    assert p_better_by_entity(differences=differences, entities=entities) == pytest.approx(expected, rel=1e-12)


@settings(deadline=None)
@given(st.lists(st.integers(-5, 5).filter(bool), max_size=9))
def test_it_counts_the_flipped_signs_that_are_as_good_or_better(sums: list[int]) -> None:
    turned = [
        sum(sign * abs(value) for sign, value in zip(signs, sums, strict=True)) for signs in itertools.product((1, -1), repeat=len(sums))
    ]
    assert p_of_sums(sums) == pytest.approx(sum(total >= sum(sums) for total in turned) / len(turned))


@settings(deadline=None)
@given(asked, st.data())
def test_a_worse_outcome_never_makes_better_likelier(items: list[tuple[int, str]], data: st.DataObject) -> None:
    differences, entities = [one for one, _ in items], [who for _, who in items]
    p = p_better_by_entity(differences=differences, entities=entities)
    at = data.draw(st.integers(0, len(items) - 1))
    worse = [max(one - 1, -1) if each == at else one for each, one in enumerate(differences)]
    assert p_better_by_entity(differences=worse, entities=entities) >= p


def test_entities_whose_items_are_all_the_same_are_fully_alike() -> None:
    differences = [value for value in (1, 0, -1, 0, 0, 1, 0, -1) for _ in range(5)]
    found = measure(differences=differences, entities=[str(at // 5) for at in range(40)])
    assert (found.entities, found.items) == (8, 40)
    assert found.icc == pytest.approx(1.0)
    assert (found.high, found.measured) == (pytest.approx(1.0), True)


def test_the_icc_is_that_of_an_analysis_of_variance() -> None:
    rng = np.random.default_rng(3)
    sizes = rng.integers(1, 7, size=40)
    entities = [str(at) for at, size in enumerate(sizes) for _ in range(size)]
    lean = {str(at): rng.choice([-1, 0, 1]) for at in range(40)}
    differences = [int(lean[who]) if rng.random() < 0.6 else int(rng.choice([-1, 0, 1])) for who in entities]
    groups = [[d for d, who in zip(differences, entities, strict=True) if who == name] for name in lean]
    mean, items, count = float(np.mean(differences)), len(differences), len(groups)
    between = sum(len(group) * (np.mean(group) - mean) ** 2 for group in groups) / (count - 1)
    within = sum((d - np.mean(group)) ** 2 for group in groups for d in group) / (items - count)
    size = (items - sum(len(group) ** 2 for group in groups) / items) / (count - 1)
    found = measure(differences=differences, entities=entities)
    assert found.icc == pytest.approx(float((between - within) / (between + (size - 1) * within)))
    assert found.icc < found.high <= 1


def test_an_icc_drawn_at_three_tenths_is_found_below_its_bound() -> None:
    rng = np.random.default_rng(4)
    shares = rng.dirichlet(np.array([0.1, 0.2, 0.7]) * 0.7 / 0.3, size=2_000)
    differences = [int(d) for row in shares for d in rng.choice([-1, 1, 0], p=row, size=5)]
    found = measure(differences=differences, entities=[str(at // 5) for at in range(10_000)])
    assert found.icc == pytest.approx(0.3, abs=0.04)
    assert found.icc < found.high < found.icc + 0.05


@settings(deadline=None)
@given(asked)
def test_the_icc_is_a_share_and_never_nan(items: list[tuple[int, str]]) -> None:
    found = measure(differences=[one for one, _ in items], entities=[who for _, who in items])
    assert 0 <= found.icc <= found.high <= 1 or found.high == 1.0


@pytest.mark.parametrize("differences", [[0] * 20, [1] * 20, [1] + [0] * 19])
def test_where_it_cannot_be_measured_the_worst_is_assumed(differences: list[int]) -> None:
    found = measure(differences=differences, entities=["a"] * 10 + ["b"] * 10)
    assert (found.high, found.measured) == (1.0, False)


def test_five_equal_answers_count_as_one_and_independent_ones_as_five() -> None:
    entities = [str(at // 5) for at in range(100)]
    assert design_effect(entities=entities, icc=1.0) == pytest.approx(5.0)
    assert design_effect(entities=entities, icc=0.0) == 1.0
    assert design_effect(entities=[], icc=1.0) == 1.0


@settings(deadline=None)
@given(st.integers(0, 300), st.data(), st.floats(1.0, 8.0))
def test_fewer_independent_items_never_show_more(n: int, data: st.DataObject, spread: float) -> None:
    wins = data.draw(st.integers(0, n))
    losses = data.draw(st.integers(0, n - wins))
    worth = effective(n=n, wins=wins, losses=losses, design_effect=spread)
    assert 0 <= worth.wins + worth.losses <= worth.n <= n
    assert worth.n == 0 or worth.losses / worth.n >= losses / n - 1e-9 or worth.losses == worth.n
    if worth.n:
        seen = score_z(n=n, wins=wins, losses=losses, difference=-0.05)
        assert score_z(n=worth.n, wins=worth.wins, losses=worth.losses, difference=-0.05) <= max(seen, 0) + 1e-6


def test_independent_items_keep_their_counts() -> None:
    worth = effective(n=60, wins=8, losses=2, design_effect=1.0)
    assert (worth.n, worth.wins, worth.losses) == (60, 8, 2)


def test_no_difference_at_all_is_no_evidence() -> None:
    assert p_better_by_entity(differences=[], entities=[]) == 1.0
    assert math.isclose(p_of_sums(()), 1.0)
