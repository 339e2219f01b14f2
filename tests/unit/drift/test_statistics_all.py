"""All columns of all slices at once: each cell as if it were alone, and against other people's formulas."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare, hypergeom, kstwo, mannwhitneyu, wasserstein_distance

from flywheel.drift.statistics import (
    binned_ks,
    binned_ks_all,
    chi_square_all,
    jensen_shannon_all,
    mid_p_all,
    number_all,
    pooled_chi_square,
    rate_mid_p,
    shift_all,
    wasserstein_all,
)
from flywheel.errors import InvalidInput

tables = st.lists(st.lists(st.integers(0, 90), min_size=6, max_size=6), min_size=1, max_size=5).map(
    lambda held: np.asarray(held, dtype=np.int64)
)


@settings(deadline=None, max_examples=40)
@given(now=tables, before=tables)
def test_every_cell_of_a_table_is_what_it_would_be_alone(now: np.ndarray, before: np.ndarray) -> None:
    rows = min(len(now), len(before))
    now, before = now[:rows], before[:rows]
    for together, alone in ((binned_ks_all(now, before), binned_ks), (chi_square_all(now, before), pooled_chi_square)):
        for row in range(rows):
            one = alone(now[row], before[row])
            assert (together[0][row], together[1][row]) == pytest.approx((one.p, one.effect), rel=1e-12)


@settings(deadline=None, max_examples=60)
@given(now=tables, before=tables)
def test_no_counts_give_anything_but_probabilities_and_finite_effects(now: np.ndarray, before: np.ndarray) -> None:
    rows = min(len(now), len(before))
    now, before = now[:rows], before[:rows]
    for p, effect in (binned_ks_all(now, before), chi_square_all(now, before), shift_all(now, before), number_all(now, before)):
        assert ((p >= 0) & (p <= 1)).all()
        assert np.isfinite(effect).all()
    for distance in (wasserstein_all(now, before), jensen_shannon_all(now, before)):
        assert ((distance >= 0) & (distance <= 1 + 1e-12)).all()


@settings(deadline=None, max_examples=40)
@given(now=tables)
def test_bins_that_hold_nothing_on_both_sides_change_nothing(now: np.ndarray) -> None:
    before = np.roll(now, 1, axis=-1)
    padded = [np.concatenate([counts, np.zeros_like(counts[:, :3])], axis=-1) for counts in (now, before)]
    for test in (binned_ks_all, chi_square_all, shift_all):
        for narrow, wide in zip(test(now, before), test(*padded), strict=True):
            assert narrow == pytest.approx(wide, rel=1e-9, abs=1e-12)


def test_ks_p_is_within_a_thousandth_of_the_exact_one_from_fifty_rows_on() -> None:
    for n in (50, 300, 2_000):
        now = np.zeros(101, dtype=np.int64)
        before = np.zeros(101, dtype=np.int64)
        for moved in range(0, n, max(1, n // 25)):
            now[0], now[100] = n - moved, moved
            before[0] = n * 1_000_000
            p, distance = binned_ks_all(now, before)
            assert float(p) == pytest.approx(kstwo.sf(float(distance), n), abs=1.1e-3)


def test_mid_p_is_scipys_hypergeometric_for_many_tables_at_once() -> None:
    chance = np.random.default_rng(4)
    n, m = chance.integers(1, 4_000, 300), chance.integers(1, 90_000, 300)
    hits, before = chance.binomial(n, 0.04), chance.binomial(m, 0.03)
    p, effect = mid_p_all(hits, n, before, m, one_sided=True)
    spread = hypergeom(n + m, hits + before, n)
    assert p == pytest.approx(spread.sf(hits) + spread.pmf(hits) / 2, rel=1e-7, abs=1e-12)
    assert effect == pytest.approx(hits / n - before / m)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 12), st.integers(0, 12), st.integers(0, 12), st.integers(0, 12))
def test_mid_p_is_the_sum_over_all_tables_with_these_margins(hits: int, misses: int, hits_before: int, misses_before: int) -> None:
    n, m, marked = hits + misses, hits_before + misses_before, hits + hits_before
    if n == 0 or m == 0:
        return
    from math import comb

    weights = {k: comb(marked, k) * comb(n + m - marked, n - k) for k in range(max(0, marked - m), min(n, marked) + 1)}
    above = (sum(weight for k, weight in weights.items() if k > hits) + weights[hits] / 2) / comb(n + m, n)
    assert rate_mid_p(hits, n, hits_before, m, one_sided=True).p == pytest.approx(above, rel=1e-9, abs=1e-15)


@settings(deadline=None, max_examples=40)
@given(n=st.integers(1, 400), m=st.integers(1, 4_000), hits_before=st.integers(0, 4_000))
def test_one_more_bad_answer_never_makes_the_evidence_weaker(n: int, m: int, hits_before: int) -> None:
    hits = np.arange(n + 1)
    p, _ = mid_p_all(hits, np.full(n + 1, n), np.full(n + 1, min(hits_before, m)), np.full(n + 1, m), one_sided=True)
    assert (np.diff(p) <= 1e-12).all()


def test_a_shift_has_the_p_of_the_rank_sum_test_with_ties() -> None:
    chance = np.random.default_rng(5)
    now, before = chance.integers(1, 20, 180), chance.integers(0, 20, 2_500)
    p, _ = shift_all(np.bincount(now, minlength=20), np.bincount(before, minlength=20))
    theirs = mannwhitneyu(now, before, method="asymptotic", use_continuity=False).pvalue
    assert float(p) == pytest.approx(theirs, rel=1e-9)


def test_fit_to_an_exact_reference_is_the_usual_chi_square() -> None:
    now, before = np.array([22, 41, 37]), np.array([250, 380, 370])
    theirs = chisquare(now, before * (now.sum() / before.sum())).pvalue
    assert float(chi_square_all(now, before, reference_is_exact=True)[0]) == pytest.approx(theirs, abs=1e-13)


def test_wasserstein_with_widths_is_scipys() -> None:
    now, before, places = np.array([5, 0, 9, 2]), np.array([50, 10, 30, 40]), np.array([0.0, 1.0, 4.0, 9.0])
    assert float(wasserstein_all(now, before, widths=np.diff(places))) == pytest.approx(wasserstein_distance(places, places, now, before))


def test_jensen_shannon_is_one_where_nothing_is_shared_and_zero_where_all_is() -> None:
    assert float(jensen_shannon_all(np.array([9, 0]), np.array([0, 4]))) == pytest.approx(1.0)
    assert float(jensen_shannon_all(np.array([9, 18]), np.array([1, 2]))) == pytest.approx(0.0, abs=1e-7)


@pytest.mark.parametrize("broken", [np.array([1, -1]), np.array([0.5, 2.0])])
def test_counts_that_are_no_numbers_of_rows_are_named(broken: np.ndarray) -> None:
    for test in (binned_ks_all, chi_square_all, wasserstein_all):
        with pytest.raises(InvalidInput):
            test(broken, np.array([5, 5]))


def test_counts_of_other_edges_are_refused() -> None:
    with pytest.raises(InvalidInput, match="number of bins"):
        binned_ks_all(np.array([1, 2, 3]), np.array([1, 2]))


def test_more_hits_than_rows_are_refused() -> None:
    with pytest.raises(InvalidInput, match="more hits than rows"):
        rate_mid_p(5, 4, 1, 10, one_sided=True)
