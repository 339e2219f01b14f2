"""How strongly do sessions, as they come, say that one arm fails more often than the arm beside it?

In: sessions in their order of beginning: which arm, and bad or not. Out: the evidence after each matched set of sessions.
What counts as bad, and how much evidence ends a canary, is decided in ``guards``.

Sessions that began together are one matched set, and arms are compared only within a set. If both arms fail alike, which of a set's
bad sessions are the canary's is a draw without replacement (the hypergeometric distribution): whatever the common rate is, and however
it moves from set to set. If the canary's odds of a bad session are ``t`` times those beside it, the draw follows Fisher's noncentral
hypergeometric distribution. The ratio of the two likelihoods of "x bad ones on the canary",

    t**x / Z(t)    with    Z(t) = sum over j of t**j P(j bad ones on the canary | both alike),

has mean 1 when both arms are alike and at most 1 when the canary is better, so the product over sets is a test supermartingale, and so
is a weighted mean over several ``t``. By Ville's inequality it ever reaches 1/alpha with a probability of at most alpha: one may look
after every set and stop at will.

Sources: D. R. Cox, "Regression models and life-tables" (1972), for the conditional likelihood of matched sets; J. Ville, "Etude critique
de la notion de collectif" (1939); J. ter Schure and others, "The safe logrank test" (2020), for the same ratio as an e-process;
A. Ramdas and others, "Game-theoretic statistics and safe anytime-valid inference" (2023).
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flywheel.errors import InvalidInput
from flywheel.plausible import check_whole

SMALLEST_SET, LARGEST_SET, SESSIONS_SEEN_PER_ONE = 10, 100, 10
"""A set grows with what has been seen (a tenth of it): small sets speak soon, large ones lose less (a set of n loses one n-th)."""

_MOST_SESSIONS = 10**9
_MOST_IN_A_SET = 100_000
"""Far beyond ``LARGEST_SET``; a larger one would not fit the whole numbers by which kinds of sets are told apart."""

ODDS = (1.6, 2.4, 3.7, 14.0)
"""How many times worse the canary's odds may be: 10 to 15 %, 5 to 10 %, 2 to 7 % bad sessions, and broken. What lies between is found
by its neighbours; what lies below takes longer than a canary lasts."""
WEIGHTS = (0.2, 0.2, 0.35, 0.25)
"""What is bet on each, chosen by simulation. Any positive weights that add to 1 keep the error rate; these keep the power."""
MOST_KINDS = 200
"""More kinds of sets are not listed: a journal's line must stay short."""

SetKind = tuple[int, int, int, int, int, int]
"""Sessions of the canary, sessions beside it, bad ones of both, bad ones of the canary; how many such sets there were up to the peak, and
how many after it."""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """``value`` is an e-value: 1 says nothing, 1/alpha and more is a breach. ``peak`` is the largest so far: it never falls again."""

    value: float
    peak: float
    peak_after: int  # sessions of both arms up to the end of the set at which the peak was reached
    sets: int  # closed ones
    waiting: int  # sessions in the set that is not full yet: they do not count so far
    kinds: tuple[SetKind, ...] | None = ()  # of the sets that said something, so that it can be multiplied again; None: too many


def weigh(*, canary: NDArray[np.bool_], bad: NDArray[np.bool_]) -> Evidence:
    """Both [sessions], in order of beginning. Only full sets count; a set with one arm alone says nothing (its factor is 1)."""
    if not (isinstance(canary, np.ndarray) and isinstance(bad, np.ndarray) and canary.dtype == bad.dtype == np.bool_):
        raise InvalidInput("an arm and an outcome are True or False", where="matched_sets", remedy="Pass arrays of bool.")
    if canary.shape != bad.shape or canary.ndim != 1:
        raise InvalidInput(
            "each session needs its arm and its outcome",
            where="matched_sets",
            value=(canary.shape, bad.shape),
            remedy="Pass equal lengths.",
        )
    ends = set_ends(canary.size)
    if ends.size == 0:
        return Evidence(value=1.0, peak=1.0, peak_after=0, sets=0, waiting=int(canary.size))
    counts = _per_set(canary, ends), np.diff(ends, prepend=0), _per_set(canary & bad, ends), _per_set(bad, ends)
    path = log_evidence(canary=counts[0], sessions=counts[1], canary_bad=counts[2], bad=counts[3])
    at = int(np.argmax(path))
    nothing_yet = path[at] <= 0.0
    return Evidence(
        value=_bounded_exp(float(path[-1])),
        peak=1.0 if nothing_yet else _bounded_exp(float(path[at])),
        peak_after=0 if nothing_yet else int(ends[at]),
        sets=int(ends.size),
        waiting=int(canary.size - ends[-1]),
        kinds=_kinds(*counts, up_to_peak=0 if nothing_yet else at + 1),
    )


def set_ends(sessions: int) -> NDArray[np.int64]:
    """Where full sets end among so many sessions. Known before any outcome, so that nobody can choose a set by what is in it."""
    check_whole(sessions, where="matched_sets.sessions")
    if sessions > _MOST_SESSIONS:
        raise InvalidInput("more sessions than a canary has", where="matched_sets", value=sessions, remedy="Count again.")
    ends: list[int] = []
    end = 0
    while True:
        end += min(LARGEST_SET, max(SMALLEST_SET, end // SESSIONS_SEEN_PER_ONE))
        if end > sessions:
            return np.array(ends, dtype=np.int64)
        ends.append(end)


def log_evidence(
    *, canary: NDArray[np.int64], sessions: NDArray[np.int64], canary_bad: NDArray[np.int64], bad: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Natural logarithm of the evidence after each set. All [..., sets] counts of sessions; ``sessions`` and ``bad`` are of both arms.

    Raises InvalidInput for counts that cannot be: more bad sessions than sessions, negative ones.
    """
    try:
        canary, sessions, canary_bad, bad = np.broadcast_arrays(canary, sessions, canary_bad, bad)
    except ValueError:
        raise InvalidInput("the counts are of different sets", where="matched_sets", remedy="Pass one of each for every set.") from None
    if not all(np.issubdtype(counts.dtype, np.integer) for counts in (canary, sessions, canary_bad, bad)):
        raise InvalidInput("a count is not a whole number", where="matched_sets", remedy="Count sessions.")
    if np.any(sessions > _MOST_IN_A_SET):
        raise InvalidInput("a set beyond all size", where="matched_sets", value=int(sessions.max()), remedy="Cut sets by set_ends.")
    others_bad = bad - canary_bad
    if np.any((canary_bad < 0) | (others_bad < 0) | (canary_bad > canary) | (others_bad > sessions - canary)):
        raise InvalidInput("more bad sessions than sessions in a set", where="matched_sets", remedy="Count each session once, in one arm.")
    log_odds = np.log(ODDS)
    normalizers, which = _log_normalizers(canary, sessions, bad, log_odds)
    total = None
    for column, odds, weight in zip(normalizers.T, log_odds, WEIGHTS, strict=True):  # one at a time: [..., sets, odds] would be large
        path = np.cumsum(canary_bad * odds - column[which], axis=-1) + math.log(weight)
        total = path if total is None else np.logaddexp(total, path)
    assert total is not None
    return np.asarray(total, dtype=np.float64)


def _log_normalizers(
    canary: NDArray[np.int64], sessions: NDArray[np.int64], bad: NDArray[np.int64], log_odds: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """log Z of each distinct kind of set, [kinds, odds], and which kind each set is, [..., sets]. Most sets are of a few kinds."""
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
) -> tuple[SetKind, ...] | None:
    """A set of one arm alone, without a bad session or without a good one has the factor 1, and is left out."""
    base = LARGEST_SET + 1
    numbered = ((canary * base + sessions - canary) * base + bad) * base + canary_bad
    speaks = (canary > 0) & (canary < sessions) & (bad > 0) & (bad < sessions)
    found, which = np.unique(numbered[speaks], return_inverse=True)
    if found.size > MOST_KINDS:
        return None
    early = np.flatnonzero(speaks) < up_to_peak
    before, after = (np.bincount(which[chosen], minlength=found.size).tolist() for chosen in (early, ~early))
    return tuple(
        (kind // base**3, kind // base**2 % base, kind // base % base, kind % base, *times)
        for kind, *times in zip(found.tolist(), before, after, strict=True)
    )


def _per_set(flags: NDArray[np.bool_], ends: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.diff(np.concatenate([[0], np.cumsum(flags)])[ends], prepend=0)


def _bounded_exp(logarithm: float) -> float:
    return math.exp(min(logarithm, 700.0))  # beyond it a float is infinite, and JSON knows no infinity
