"""Permutation test of the embeddings of a window against a reference.

In: the rows of a window and of a reference in one pool, and which of them share a session. Out: a p-value and its parts. Contains no
thresholds.

Without drift, sessions are exchangeable between window and reference. So the labels "window" and "reference" are permuted by whole
sessions, and the rank of the real window among the permuted ones gives its p-value (Fisher 1935; Pitman 1937). The p-value is valid for a
reference of any size, because the sampling error of the reference is permuted too; windows drawn from the reference alone gave 34 times
the allowed false alarms. It is exact if all sessions have the same number of rows, else approximate: a permutation ends with the session
that fills it.

The eight scores are standardised over all permutations. The four density scores detect the same kind of change and are summed. The
statistic is the largest of the remaining five (a max-type test; Westfall and Young 1993), so all eight cost one test. Permutations stop
early once enough of them exceed the window (Besag and Clifford 1991).
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from flywheel.drift.embedding_scores import Numbers, Pool, Score, window_scores

AT_ONCE = 250  # permutations per batch; bounds the memory
ENOUGH = 20  # permutations at least as extreme as the window, after which it stops: p cannot become small
_MIN_DEVIATION = 1e-9  # lower bound on the standard deviation of a score, so that rounding does not look like drift


class Part(StrEnum):
    """The five parts of the statistic, in the order of the arrays. The largest decides."""

    NEAREST = Score.NEAREST
    CENTROID = Score.CENTROID
    CLUSTERS = Score.CLUSTERS
    NOVELTY = Score.NOVELTY
    DENSITY = "local density"


_ALONE = len(Part) - 1  # the first scores, which are parts by themselves; the others are summed


@dataclass(frozen=True, kw_only=True)
class Compared:
    """One window against its permutations."""

    p: float
    permutations: int
    as_strange: int  # permutations at least as extreme as the window
    scores: Numbers  # [8], the window's
    usual: Numbers  # [8], the means of the permutations
    deviations: Numbers  # [8], the window's standardised scores
    density_deviation: float  # standard deviation of the sum of the four density scores
    parts: Numbers  # [5], in deviations; not yet divided by the dispersion


def compare(
    pool: Pool, in_window: NDArray[np.bool_], sessions: NDArray[np.intp], *, dispersion: Numbers, most: int, rng: np.random.Generator
) -> Compared:
    """``in_window`` [N]; ``sessions`` [N], session numbers from 0; ``dispersion`` [5], at least 1: see ``dispersion_of``."""
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
    """[5]: variance of the parts over the reference's own windows; it is 1 for permuted ones. At least 1."""
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
    """Standardised over the window and the permutations together, so that all of them are exchangeable."""
    return np.asarray((found - found.mean(axis=0)) / np.maximum(found.std(axis=0), _MIN_DEVIATION))
