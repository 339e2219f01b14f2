"""The three tests and their effects, on counts: of one column, or of every column of every slice at once.

In: integer counts, with the bins on the last axis and any shape before it. Out: p-values in [0, 1] and effects of that shape,
for every input: never NaN; no rows on one side, or one category only, is no evidence (p 1). Bins that hold nothing on both
sides change nothing, so columns of fewer bins may be filled up with zeroes.
Sources: Kolmogorov's limit at the effective size with Vrbik's small-sample terms (Vrbik 2018, "Small-sample corrections to
Kolmogorov-Smirnov test statistic"; on binned values it is conservative); Pearson's chi-square of a 2 x k table; the
hypergeometric mid-p of Fisher's table (Lancaster 1961). Whether a p-value is small enough is not said here.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flywheel.errors import InvalidInput
from flywheel.plausible import MOST
from flywheel.windows.pane import Counts

Numbers = NDArray[np.float64]
Both = tuple[Numbers, Numbers]
"""(p-values, effects)"""

EXPECTED_AT_LEAST = 5.0  # a category expected less often than this in the smaller sample is pooled with its like
TERMS_AT_ONCE = 64  # of a hypergeometric tail
TAIL_ENDS_BELOW = 1e-13  # a term that is a smaller part of the tail's first than this ends the sum


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A p-value and how large the change is. Effects are never negative, but for a one-sided rate that got better."""

    p: float
    effect: float


def binned_ks(current: Counts, reference: Counts) -> Measured:
    """``effect`` is the greatest distance between the two cumulative shares, at the bins' edges."""
    return _one(binned_ks_all(np.asarray(current), np.asarray(reference)))


def pooled_chi_square(current: Counts, reference: Counts) -> Measured:
    """``effect`` is the total variation between the shares, over all categories; rare ones are pooled for the p-value only."""
    return _one(chi_square_all(np.asarray(current), np.asarray(reference)))


def rate_mid_p(hits: int, n: int, reference_hits: int, m: int, *, one_sided: bool) -> Measured:
    """Is the rate of ``hits`` higher than the reference's (one-sided), or other than it? ``effect`` is the difference of rates."""
    return _one(mid_p_all(np.asarray(hits), np.asarray(n), np.asarray(reference_hits), np.asarray(m), one_sided=one_sided))


def binned_ks_all(current: Counts, reference: Counts) -> Both:
    """[..., B] and [..., B] -> p[...], greatest distance of the cumulative shares[...].

    With e = nm / (n + m) and z = D sqrt(e): p = K(z + 1 / (6 sqrt(e)) + (z - 1) / (4 e)), K being Kolmogorov's limit.
    Raises InvalidInput for negative or fractional counts.
    """
    n, m = _totals(current, reference)
    distance = np.abs(np.cumsum(current, axis=-1) / _no_zero(n)[..., None] - np.cumsum(reference, axis=-1) / _no_zero(m)[..., None]).max(
        axis=-1, initial=0.0
    )
    return _no_evidence_without_rows(ks_p_all(distance, n, m), distance, n, m)


def ks_p_all(distance: Numbers, n: Numbers | Counts, m: Numbers | Counts) -> Numbers:
    """Greatest distances of cumulative shares, rows of either sample -> p-values (Vrbik 2018)."""
    from scipy.special import kolmogorov  # at first use: every process that knows a verdict imports this file

    effective = np.maximum(1.0, n * m / _no_zero(n + m))
    root = np.sqrt(effective)
    z = distance * root
    p: Numbers = kolmogorov(np.maximum(0.0, z + 1 / (6 * root) + (z - 1) / (4 * effective)))
    return p


def shift_all(current: Counts, reference: Counts) -> Both:
    """[..., B] and [..., B] -> two-sided p[...], P(a row now is above one before) - 1/2 [...].

    Wilcoxon's rank sum on bins, all rows of a bin being ties (Lehmann 1975): mid-ranks over both samples, the variance of a mean
    drawn without replacement. Against a change of level it needs about two thirds of the rows that the greatest distance needs;
    it is blind to a change of width alone, which ``binned_ks_all`` sees.
    """
    from scipy.special import ndtr

    n, m = _totals(current, reference)
    rows = _no_zero(n + m)
    shares = (current + reference) / rows[..., None]
    scores = np.cumsum(shares, axis=-1) - shares / 2
    behind = (current * scores).sum(axis=-1) / _no_zero(n) - 0.5
    spread = (1 - (shares**3).sum(axis=-1)) / 12
    variance = spread / _no_zero(n) * m / np.maximum(1.0, rows - 1)
    z = np.divide(behind, np.sqrt(variance), out=np.zeros_like(behind), where=variance > 1e-18)
    return _no_evidence_without_rows(2 * ndtr(-np.abs(z)), np.abs(behind) * rows / _no_zero(m), n, m)


def number_all(current: Counts, reference: Counts) -> Both:
    """[..., B] and [..., B] -> p[...], greatest distance of the cumulative shares[...]: level or shape, twice the smaller p."""
    p, distance = binned_ks_all(current, reference)
    return np.minimum(1.0, 2 * np.minimum(p, shift_all(current, reference)[0])), distance


def chi_square_all(current: Counts, reference: Counts, *, reference_is_exact: bool = False) -> Both:
    """[..., B] and [..., B] -> p[...], total variation[...]. Raises InvalidInput for negative or fractional counts.

    Categories expected under five times in the smaller sample are one category for the p-value. ``reference_is_exact``: the
    reference's shares are taken for the truth (a test of fit, as Evidently makes), and nothing is pooled.
    """
    from scipy.special import chdtrc

    n, m = _totals(current, reference)
    some_n, some_m = _no_zero(n)[..., None], _no_zero(m)[..., None]
    variation = np.abs(current / some_n - reference / some_m).sum(axis=-1) / 2
    rare = _expected(current, reference, n, m) < (0.0 if reference_is_exact else EXPECTED_AT_LEAST)
    now, before = (_pooled(np.broadcast_to(counts, rare.shape), rare) for counts in (current, reference))
    held = now + before > 0
    if reference_is_exact:
        expected = before * some_n / some_m
        parts = np.divide((now - expected) ** 2, expected, out=np.where(now > 0, np.inf, 0.0), where=expected > 0)
    else:
        parts = np.divide((now * some_m - before * some_n) ** 2, some_n * some_m * (now + before), out=np.zeros_like(now), where=held)
    freedom = held.sum(axis=-1) - 1
    p = np.where(freedom > 0, chdtrc(np.maximum(1, freedom), parts.sum(axis=-1)), 1.0)
    return _no_evidence_without_rows(p, variation, n, m)


def rare_all(current: Counts, reference: Counts) -> NDArray[np.bool_]:
    """[..., B] and [..., B] -> which categories are one category for the p-value[..., B]: both samples together expect them under five
    times in the smaller one. Raises as ``chi_square_all`` does."""
    rare: NDArray[np.bool_] = _expected(current, reference, *_totals(current, reference)) < EXPECTED_AT_LEAST
    return rare


def mid_p_all(hits: Counts, n: Counts, reference_hits: Counts, m: Counts, *, one_sided: bool | NDArray[np.bool_]) -> Both:
    """Shapes that broadcast together -> p, difference of rates (two-sided: its size). ``one_sided``: only a higher rate is evidence.

    mid-p = P(X > hits) + P(X = hits) / 2, X hypergeometric with both margins fixed; two-sided: twice the smaller side.
    Raises InvalidInput for negative or fractional counts and for more hits than rows.
    """
    hits, n, reference_hits, m = np.broadcast_arrays(*(_whole(value) for value in (hits, n, reference_hits, m)))
    if bool((hits > n).any() or (reference_hits > m).any()):
        raise InvalidInput("there are more hits than rows", where="a rate's counts", remedy="Count hits and rows from the same rows.")
    difference = hits / _no_zero(n) - reference_hits / _no_zero(m)
    upper = difference >= 0
    tail = np.minimum(_outer_tail(hits, n, reference_hits, m, upper), 1.0)
    above = np.where(upper, tail, 1.0 - tail)
    p = np.where(one_sided, above, np.minimum(1.0, 2 * np.minimum(tail, 1.0 - tail)))
    return _no_evidence_without_rows(p, np.where(one_sided, difference, np.abs(difference)), n, m)


def wasserstein_all(current: Counts, reference: Counts, *, widths: Numbers | None = None) -> Numbers:
    """[..., B] and [..., B] -> first Wasserstein distance[...]: how far rows moved on average.

    ``widths`` [..., B - 1]: the way from each bin to the next, in the column's unit. Left out, all ways are 1 / (B - 1), so that
    1.0 means from the first bin to the last. W1 = sum of |F - G| times the way (Vallender 1973).
    """
    n, m = _totals(current, reference)
    if widths is not None and not (widths.dtype.kind in "fiu" and np.isfinite(widths).all() and (widths >= 0).all()):
        raise InvalidInput(
            "ways between bins must be finite and not below zero", where="widths", value=str(widths), remedy="Give the distances of bins."
        )
    apart = np.abs(np.cumsum(current, axis=-1) / _no_zero(n)[..., None] - np.cumsum(reference, axis=-1) / _no_zero(m)[..., None])[..., :-1]
    ways = np.float64(1 / max(1, apart.shape[-1])) if widths is None else widths
    return np.where((n > 0) & (m > 0), (apart * ways).sum(axis=-1), 0.0)


def jensen_shannon_all(current: Counts, reference: Counts) -> Numbers:
    """[..., B] and [..., B] -> Jensen-Shannon distance[...], the root of the divergence in bits: 0 is the same, 1 has nothing in common."""
    from scipy.special import rel_entr

    n, m = _totals(current, reference)
    now, before = current / _no_zero(n)[..., None], reference / _no_zero(m)[..., None]
    middle = (now + before) / 2
    bits = (rel_entr(now, middle) + rel_entr(before, middle)).sum(axis=-1) / (2 * np.log(2))
    return np.where((n > 0) & (m > 0), np.sqrt(np.clip(bits, 0.0, 1.0)), 0.0)


def _outer_tail(hits: Counts, n: Counts, reference_hits: Counts, m: Counts, upper: NDArray[np.bool_]) -> Numbers:
    """Of the side away from the middle: half of what was seen, and all beyond it. A lower tail is the upper one of the misses."""
    x, other = np.where(upper, hits, n - hits).ravel(), np.where(upper, reference_hits, m - reference_hits).ravel()
    size, rest = n.ravel().astype(np.float64), m.ravel().astype(np.float64)
    marked = (x + other).astype(np.float64)
    first = np.exp(_log_chosen(marked, x) + _log_chosen(size + rest - marked, size - x) - _log_chosen(size + rest, size))
    beyond = np.zeros_like(first)
    last = np.ones_like(first)  # the newest term as a part of the first one
    open_ones = np.flatnonzero((x < marked) & (x < size))
    at = x.astype(np.float64)
    steps = np.arange(TERMS_AT_ONCE, dtype=np.float64)
    while open_ones.size:
        k = at[open_ones, None] + steps
        marked_here, size_here = marked[open_ones, None], size[open_ones, None]
        ratios = (
            np.maximum(0.0, marked_here - k) * np.maximum(0.0, size_here - k) / ((k + 1) * (rest[open_ones, None] - marked_here + k + 1))
        )
        terms = last[open_ones, None] * np.cumprod(ratios, axis=1)
        beyond[open_ones] += terms.sum(axis=1)
        last[open_ones] = terms[:, -1]
        at[open_ones] += TERMS_AT_ONCE
        open_ones = open_ones[last[open_ones] > TAIL_ENDS_BELOW]
    return (first * (0.5 + beyond)).reshape(hits.shape)


def _log_chosen(of: Numbers, taken: Numbers) -> Numbers:
    from scipy.special import gammaln

    found: Numbers = gammaln(of + 1) - gammaln(taken + 1) - gammaln(of - taken + 1)
    return found


def _expected(current: Counts, reference: Counts, n: Numbers, m: Numbers) -> Numbers:
    """How often both samples together expect each category in the smaller one."""
    return (current + reference).astype(np.float64) * (np.minimum(n, m) / _no_zero(n + m))[..., None]


def _pooled(counts: Counts, rare: NDArray[np.bool_]) -> Numbers:
    """[..., B] -> [..., B + 1]: rare categories are emptied into the last."""
    return np.concatenate([np.where(rare, 0, counts), np.where(rare, counts, 0).sum(axis=-1, keepdims=True)], axis=-1).astype(np.float64)


def _totals(current: Counts, reference: Counts) -> tuple[Numbers, Numbers]:
    if not np.ndim(current) or not np.ndim(reference) or current.shape[-1] != reference.shape[-1]:
        raise InvalidInput(
            "the window and the reference have not the same number of bins",
            where="counts to compare",
            value=(np.shape(current), np.shape(reference)),
            remedy="Count both on the reference's edges.",
        )
    if current.ndim and reference.ndim and not _fit(current.shape, reference.shape):
        raise InvalidInput(
            "the window and the reference do not hold the same cells",
            where="counts to compare",
            value=(current.shape, reference.shape),
            remedy="Lay both out for the same slices and columns.",
        )
    n, m = (_whole(counts).sum(axis=-1).astype(np.float64) for counts in (current, reference))
    return n, m


def _fit(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    """Shapes that broadcast together."""
    return all(a == b or 1 in (a, b) for a, b in zip(reversed(one), reversed(other), strict=False))


def _whole(counts: Counts) -> Counts:
    """Raises InvalidInput unless these are numbers of rows."""
    held = np.asarray(counts)
    if held.dtype.kind not in "iu":
        raise InvalidInput("counts must be whole numbers", where="counts to compare", value=str(held.dtype), remedy="Hand in integers.")
    if held.size and held.min() < 0:
        raise InvalidInput("a count is negative", where="counts to compare", value=int(held.min()), remedy="Count the pane again.")
    if held.size and held.max() > MOST:
        raise InvalidInput(
            f"a count is above {MOST}, where numbers no longer tell rows apart",
            where="counts to compare",
            value=int(held.max()),
            remedy="Count the pane again.",
        )
    return held


def _no_zero(total: NDArray[np.generic]) -> Numbers:
    return np.asarray(np.maximum(total, 1), dtype=np.float64)


def _no_evidence_without_rows(p: Numbers, effect: Numbers, n: NDArray[np.generic], m: NDArray[np.generic]) -> Both:
    known = (np.asarray(n) > 0) & (np.asarray(m) > 0)
    return np.where(known, np.clip(np.nan_to_num(p, nan=1.0), 0.0, 1.0), 1.0), np.where(known, effect, 0.0)


def _one(both: Both) -> Measured:
    return Measured(p=float(both[0]), effect=float(both[1]))
