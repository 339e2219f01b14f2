"""How strong is the evidence that one arm fails more often than the arm beside it?

In: sessions in the order in which they began: which arm, and bad or not. Out: an e-value over strata of sessions.
What counts as bad, and which e-value ends a canary, is decided in ``guards``.

Sessions that began together are one stratum, and arms are compared only within a stratum. If both arms fail alike, which of a stratum's
bad sessions are the canary's is a draw without replacement (the hypergeometric distribution), whatever the common rate is and however
it moves from stratum to stratum. If the canary's odds of a bad session are ``t`` times the control's, the draw follows Fisher's
noncentral hypergeometric distribution. The ratio of the two likelihoods of "x bad ones on the canary",

    t**x / Z(t)    with    Z(t) = sum over j of t**j P(j bad ones on the canary | both alike),

has mean 1 when both arms are alike and at most 1 when the canary is better. So the product over strata is a test supermartingale, and so
is a weighted mean over several ``t``. By Ville's inequality it ever reaches 1/alpha with a probability of at most alpha: it may be
looked at after every stratum, and the canary may stop at any time.

Sources: D. R. Cox, "Regression models and life-tables" (1972), for the conditional likelihood of strata; J. Ville, "Etude critique
de la notion de collectif" (1939); J. ter Schure and others, "The safe logrank test" (2020), for the same ratio as an e-process;
A. Ramdas and others, "Game-theoretic statistics and safe anytime-valid inference" (2023).
"""

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

SMALLEST_STRATUM, LARGEST_STRATUM, SESSIONS_SEEN_PER_ONE = 10, 100, 10
"""A stratum grows with the number of sessions seen (a tenth of it): small strata speak soon, large ones lose less (a stratum of n loses
one n-th of the information)."""

ODDS = (1.6, 2.4, 3.7, 14.0)
"""How many times worse the canary's odds may be: 10 to 15 %, 5 to 10 %, 2 to 7 % bad sessions, and broken. Odds in between are found
by their neighbours; lower ones take longer than a canary lasts."""
WEIGHTS = (0.2, 0.2, 0.35, 0.25)
"""The prior weight of each, chosen by simulation. Any positive weights that add to 1 keep the error rate; these keep the power."""
MOST_KINDS = 200
"""More kinds of strata are not listed, so that a journal line stays short."""

StratumKind = tuple[int, int, int, int, int, int]
"""Sessions of the canary, sessions of the control, bad ones of both, bad ones of the canary; how many such strata there were up to the
peak, and how many after it."""


@dataclass(frozen=True, kw_only=True)
class EValue:
    """``value``: 1 says nothing; 1/alpha or more is a breach. ``peak`` is the largest so far, so it never falls."""

    value: float
    peak: float
    peak_after: int  # sessions of both arms up to the end of the stratum at which the peak was reached
    strata: int  # full ones
    waiting: int  # sessions in the stratum that is not full yet: they do not count so far
    kinds: tuple[StratumKind, ...] | None = ()  # of the informative strata, to compute the e-value again; None: too many


def e_value(*, canary: NDArray[np.bool_], bad: NDArray[np.bool_]) -> EValue:
    """Both [sessions], in order of beginning. Only full strata count; a stratum of one arm alone has the factor 1."""
    ends = stratum_ends(canary.size)
    if ends.size == 0:
        return EValue(value=1.0, peak=1.0, peak_after=0, strata=0, waiting=int(canary.size))
    counts = _per_stratum(canary, ends), np.diff(ends, prepend=0), _per_stratum(canary & bad, ends), _per_stratum(bad, ends)
    path = log_e_values(canary=counts[0], sessions=counts[1], canary_bad=counts[2], bad=counts[3])
    at = int(np.argmax(path))
    nothing_yet = path[at] <= 0.0
    return EValue(
        value=_bounded_exp(float(path[-1])),
        peak=1.0 if nothing_yet else _bounded_exp(float(path[at])),
        peak_after=0 if nothing_yet else int(ends[at]),
        strata=int(ends.size),
        waiting=int(canary.size - ends[-1]),
        kinds=_kinds(*counts, up_to_peak=0 if nothing_yet else at + 1),
    )


def stratum_ends(sessions: int) -> NDArray[np.int64]:
    """Where full strata end among so many sessions. It depends on no outcome, so nobody can choose a stratum by its content."""
    ends = _ends_up_to(1 << sessions.bit_length())
    return ends[: int(np.searchsorted(ends, sessions, side="right"))]


@cache
def _ends_up_to(sessions: int) -> NDArray[np.int64]:
    ends: list[int] = []
    end = SMALLEST_STRATUM
    while end <= sessions:
        ends.append(end)
        end += min(LARGEST_STRATUM, max(SMALLEST_STRATUM, end // SESSIONS_SEEN_PER_ONE))
    found = np.array(ends, dtype=np.int64)
    found.setflags(write=False)  # it is shared by all callers
    return found


def log_e_values(
    *, canary: NDArray[np.int64], sessions: NDArray[np.int64], canary_bad: NDArray[np.int64], bad: NDArray[np.int64]
) -> NDArray[np.float64]:
    """[strata]: natural logarithm of the e-value after each stratum. All are [strata] counts; ``sessions`` and ``bad`` are of both arms."""
    log_odds = np.log(ODDS)
    normalizers, which = _log_normalizers(canary, sessions, bad, log_odds)
    total = np.full(canary.shape, -np.inf)
    for column, odds, weight in zip(normalizers.T, log_odds, WEIGHTS, strict=True):
        total = np.logaddexp(total, np.cumsum(canary_bad * odds - column[which]) + math.log(weight))
    return total


def _log_normalizers(
    canary: NDArray[np.int64], sessions: NDArray[np.int64], bad: NDArray[np.int64], log_odds: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """log Z of each distinct kind of stratum, [kinds, odds], and which kind each stratum is, [strata]. Most strata are of a few kinds."""
    base = int(sessions.max(initial=0)) + 1
    kinds, which = np.unique((sessions * base + canary) * base + bad, return_inverse=True)
    rest, k = np.divmod(kinds, base)
    n, m = np.divmod(rest, base)
    drawn = np.arange(int(np.minimum(m, k).max(initial=0)) + 1)[None, :]  # how many of the bad ones are the canary's
    k, m, n = k[:, None], m[:, None], n[:, None]
    possible = (drawn <= np.minimum(m, k)) & (k - drawn <= n - m)
    factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, base + 1)))])

    def log_choose(of: NDArray[np.int64], take: NDArray[np.int64]) -> NDArray[np.float64]:
        take = np.clip(take, 0, of)
        return np.asarray(factorial[of] - factorial[take] - factorial[of - take])

    log_p = np.where(possible, log_choose(m, drawn) + log_choose(n - m, k - drawn) - log_choose(n, k), -np.inf)
    normalizers = np.stack([np.logaddexp.reduce(log_p + drawn * odds, axis=1) for odds in log_odds], axis=1)
    return normalizers, which.reshape(sessions.shape)


def _kinds(
    canary: NDArray[np.int64], sessions: NDArray[np.int64], canary_bad: NDArray[np.int64], bad: NDArray[np.int64], *, up_to_peak: int
) -> tuple[StratumKind, ...] | None:
    """A stratum of one arm alone, without a bad session or without a good one has the factor 1, and is left out."""
    base = LARGEST_STRATUM + 1
    numbered = ((canary * base + sessions - canary) * base + bad) * base + canary_bad
    informative = (canary > 0) & (canary < sessions) & (bad > 0) & (bad < sessions)
    found, which = np.unique(numbered[informative], return_inverse=True)
    if found.size > MOST_KINDS:
        return None
    early = np.flatnonzero(informative) < up_to_peak
    before, after = (np.bincount(which[chosen], minlength=found.size).tolist() for chosen in (early, ~early))
    return tuple(
        (kind // base**3, kind // base**2 % base, kind // base % base, kind % base, *times)
        for kind, *times in zip(found.tolist(), before, after, strict=True)
    )


def _per_stratum(flags: NDArray[np.bool_], ends: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.diff(np.concatenate([[0], np.cumsum(flags)])[ends], prepend=0)


def _bounded_exp(logarithm: float) -> float:
    return math.exp(min(logarithm, 700.0))  # beyond it a float is infinite, and JSON knows no infinity
