"""The statistical tests against scipy, and on counts that break careless code."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2_contingency, chisquare, fisher_exact, hypergeom, ks_2samp, kstwo, mannwhitneyu, norm, wasserstein_distance

from flywheel.drift.bin_edges import bin_starts, coarsened
from flywheel.drift.tests import (
    chi_square,
    jensen_shannon,
    kolmogorov_smirnov,
    level_or_shape,
    mid_p,
    p_value,
    rank_sum,
    wasserstein,
    z_score,
)

tables = st.lists(st.lists(st.integers(0, 90), min_size=6, max_size=6), min_size=1, max_size=5).map(
    lambda held: np.asarray(held, dtype=np.int64)
)


@settings(deadline=None, max_examples=40)
@given(now=tables, before=tables)
def test_every_cell_of_a_table_is_what_it_would_be_alone(now: np.ndarray, before: np.ndarray) -> None:
    rows = min(len(now), len(before))
    now, before = now[:rows], before[:rows]
    for test in (kolmogorov_smirnov, chi_square):
        together = test(now, before)
        for row in range(rows):
            alone = test(now[row], before[row])
            assert (together[0][row], together[1][row]) == pytest.approx((float(alone[0]), float(alone[1])), rel=1e-12)


@settings(deadline=None, max_examples=60)
@given(now=tables, before=tables)
def test_no_counts_give_anything_but_probabilities_and_finite_effects(now: np.ndarray, before: np.ndarray) -> None:
    rows = min(len(now), len(before))
    now, before = now[:rows], before[:rows]
    for p, effect in (kolmogorov_smirnov(now, before), chi_square(now, before), rank_sum(now, before), level_or_shape(now, before)):
        assert ((p >= 0) & (p <= 1)).all()
        assert np.isfinite(effect).all()
    for distance in (wasserstein(now, before, widths=np.asarray(1 / (now.shape[-1] - 1))), jensen_shannon(now, before)):
        assert ((distance >= 0) & (distance <= 1 + 1e-12)).all()


@settings(deadline=None, max_examples=40)
@given(now=tables)
def test_bins_that_hold_nothing_on_both_sides_change_nothing(now: np.ndarray) -> None:
    before = np.roll(now, 1, axis=-1)
    padded = [np.concatenate([counts, np.zeros_like(counts[:, :3])], axis=-1) for counts in (now, before)]
    for test in (kolmogorov_smirnov, chi_square, rank_sum):
        for narrow, wide in zip(test(now, before), test(*padded), strict=True):
            assert narrow == pytest.approx(wide, rel=1e-9, abs=1e-12)


def test_ks_p_is_within_a_thousandth_of_the_exact_one_from_fifty_rows_on() -> None:
    for n in (50, 300, 2_000):
        now = np.zeros(101, dtype=np.int64)
        before = np.zeros(101, dtype=np.int64)
        for moved in range(0, n, max(1, n // 25)):
            now[0], now[100] = n - moved, moved
            before[0] = n * 1_000_000
            p, distance = kolmogorov_smirnov(now, before)
            assert float(p) == pytest.approx(kstwo.sf(float(distance), n), abs=1.1e-3)


def test_mid_p_is_scipys_hypergeometric_for_many_tables_at_once() -> None:
    rng = np.random.default_rng(4)
    n, m = rng.integers(1, 4_000, 300), rng.integers(1, 90_000, 300)
    hits, before = rng.binomial(n, 0.04), rng.binomial(m, 0.03)
    p, effect = mid_p(hits, n, before, m, one_sided=True)
    exact = hypergeom(n + m, hits + before, n)
    assert p == pytest.approx(exact.sf(hits) + exact.pmf(hits) / 2, rel=1e-7, abs=1e-12)
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
    p, _ = mid_p(np.array(hits), np.array(n), np.array(hits_before), np.array(m), one_sided=True)
    assert float(p) == pytest.approx(above, rel=1e-9, abs=1e-15)


@settings(deadline=None, max_examples=40)
@given(n=st.integers(1, 400), m=st.integers(1, 4_000), hits_before=st.integers(0, 4_000))
def test_one_more_bad_answer_never_makes_the_evidence_weaker(n: int, m: int, hits_before: int) -> None:
    hits = np.arange(n + 1)
    p, _ = mid_p(hits, np.full(n + 1, n), np.full(n + 1, min(hits_before, m)), np.full(n + 1, m), one_sided=True)
    assert (np.diff(p) <= 1e-12).all()


def test_a_shift_has_the_p_of_the_rank_sum_test_with_ties() -> None:
    rng = np.random.default_rng(5)
    now, before = rng.integers(1, 20, 180), rng.integers(0, 20, 2_500)
    p, _ = rank_sum(np.bincount(now, minlength=20), np.bincount(before, minlength=20))
    theirs = mannwhitneyu(now, before, method="asymptotic", use_continuity=False).pvalue
    assert float(p) == pytest.approx(theirs, rel=1e-9)


def test_against_a_huge_reference_chi_square_is_the_usual_test_of_fit() -> None:
    now, before = np.array([22, 41, 37]), np.array([250, 380, 370])
    theirs = chisquare(now, before * (now.sum() / before.sum())).pvalue
    assert float(chi_square(now, before * 10**9)[0]) == pytest.approx(theirs, abs=1e-9)


def test_wasserstein_with_widths_is_scipys() -> None:
    now, before, places = np.array([5, 0, 9, 2]), np.array([50, 10, 30, 40]), np.array([0.0, 1.0, 4.0, 9.0])
    assert float(wasserstein(now, before, widths=np.diff(places))) == pytest.approx(wasserstein_distance(places, places, now, before))


def test_jensen_shannon_is_one_where_nothing_is_shared_and_zero_where_all_is() -> None:
    assert float(jensen_shannon(np.array([9, 0]), np.array([0, 4]))) == pytest.approx(1.0)
    assert float(jensen_shannon(np.array([9, 18]), np.array([1, 2]))) == pytest.approx(0.0, abs=1e-7)


counts_of_five = st.lists(st.integers(0, 200), min_size=5, max_size=5).map(lambda held: np.asarray(held, dtype=np.int64))


def test_ks_on_bins_that_hold_one_value_each_is_the_ks_of_the_values() -> None:
    rng = np.random.default_rng(3)
    now, before = rng.integers(0, 40, 300), rng.integers(3, 43, 900)
    p, effect = kolmogorov_smirnov(np.bincount(now, minlength=50), np.bincount(before, minlength=50))
    theirs = ks_2samp(now, before, method="asymp")
    assert effect == pytest.approx(theirs.statistic)
    assert p == pytest.approx(theirs.pvalue, abs=1.1e-3)  # the limit with small-sample terms, not the exact sum


def test_chi_square_without_rare_categories_is_scipys() -> None:
    now, before = np.array([60, 90, 50]), np.array([400, 300, 300])
    assert chi_square(now, before)[0] == pytest.approx(chi2_contingency([now, before], correction=False).pvalue, rel=1e-12)


def test_total_variation_counts_every_category_also_the_pooled_ones() -> None:
    assert chi_square(np.array([10, 0, 1]), np.array([0, 10, 1]))[1] == pytest.approx(10 / 11)


def rate(hits: int, n: int, hits_before: int, m: int, *, one_sided: bool = True) -> tuple[np.ndarray, np.ndarray]:
    return mid_p(np.array(hits), np.array(n), np.array(hits_before), np.array(m), one_sided=one_sided)


def test_mid_p_is_fishers_p_less_half_of_what_was_seen() -> None:
    p, effect = rate(9, 50, 20, 400)
    fisher = fisher_exact([[9, 41], [20, 380]], alternative="greater").pvalue
    more = fisher_exact([[10, 40], [19, 381]], alternative="greater").pvalue
    assert p == pytest.approx((fisher + more) / 2)
    assert effect == pytest.approx(0.18 - 0.05)


def test_a_rate_that_got_better_is_no_evidence_one_sided() -> None:
    p, effect = rate(0, 500, 100, 1_000)
    assert p > 0.99
    assert effect < 0


@settings(deadline=None, max_examples=40)
@given(now=counts_of_five, before=counts_of_five)
def test_every_test_answers_with_a_probability_for_any_counts(now: np.ndarray, before: np.ndarray) -> None:
    hits, reference_hits = int(now[0]), int(before[0])
    for p, effect in (
        kolmogorov_smirnov(now, before),
        chi_square(now, before),
        rate(hits, int(now.sum()), reference_hits, int(before.sum()), one_sided=False),
        rate(hits, int(now.sum()), reference_hits, int(before.sum()), one_sided=True),
    ):
        assert 0.0 <= p <= 1.0
        assert np.isfinite(effect)


@settings(deadline=None, max_examples=40)
@given(held=st.lists(st.integers(0, 50), min_size=1, max_size=120))
def test_coarse_bins_hold_every_row_once(held: list[int]) -> None:
    fine = np.asarray(held, dtype=np.int64)
    starts = bin_starts(fine)
    real = [start for start in starts.tolist() if start < len(fine)]
    assert real[0] == 0
    assert real == sorted(set(real))
    assert coarsened(fine, starts).sum() == fine.sum()


def test_values_above_all_that_the_reference_saw_have_a_bin_of_their_own() -> None:
    reference = np.zeros(100, dtype=np.int64)
    reference[20:40] = 10
    assert {20, 40} <= set(bin_starts(reference).tolist())


@given(st.floats(1e-12, 1 - 1e-12), st.booleans())
def test_z_score_and_p_value_are_inverses(p: float, one_sided: bool) -> None:
    assert float(p_value(z_score(np.float64(p), one_sided=one_sided), one_sided=one_sided)) == pytest.approx(p, rel=1e-6)


def test_a_z_score_is_the_normals() -> None:
    assert float(z_score(np.float64(0.0228), one_sided=True)) == pytest.approx(norm.isf(0.0228))
    assert float(z_score(np.float64(0.05), one_sided=False)) == pytest.approx(1.96, abs=0.001)
