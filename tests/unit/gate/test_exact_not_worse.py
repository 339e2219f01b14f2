"""The exact p-value of "worse by the margin", held to listing every outcome."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flywheel.gate.exact_not_worse import NUISANCE_CHANCE, least_items, p_worse, shown_not_worse
from flywheel.gate.paired_tests import score_z


def chance_of(n: int, wins: int, losses: int, q: float, margin: float) -> float:
    same = n - wins - losses
    ways = math.comb(n, wins) * math.comb(n - wins, losses)
    return ways * max(q - margin, 0.0) ** wins * q**losses * max(1 - 2 * q + margin, 0.0) ** same


def outcomes(n: int) -> list[tuple[int, int]]:
    return [(wins, losses) for wins in range(n + 1) for losses in range(n + 1 - wins)]


@pytest.mark.parametrize(("n", "margin", "alpha"), [(15, 0.2, 0.05), (25, 0.2, 0.01), (30, 0.3, 0.025)])
def test_a_challenger_worse_by_the_margin_passes_in_at_most_alpha(n: int, margin: float, alpha: float) -> None:
    low = [(wins, losses) for wins, losses in outcomes(n) if p_worse(n=n, wins=wins, losses=losses, margin=margin) <= alpha]
    assert low, "a test that never passes would be right for nothing"
    for step in range(120):
        q = margin + ((1 + margin) / 2 - margin) * step / 119
        assert sum(chance_of(n, wins, losses, q, margin) for wins, losses in low) <= alpha


def test_the_score_interval_alone_is_wrong_more_often_than_the_rule() -> None:
    n, q = 50, 0.525  # every item differs
    passing = [(w, lost) for w, lost in outcomes(n) if score_z(n=n, wins=w, losses=lost, difference=-0.05) > 2.3263]
    kept = [(w, lost) for w, lost in passing if shown_not_worse(n=n, wins=w, losses=lost, margin=0.05, alpha=0.01)]
    assert sum(chance_of(n, w, lost, q, 0.05) for w, lost in passing) > 0.013
    assert sum(chance_of(n, w, lost, q, 0.05) for w, lost in kept) <= 0.01


@pytest.mark.parametrize(("n", "wins", "losses"), [(20, 3, 1), (20, 0, 0), (20, 10, 2), (15, 0, 5)])
def test_it_is_the_largest_chance_of_a_score_at_least_as_good(n: int, wins: int, losses: int) -> None:
    seen = score_z(n=n, wins=wins, losses=losses, difference=-0.05)
    as_good = [one for one in outcomes(n) if score_z(n=n, wins=one[0], losses=one[1], difference=-0.05) >= seen - 1e-9]
    tried = [0.05 + 0.475 * step / 400 for step in range(401)]
    over_all_mixes = max(sum(chance_of(n, *one, q, 0.05) for one in as_good) for q in tried)
    assert p_worse(n=n, wins=wins, losses=losses, margin=0.05) <= over_all_mixes + NUISANCE_CHANCE + 1e-6
    at_no_wins = sum(chance_of(n, *one, 0.05, 0.05) for one in as_good)
    assert p_worse(n=n, wins=wins, losses=losses, margin=0.05) >= at_no_wins


counts = st.integers(1, 150).flatmap(
    lambda n: st.integers(0, n).flatmap(lambda wins: st.tuples(st.just(n), st.just(wins), st.integers(0, n - wins)))
)


@settings(deadline=None)
@given(counts, st.sampled_from((0.02, 0.05, 0.25)))
def test_a_worse_outcome_never_lowers_it(seen: tuple[int, int, int], margin: float) -> None:
    n, wins, losses = seen
    p = p_worse(n=n, wins=wins, losses=losses, margin=margin)
    assert 0 < p <= 1
    if wins:
        assert p_worse(n=n, wins=wins - 1, losses=losses, margin=margin) >= p - 1e-12
        assert p_worse(n=n, wins=wins - 1, losses=losses + 1, margin=margin) >= p - 1e-12
    if wins + losses < n:
        assert p_worse(n=n, wins=wins, losses=losses + 1, margin=margin) >= p - 1e-12


@pytest.mark.parametrize(("margin", "alpha", "items"), [(0.05, 0.01, 103), (0.05, 0.05, 59), (0.2, 0.01, 23), (0.3, 0.01, 13)])
def test_the_fewest_items_that_can_pass_are_the_fewest_without_a_loss(margin: float, alpha: float, items: int) -> None:
    assert least_items(margin=margin, alpha=alpha) == items
    assert shown_not_worse(n=items, wins=0, losses=0, margin=margin, alpha=alpha)
    assert not shown_not_worse(n=items - 1, wins=0, losses=0, margin=margin, alpha=alpha)
    assert (1 - margin) ** items <= alpha


def test_no_items_show_nothing() -> None:
    assert p_worse(n=0, wins=0, losses=0, margin=0.05) == 1.0
    assert not shown_not_worse(n=0, wins=0, losses=0, margin=0.05, alpha=0.01)
