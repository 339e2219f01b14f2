"""How often does chance alone make a window look as strange as this one?

In: the rows of a window and of a reference in one pool, and which of them share a session. Out: a p-value and what it rests on.
Thresholds are not known here.

Without drift it is chance which sessions fell into the window and which into the reference. So the labels "window" and "reference" are
permuted, whole sessions at a time, and the rank of the real window among the permuted ones is its p-value. It is right for a reference
of any size, because the luck of the reference is permuted too (a permutation test; Fisher 1935, Pitman 1937). It is exact where
sessions have equally many rows, and near it else: a permutation stops with the session that fills the window. Windows drawn from the
reference's rows alone leave that luck out; they were found 34 times as often as allowed.

The eight scores are measured in their deviations over all permutations. Those of local density, which see the same thing, are added up;
the largest of the five numbers that are left is the window's, and each permutation has its own (a max-type test; Westfall and Young
1993). So all eight cost one test, and each of the five is as rare where it stands alone. Permutations stop once enough went as far as
the window (Besag and Clifford 1991): no small p-value is left to find.
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from flywheel.drift.embedding_scores import Numbers, Pool, Score, window_scores

AT_ONCE = 250  # permutations; bounds the memory
ENOUGH = 20  # permutations as strange as the window: no small p-value is left to find
_SMALLEST_SPREAD = 1e-9  # of a score without noise: rounding must not look like drift


class Part(StrEnum):
    """What decides, in this order: the largest of these."""

    NEAREST = Score.NEAREST
    CENTROID = Score.CENTROID
    CLUSTERS = Score.CLUSTERS
    NOVELTY = Score.NOVELTY
    DENSITY = "local density"


_ALONE = len(Part) - 1  # so many scores come first and stand alone; the others are added up


@dataclass(frozen=True, kw_only=True)
class Compared:
    """One window against its permutations."""

    p: float
    permutations: int
    as_strange: int  # of them
    scores: Numbers  # [8], the window's
    usual: Numbers  # [8], the means of the permutations
    deviations: Numbers  # [8], how far the window's lie from them
    density_deviation: float  # of the four scores of local density, added up; their mean is 0
    parts: Numbers  # [5], in deviations; not yet divided by the dispersion


def compare(
    pool: Pool, in_window: NDArray[np.bool_], sessions: NDArray[np.intp], *, dispersion: Numbers, most: int, rng: np.random.Generator
) -> Compared:
    """``in_window`` [N]; ``sessions`` [N], numbers from 0 of what is permuted as one; ``dispersion`` [5], 1 or more: see
    ``dispersion_of``."""
    size = int(in_window.sum())
    rows_of = np.bincount(sessions)
    found = window_scores(in_window[None].astype(np.float32), pool, size=size)
    while True:
        many = min(AT_ONCE, most + 1 - len(found))
        found = np.concatenate([found, window_scores(_permuted(rows_of, size, many, rng)[:, sessions], pool, size=size)])
        deviations = _in_deviations(found)
        density = deviations[:, _ALONE:].sum(axis=1, keepdims=True)
        parts = np.concatenate([deviations[:, :_ALONE], _in_deviations(density)], axis=1)
        as_strange = int((parts[1:].max(axis=1) >= (parts[0] / np.sqrt(dispersion)).max()).sum())
        if as_strange >= ENOUGH or len(found) > most:
            break
    return Compared(
        p=(1 + as_strange) / len(found),
        permutations=len(found) - 1,
        as_strange=as_strange,
        scores=found[0],
        usual=found[1:].mean(axis=0),
        deviations=deviations[0],
        density_deviation=float(density.std()),
        parts=parts[0],
    )


def dispersion_of(pool: Pool, windows: list[NDArray[np.bool_]], sessions: NDArray[np.intp], rng: np.random.Generator) -> Numbers:
    """[5]: how much farther the reference's own windows lie from its other rows than permuted ones do, as a variance; at least 1."""
    ones = np.ones(len(Part))
    found = [compare(pool, one, sessions, dispersion=ones, most=AT_ONCE, rng=rng).parts for one in windows]
    dispersion: Numbers = np.maximum(1.0, (np.stack(found) ** 2).mean(axis=0))
    return dispersion


def _permuted(rows_of: NDArray[np.intp], size: int, many: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """[many, sessions]: 1 for those assigned to the window, one after another until it has ``size`` rows."""
    order = rng.random((many, len(rows_of)), dtype=np.float32).argsort(axis=1)
    rows = rows_of[order]
    chosen = np.zeros(order.shape, dtype=np.float32)
    np.put_along_axis(chosen, order, (np.cumsum(rows, axis=1) - rows < size).astype(np.float32), axis=1)
    return chosen


def _in_deviations(found: Numbers) -> Numbers:
    """Over the window and the permutations alike: had one permutation been the window, it would have been treated the same."""
    return np.asarray((found - found.mean(axis=0)) / np.maximum(found.std(axis=0), _SMALLEST_SPREAD))
