"""The three tests and their effects, on counts.

In: integer counts of two samples. Out: a p-value in [0, 1] and an effect size, for every input: never NaN, never an error.
Sources: two-sample Kolmogorov-Smirnov with the one-sample limit at the effective size (scipy.stats.ks_2samp, method
"asymp"; on binned values it is conservative); Pearson's chi-square of a 2 x k table; the hypergeometric mid-p of Fisher's
table (Lancaster 1961). Whether a p-value is small enough is not said here.
"""

from dataclasses import dataclass
from math import isfinite

import numpy as np

from flywheel.windows.pane import Counts

EXPECTED_AT_LEAST = 5.0  # a category expected less often than this in the smaller sample is pooled with its like


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A p-value and how large the change is. Effects are never negative, but for a one-sided rate that got better."""

    p: float
    effect: float


def binned_ks(current: Counts, reference: Counts) -> Measured:
    """``effect`` is the greatest distance between the two cumulative shares, at the bins' edges."""
    n, m = int(current.sum()), int(reference.sum())
    if n == 0 or m == 0:
        return Measured(p=1.0, effect=0.0)
    distance = float(np.abs(np.cumsum(current) / n - np.cumsum(reference) / m).max())
    effective = max(1, round(n * m / (n + m)))
    from scipy.stats import kstwo  # at first use: every process that knows a verdict imports this file, and scipy.stats takes seconds

    return Measured(p=_probability(kstwo.sf(distance, effective)), effect=distance)


def pooled_chi_square(current: Counts, reference: Counts) -> Measured:
    """``effect`` is the total variation between the shares, over all categories; rare ones are pooled for the p-value only."""
    n, m = int(current.sum()), int(reference.sum())
    if n == 0 or m == 0:
        return Measured(p=1.0, effect=0.0)
    variation = float(np.abs(current / n - reference / m).sum() / 2)
    together = current + reference
    rare = together * (min(n, m) / (n + m)) < EXPECTED_AT_LEAST
    table = np.stack([_with_pool(current, rare), _with_pool(reference, rare)])
    table = table[:, table.sum(axis=0) > 0]
    if table.shape[1] < 2:
        return Measured(p=1.0, effect=variation)
    expected = table.sum(axis=0) * table.sum(axis=1, keepdims=True) / table.sum()
    statistic = float(((table - expected) ** 2 / expected).sum())
    from scipy.special import chdtrc

    return Measured(p=_probability(chdtrc(table.shape[1] - 1, statistic)), effect=variation)


def rate_mid_p(hits: int, n: int, reference_hits: int, m: int, *, one_sided: bool) -> Measured:
    """Is the rate of ``hits`` higher than the reference's (one-sided), or other than it? ``effect`` is the difference of rates."""
    if n == 0 or m == 0:
        return Measured(p=1.0, effect=0.0)
    difference = hits / n - reference_hits / m
    from scipy.stats import hypergeom

    spread = hypergeom(n + m, hits + reference_hits, n)
    at = _probability(spread.pmf(hits))
    above = _probability(_probability(spread.sf(hits)) + at / 2)
    if one_sided:
        return Measured(p=above, effect=difference)
    below = _probability(1.0 - above)
    return Measured(p=_probability(2 * min(above, below)), effect=abs(difference))


def _with_pool(counts: Counts, rare: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> Counts:
    return np.append(counts[~rare], counts[rare].sum())


def _probability(value: float) -> float:
    """Into [0, 1]; what could not be computed is no evidence."""
    number = float(value)
    return min(1.0, max(0.0, number)) if isfinite(number) else 1.0
