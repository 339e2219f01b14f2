"""The three tests against scipy, and on counts that break careless code."""

from math import isfinite

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2_contingency, fisher_exact, ks_2samp

from flywheel.drift.edges import coarsened, quantile_starts
from flywheel.drift.statistics import binned_ks, pooled_chi_square, rate_mid_p

counts_of_five = st.lists(st.integers(0, 200), min_size=5, max_size=5).map(lambda held: np.asarray(held, dtype=np.int64))


def test_ks_on_bins_that_hold_one_value_each_is_the_ks_of_the_values() -> None:
    chance = np.random.default_rng(3)
    now, before = chance.integers(0, 40, 300), chance.integers(3, 43, 900)
    ours = binned_ks(np.bincount(now, minlength=50), np.bincount(before, minlength=50))
    theirs = ks_2samp(now, before, method="asymp")
    assert ours.effect == pytest.approx(theirs.statistic)
    assert ours.p == pytest.approx(theirs.pvalue, abs=1.1e-3)  # the limit with small-sample terms, not the exact sum


def test_chi_square_without_rare_categories_is_scipys() -> None:
    now, before = np.array([60, 90, 50]), np.array([400, 300, 300])
    assert pooled_chi_square(now, before).p == pytest.approx(chi2_contingency([now, before], correction=False).pvalue, rel=1e-12)


def test_total_variation_counts_every_category_also_the_pooled_ones() -> None:
    assert pooled_chi_square(np.array([10, 0, 1]), np.array([0, 10, 1])).effect == pytest.approx(10 / 11)


def test_mid_p_is_fishers_p_less_half_of_what_was_seen() -> None:
    ours = rate_mid_p(9, 50, 20, 400, one_sided=True)
    fisher = fisher_exact([[9, 41], [20, 380]], alternative="greater").pvalue
    more = fisher_exact([[10, 40], [19, 381]], alternative="greater").pvalue
    assert ours.p == pytest.approx((fisher + more) / 2)
    assert ours.effect == pytest.approx(0.18 - 0.05)


def test_a_rate_that_got_better_is_no_evidence_one_sided() -> None:
    better = rate_mid_p(0, 500, 100, 1_000, one_sided=True)
    assert better.p > 0.99
    assert better.effect < 0


@settings(deadline=None, max_examples=40)
@given(now=counts_of_five, before=counts_of_five)
def test_every_test_answers_with_a_probability_for_any_counts(now: np.ndarray, before: np.ndarray) -> None:
    hits, reference_hits = int(now[0]), int(before[0])
    for measured in (
        binned_ks(now, before),
        pooled_chi_square(now, before),
        rate_mid_p(hits, int(now.sum()), reference_hits, int(before.sum()), one_sided=False),
        rate_mid_p(hits, int(now.sum()), reference_hits, int(before.sum()), one_sided=True),
    ):
        assert 0.0 <= measured.p <= 1.0
        assert isfinite(measured.effect)


@settings(deadline=None, max_examples=40)
@given(held=st.lists(st.integers(0, 50), min_size=1, max_size=120))
def test_coarse_bins_hold_every_row_once(held: list[int]) -> None:
    fine = np.asarray(held, dtype=np.int64)
    starts = quantile_starts(fine)
    assert starts[0] == 0
    assert list(starts) == sorted(set(starts))
    assert coarsened(fine, starts).sum() == fine.sum()


def test_values_above_all_that_the_reference_saw_have_a_bin_of_their_own() -> None:
    reference = np.zeros(100, dtype=np.int64)
    reference[20:40] = 10
    assert 40 in quantile_starts(reference)
    assert 20 in quantile_starts(reference)
