"""How often does chance alone make a window look as strange as this one?

In: the rows of a window and of a reference in one pool, and which of them share a session. Out: a p-value and what it rests on.
Thresholds are not known here.

Without drift it is chance which sessions fell into the window and which into the reference; so the labels "window" and "reference" are
dealt out anew, whole sessions at a time, and the real window's rank among those dealt is its p-value: right for a reference of any
size, because the luck of the reference is dealt out too (a permutation test; Fisher 1935, Pitman 1937). It is exact where sessions have
equally many rows, and near it else: a dealing stops with the session that fills the window. Windows drawn from the
reference's rows alone, the other way, leave that luck out, and were found 34 times as often as they were allowed to be.

The eight scores are counted in their deviations over all dealings. Those of company, which see the same thing, are added up; the largest
of the five numbers that are left is the window's, and each dealing has its own (a max-type test; Westfall and Young 1993). So all eight
cost one test, and each of the five is as rare where it stands alone.
A window that is not strange is known to be none after few dealings: they stop once enough went as far (Besag and Clifford 1991).
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from flywheel.drift.embedding_scores import Numbers, Pool, Score, window_scores

AT_ONCE = 250  # dealings; bounds the memory
ENOUGH = 20  # dealings as strange as the window: no small p-value is left to find
_SMALLEST_SPREAD = 1e-9  # of a score without noise: rounding must not look like drift


class Part(StrEnum):
    """What decides, in this order: the largest of these."""

    NEAREST = Score.NEAREST
    CENTROID = Score.CENTROID
    CLUSTERS = Score.CLUSTERS
    NOVELTY = Score.NOVELTY
    COMPANY = "company"


_ALONE = len(Part) - 1  # so many scores come first and stand alone; the others are added up


@dataclass(frozen=True, kw_only=True)
class Compared:
    """One window against the dealings."""

    p: float
    dealings: int
    as_strange: int  # of them
    scores: Numbers  # [8], the window's
    usual: Numbers  # [8], the means of the dealings
    deviations: Numbers  # [8], how far the window's lie from them
    company_deviation: float  # of the four scores of company, added up; their mean is 0
    parts: Numbers  # [5], in deviations; not yet divided by the spread


def compare(
    pool: Pool, in_window: NDArray[np.bool_], sessions: NDArray[np.intp], *, spread: Numbers, most: int, chance: np.random.Generator
) -> Compared:
    """``in_window`` [N]; ``sessions`` [N], numbers from 0 of what is dealt out as one; ``spread`` [5], 1 or more: see ``spread_of``."""
    size = int(in_window.sum())
    rows_of = np.bincount(sessions)
    found = window_scores(in_window[None].astype(np.float32), pool, size=size)
    while True:
        many = min(AT_ONCE, most + 1 - len(found))
        found = np.concatenate([found, window_scores(_dealt(rows_of, size, many, chance)[:, sessions], pool, size=size)])
        deviations = _in_deviations(found)
        company = deviations[:, _ALONE:].sum(axis=1, keepdims=True)
        parts = np.concatenate([deviations[:, :_ALONE], _in_deviations(company)], axis=1)
        as_strange = int((parts[1:].max(axis=1) >= (parts[0] / np.sqrt(spread)).max()).sum())
        if as_strange >= ENOUGH or len(found) > most:
            break
    return Compared(
        p=(1 + as_strange) / len(found),
        dealings=len(found) - 1,
        as_strange=as_strange,
        scores=found[0],
        usual=found[1:].mean(axis=0),
        deviations=deviations[0],
        company_deviation=float(company.std()),
        parts=parts[0],
    )


def spread_of(pool: Pool, windows: list[NDArray[np.bool_]], sessions: NDArray[np.intp], chance: np.random.Generator) -> Numbers:
    """[5]: how much farther the reference's own windows lie from its other rows than dealt ones do, as a variance; at least 1."""
    ones = np.ones(len(Part))
    found = [compare(pool, one, sessions, spread=ones, most=AT_ONCE, chance=chance).parts for one in windows]
    spread: Numbers = np.maximum(1.0, (np.stack(found) ** 2).mean(axis=0))
    return spread


def _dealt(rows_of: NDArray[np.intp], size: int, many: int, chance: np.random.Generator) -> NDArray[np.float32]:
    """[many, sessions]: 1 for those dealt to the window, one after another until it has ``size`` rows."""
    order = chance.random((many, len(rows_of)), dtype=np.float32).argsort(axis=1)
    rows = rows_of[order]
    chosen = np.zeros(order.shape, dtype=np.float32)
    np.put_along_axis(chosen, order, (np.cumsum(rows, axis=1) - rows < size).astype(np.float32), axis=1)
    return chosen


def _in_deviations(found: Numbers) -> Numbers:
    """Over the window and the dealings alike: had one dealing been the window, it would have been treated the same."""
    return np.asarray((found - found.mean(axis=0)) / np.maximum(found.std(axis=0), _SMALLEST_SPREAD))
