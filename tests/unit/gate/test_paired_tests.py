"""The two statistics of the gate, held to brute force."""

import itertools
import math
from statistics import NormalDist

import pytest
from scipy.optimize import minimize_scalar
from scipy.stats import binomtest

from flywheel.gate.paired_tests import (
    difference_bounds,
    needed_at_this_rate,
    needed_without_loss,
    p_better,
    pair,
    score_z,
    wins_needed,
)


@pytest.mark.parametrize(("wins", "losses"), [(0, 0), (1, 0), (0, 1), (5, 2), (2, 5), (6, 0), (7, 7)])
def test_mcnemar_counts_the_outcomes_that_are_as_good_or_better(wins: int, losses: int) -> None:
    outcomes = list(itertools.product((0, 1), repeat=wins + losses))
    as_good = sum(sum(outcome) >= wins for outcome in outcomes)
    assert p_better(wins=wins, losses=losses) == pytest.approx(as_good / len(outcomes))


def test_mcnemar_agrees_with_scipy_also_for_many_items() -> None:
    for wins, losses in ((12, 1), (40, 20), (700, 600)):
        expected = binomtest(wins, wins + losses, 0.5, alternative="greater").pvalue
        assert p_better(wins=wins, losses=losses) == pytest.approx(expected, rel=1e-9)


def test_six_wins_without_a_loss_show_better_at_two_and_a_half_percent() -> None:
    assert wins_needed(alpha=0.025) == 6
    assert p_better(wins=6, losses=0) <= 0.025 < p_better(wins=5, losses=0)


def likelihood_score(n: int, wins: int, losses: int, d: float) -> float:
    """Tango's statistic with the constrained estimate found by search instead of by its formula."""

    def minus_log_likelihood(q: float) -> float:
        won, neither = q + d, 1 - 2 * q - d
        terms = ((wins, won), (losses, q), (n - wins - losses, neither))
        if any(p < -1e-12 or (count and p <= 0) for count, p in terms):
            return math.inf
        return -sum(count * math.log(p) for count, p in terms if count)

    low, high = max(0.0, -d), (1 - d) / 2
    grid = [low + (high - low) * step / 2000 for step in range(2001)]
    best = min(grid, key=minus_log_likelihood)
    width = (high - low) / 2000
    found = minimize_scalar(minus_log_likelihood, bounds=(max(low, best - width), min(high, best + width)), method="bounded")
    q = min((best, float(found.x)), key=minus_log_likelihood)
    return (wins - losses - n * d) / math.sqrt(n * (2 * q + d * (1 - d)))


@pytest.mark.parametrize(
    ("n", "wins", "losses"), [(60, 13, 1), (60, 0, 0), (103, 0, 0), (40, 3, 5), (300, 10, 25), (20, 0, 4), (20, 20, 0)]
)
@pytest.mark.parametrize("d", [-0.3, -0.05, 0.02, 0.2])
def test_the_score_is_the_one_of_the_constrained_likelihood(n: int, wins: int, losses: int, d: float) -> None:
    assert score_z(n=n, wins=wins, losses=losses, difference=d) == pytest.approx(likelihood_score(n, wins, losses, d), abs=2e-3)


@pytest.mark.parametrize("n", [1, 5, 12])
def test_the_score_at_the_bounds_is_the_normal_quantile(n: int) -> None:
    limit = NormalDist().inv_cdf(0.99)
    for wins in range(n + 1):
        for losses in range(n + 1 - wins):
            low, high = difference_bounds(n=n, wins=wins, losses=losses, alpha=0.01)
            assert -1 <= low <= (wins - losses) / n <= high <= 1
            if -1 < low < (wins - losses) / n - 1e-6:
                assert score_z(n=n, wins=wins, losses=losses, difference=low) == pytest.approx(limit, abs=1e-3)
            mirrored = difference_bounds(n=n, wins=losses, losses=wins, alpha=0.01)
            assert mirrored == pytest.approx((-high, -low), abs=1e-6)


def test_one_more_loss_never_raises_the_lower_bound() -> None:
    for n in (20, 60):
        for wins in (0, 3, 8):
            bounds = [difference_bounds(n=n, wins=wins, losses=losses, alpha=0.01)[0] for losses in range(n - wins)]
            assert all(later <= earlier + 1e-9 for earlier, later in itertools.pairwise(bounds))


@pytest.mark.parametrize(("alpha", "items"), [(0.01, 103), (0.05, 52)])
def test_the_items_needed_without_a_loss_are_those_measured(alpha: float, items: int) -> None:
    assert needed_without_loss(margin=0.05, alpha=alpha) == items
    assert difference_bounds(n=items, wins=0, losses=0, alpha=alpha)[0] > -0.05
    assert difference_bounds(n=items - 1, wins=0, losses=0, alpha=alpha)[0] <= -0.05


def test_the_number_needed_at_a_rate_is_enough_at_that_rate() -> None:
    needs = needed_at_this_rate(n=100, wins=5, losses=5, margin=0.05, alpha=0.01)
    assert needs is not None
    scaled = round(needs * 0.05)
    assert difference_bounds(n=needs, wins=scaled, losses=scaled, alpha=0.01)[0] == pytest.approx(-0.05, abs=0.002)
    assert needed_at_this_rate(n=100, wins=0, losses=10, margin=0.05, alpha=0.01) is None


def test_pairing_counts_each_item_once() -> None:
    counts = pair(baseline=[True, True, False, False], challenger=[True, False, True, False])
    assert (counts.both, counts.wins, counts.losses, counts.neither, counts.n) == (1, 1, 1, 1, 4)
