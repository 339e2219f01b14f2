"""Statistical tests: p-values and effect sizes of window counts against reference counts.

In: integer counts with the bins on the last axis and any shape before it. Out: p-values in [0, 1] and effects of that shape, never NaN;
p is 1 if one sample has no rows or if there is only one category. Bins that are empty in both samples change nothing, so columns with
fewer bins may be padded with zeros. Contains no thresholds.

Sources: Kolmogorov's limit at the effective size with Vrbik's small-sample terms (Vrbik 2018, "Small-sample corrections to
Kolmogorov-Smirnov test statistic"; on binned values it is conservative); Pearson's chi-square of a 2 x k table; the hypergeometric
mid-p of Fisher's table (Lancaster 1961). scipy.special is imported on first use: most processes import this
package and never call it.
"""

import numpy as np
from numpy.typing import NDArray

from flywheel.traffic.column import Measure
from flywheel.windows.counts import Counts

Numbers = NDArray[np.float64]
TestResult = tuple[Numbers, Numbers]
"""(p-values, effects)"""

EXPECTED_AT_LEAST = 5.0  # a category expected less often than this in the smaller sample is pooled with the other rare ones
TERMS_AT_ONCE = 64  # terms of the hypergeometric tail computed per step
TAIL_ENDS_BELOW = 1e-13  # the sum stops at the first term below this fraction of the tail's first term
SMALLEST_P = 1e-300  # smaller p-values are clipped to this before the z-score is computed


def compare(measure: Measure, now: Counts, before: Counts, *, one_sided: bool | NDArray[np.bool_]) -> TestResult:
    """[..., B] and [..., B] -> p[...], effect[...], by the measure's test. RATE: [..., 2] of misses and hits; ``one_sided``: only a higher
    rate is evidence, and the effect of a lower one is negative."""
    if measure is Measure.NUMBER:
        return level_or_shape(now, before)
    if measure is Measure.NAME:
        return chi_square(now, before)
    return mid_p(now[..., 1], now.sum(axis=-1), before[..., 1], before.sum(axis=-1), one_sided=one_sided)


def effect_of(measure: Measure, now: Counts, before: Counts, *, one_sided: bool | NDArray[np.bool_]) -> Numbers:
    """Only the effects of ``compare``; about 10 times faster."""
    n, m = now.sum(axis=-1), before.sum(axis=-1)
    if measure is Measure.NUMBER:
        effect = _cumulative_distance(now, before, n, m).max(axis=-1, initial=0.0)
    elif measure is Measure.NAME:
        effect = np.abs(now / _at_least_one(n)[..., None] - before / _at_least_one(m)[..., None]).sum(axis=-1) / 2
    else:
        difference = now[..., 1] / _at_least_one(n) - before[..., 1] / _at_least_one(m)
        effect = np.where(one_sided, difference, np.abs(difference))
    return np.where((n > 0) & (m > 0), effect, 0.0)


def z_score(p: Numbers, *, one_sided: bool | NDArray[np.bool_]) -> Numbers:
    """z-score with the same one-sided or two-sided p-value under a standard normal. Negative for an improvement."""
    from scipy.special import ndtri

    held = np.clip(p, SMALLEST_P, 1 - 1e-15)
    return np.asarray(-ndtri(np.where(one_sided, held, held / 2)))


def p_value(z: Numbers, *, one_sided: bool | NDArray[np.bool_]) -> Numbers:
    """The inverse of ``z_score``."""
    from scipy.special import ndtr

    below = ndtr(-np.asarray(z))
    return np.asarray(np.where(one_sided, below, np.minimum(1.0, 2 * below)))


def level_or_shape(now: Counts, before: Counts) -> TestResult:
    """[..., B] and [..., B] -> p[...], KS distance[...]: twice the smaller p-value of the rank sum (level) and of the KS test (shape)."""
    p, distance = kolmogorov_smirnov(now, before)
    return np.minimum(1.0, 2 * np.minimum(p, rank_sum(now, before)[0])), distance


def kolmogorov_smirnov(now: Counts, before: Counts) -> TestResult:
    """[..., B] and [..., B] -> p[...], greatest distance of the cumulative shares at the bins' edges[...].

    With e = nm / (n + m) and z = D sqrt(e): p = K(z + 1 / (6 sqrt(e)) + (z - 1) / (4 e)), K being Kolmogorov's limit.
    """
    n, m = now.sum(axis=-1), before.sum(axis=-1)
    distance = _cumulative_distance(now, before, n, m).max(axis=-1, initial=0.0)
    return _without_empty_samples(ks_p_value(distance, n, m), distance, n, m)


def ks_p_value(distance: Numbers, n: Counts, m: Counts) -> Numbers:
    """KS distances, rows of either sample -> p-values (Vrbik 2018)."""
    from scipy.special import kolmogorov

    effective = np.maximum(1.0, np.asarray(n, dtype=np.float64) * m / _at_least_one(n + m))
    root = np.sqrt(effective)
    z = distance * root
    p: Numbers = kolmogorov(np.maximum(0.0, z + 1 / (6 * root) + (z - 1) / (4 * effective)))
    return p


def rank_sum(now: Counts, before: Counts) -> TestResult:
    """[..., B] and [..., B] -> two-sided p[...], P(a row now is above one before) - 1/2 [...].

    Wilcoxon's rank sum on bins, all rows of a bin being ties (Lehmann 1975): mid-ranks over both samples, the variance of a mean drawn
    without replacement. To detect a change of level it needs about two thirds of the rows that the KS test needs. It does not
    detect a change of width alone; the KS test does.
    """
    from scipy.special import ndtr

    n, m = now.sum(axis=-1).astype(np.float64), before.sum(axis=-1).astype(np.float64)
    rows = _at_least_one(n + m)
    shares = (now + before) / rows[..., None]
    ranks = np.cumsum(shares, axis=-1) - shares / 2
    shift = (now * ranks).sum(axis=-1) / _at_least_one(n) - 0.5
    variance = (1 - (shares**3).sum(axis=-1)) / 12 / _at_least_one(n) * m / np.maximum(1.0, rows - 1)
    z = np.divide(shift, np.sqrt(variance), out=np.zeros_like(shift), where=variance > 1e-18)
    return _without_empty_samples(2 * ndtr(-np.abs(z)), np.abs(shift) * rows / _at_least_one(m), n, m)


def chi_square(now: Counts, before: Counts) -> TestResult:
    """[..., B] and [..., B] -> p[...], total variation between the shares[...].

    Rare categories (``rare_categories``) count as one category for the p-value, and each by itself for the effect.
    """
    from scipy.special import chdtrc

    n, m = now.sum(axis=-1).astype(np.float64), before.sum(axis=-1).astype(np.float64)
    some_n, some_m = _at_least_one(n)[..., None], _at_least_one(m)[..., None]
    variation = np.abs(now / some_n - before / some_m).sum(axis=-1) / 2
    rare = rare_categories(now, before)
    pooled, pooled_before = (
        np.concatenate([np.where(rare, 0, counts), np.where(rare, counts, 0).sum(axis=-1, keepdims=True)], axis=-1).astype(np.float64)
        for counts in (now, before)
    )
    seen = pooled + pooled_before > 0
    difference = (pooled * some_m - pooled_before * some_n) ** 2
    parts = np.divide(difference, some_n * some_m * (pooled + pooled_before), out=np.zeros_like(pooled), where=seen)
    degrees_of_freedom = seen.sum(axis=-1) - 1
    p = np.where(degrees_of_freedom > 0, chdtrc(np.maximum(1, degrees_of_freedom), parts.sum(axis=-1)), 1.0)
    return _without_empty_samples(p, variation, n, m)


def rare_categories(now: Counts, before: Counts) -> NDArray[np.bool_]:
    """[..., B] and [..., B] -> [..., B]: True for categories whose expected count in the smaller sample is below
    ``EXPECTED_AT_LEAST``."""
    n, m = now.sum(axis=-1).astype(np.float64), before.sum(axis=-1).astype(np.float64)
    rare: NDArray[np.bool_] = (now + before) * (np.minimum(n, m) / _at_least_one(n + m))[..., None] < EXPECTED_AT_LEAST
    return rare


def mid_p(hits: Counts, n: Counts, hits_before: Counts, m: Counts, *, one_sided: bool | NDArray[np.bool_]) -> TestResult:
    """Shapes that broadcast together -> p, difference of rates (two-sided: the absolute difference).

    mid-p = P(X > hits) + P(X = hits) / 2, X hypergeometric with both margins fixed; two-sided: twice the smaller tail.
    """
    hits, n, hits_before, m = np.broadcast_arrays(hits, n, hits_before, m)
    difference = hits / _at_least_one(n) - hits_before / _at_least_one(m)
    upper = difference >= 0
    tail = np.minimum(_outer_tail(hits, n, hits_before, m, upper), 1.0)
    above = np.where(upper, tail, 1.0 - tail)
    p = np.where(one_sided, above, np.minimum(1.0, 2 * np.minimum(tail, 1.0 - tail)))
    return _without_empty_samples(p, np.where(one_sided, difference, np.abs(difference)), n, m)


def wasserstein(now: Counts, before: Counts, *, widths: Numbers) -> Numbers:
    """[..., B] and [..., B] -> first Wasserstein distance[...]: the mean distance between rows in rank order.

    ``widths`` broadcasts to [..., B - 1]: the distance from each bin to the next. W1 = sum of |F - G| times the width (Vallender 1973).
    """
    n, m = now.sum(axis=-1), before.sum(axis=-1)
    distance = (_cumulative_distance(now, before, n, m)[..., :-1] * widths).sum(axis=-1)
    return np.where((n > 0) & (m > 0), distance, 0.0)


def jensen_shannon(now: Counts, before: Counts) -> Numbers:
    """[..., B] and [..., B] -> Jensen-Shannon distance[...], the root of the divergence in bits: 0: equal shares, 1: no common bin."""
    from scipy.special import rel_entr

    n, m = now.sum(axis=-1), before.sum(axis=-1)
    share, share_before = now / _at_least_one(n)[..., None], before / _at_least_one(m)[..., None]
    middle = (share + share_before) / 2
    bits = (rel_entr(share, middle) + rel_entr(share_before, middle)).sum(axis=-1) / (2 * np.log(2))
    return np.where((n > 0) & (m > 0), np.sqrt(np.clip(bits, 0.0, 1.0)), 0.0)


def _outer_tail(hits: Counts, n: Counts, hits_before: Counts, m: Counts, upper: NDArray[np.bool_]) -> Numbers:
    """mid-p of the tail on the side of the observed difference. A lower tail is computed as the upper tail of the misses."""
    x, other = np.where(upper, hits, n - hits).ravel(), np.where(upper, hits_before, m - hits_before).ravel()
    size, rest = n.ravel().astype(np.float64), m.ravel().astype(np.float64)
    marked = (x + other).astype(np.float64)
    first = np.exp(_log_choose(marked, x) + _log_choose(size + rest - marked, size - x) - _log_choose(size + rest, size))
    beyond = np.zeros_like(first)
    last = np.ones_like(first)  # current term, relative to the first
    unfinished = np.flatnonzero((x < marked) & (x < size))
    at = x.astype(np.float64)
    steps = np.arange(TERMS_AT_ONCE, dtype=np.float64)
    while unfinished.size:
        k = at[unfinished, None] + steps
        marked_here, size_here = marked[unfinished, None], size[unfinished, None]
        below = (k + 1) * (rest[unfinished, None] - marked_here + k + 1)
        ratios = np.maximum(0.0, marked_here - k) * np.maximum(0.0, size_here - k) / below
        terms = last[unfinished, None] * np.cumprod(ratios, axis=1)
        beyond[unfinished] += terms.sum(axis=1)
        last[unfinished] = terms[:, -1]
        at[unfinished] += TERMS_AT_ONCE
        unfinished = unfinished[last[unfinished] > TAIL_ENDS_BELOW]
    return (first * (0.5 + beyond)).reshape(hits.shape)


def _log_choose(n: Numbers, k: Numbers) -> Numbers:
    from scipy.special import gammaln

    found: Numbers = gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)
    return found


def _cumulative_distance(now: Counts, before: Counts, n: Counts, m: Counts) -> Numbers:
    return np.abs(np.cumsum(now, axis=-1) / _at_least_one(n)[..., None] - np.cumsum(before, axis=-1) / _at_least_one(m)[..., None])


def _at_least_one(total: NDArray[np.generic]) -> Numbers:
    return np.asarray(np.maximum(total, 1), dtype=np.float64)


def _without_empty_samples(p: Numbers, effect: Numbers, n: NDArray[np.generic], m: NDArray[np.generic]) -> TestResult:
    known = (np.asarray(n) > 0) & (np.asarray(m) > 0)
    return np.where(known, np.clip(np.nan_to_num(p, nan=1.0), 0.0, 1.0), 1.0), np.where(known, effect, 0.0)
