"""Eight numbers that say how far the embeddings of a window lie from those of a reference.

In: vectors of rows, the anchors of a reference, and which rows are the window's. Out: what is known of each row, and the scores of many
windows at once. How large a score must be is not said here.

1. nearest neighbour: the mean cosine distance of a row to the anchor that is most like it. Sees rows unlike anything known.
2. centroid: the squared distance of the mean vectors, |m - r|^2. Sees a small change that all rows share, such as of style.
3. cluster counts: the sum over clusters of (p - q)^2 / q (Pearson 1900), p and q being shares of rows. Sees a change of topics.
4. novelty share: the share of rows farther from every anchor than all but a few rows are. Sees a few strange rows.
5. close density, 6. wide density (local density): how many rows of its own window lie nearer to a row than its 3rd (20th) nearest
   anchor; the mean over the rows that have most. Sees a topic that has become frequent, also where the reference has rows that are
   stranger. The ratio of two densities by nearest neighbours (Loftsgaarden and Quesenberry 1965), at the place where it is largest.
7. close surplus, 8. wide surplus: the same density beyond what the window's part of all rows near by would be, in deviations of that
   number; the mean over the rows that have most. Sees a small topic beside places where the reference is dense too.

No single one sees all of these. On what people really write the first four alone find little: users' traffic is so mixed that its own
oddest requests lie farther out than a new topic does.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
Numbers = NDArray[np.float64]
ROUNDS_OF_CLUSTERING = 20
ROWS_AT_ONCE = 1024  # of similarities held in memory: times the anchors, four bytes each
_ROUNDING = 1e-6  # of a cosine: equal rows are not nearer than equal anchors


class Score(StrEnum):
    """The columns of every array of scores, in this order."""

    NEAREST = "nearest neighbour"
    CENTROID = "centroid"
    CLUSTERS = "cluster counts"
    NOVELTY = "novelty share"
    CLOSE = "close density"
    WIDE = "wide density"
    CLOSE_SURPLUS = "close surplus"
    WIDE_SURPLUS = "wide surplus"


SCALES = (3, 20)  # close and wide: the nearest anchor of this rank is how far a row's neighbours may be
DENSEST = 0.025  # of a window's rows are those with the highest local density: half of the smallest share of news that should be found


@dataclass(frozen=True, kw_only=True)
class RowScores:
    """What is known of each of n rows: the nearest anchor and cluster, and how far a neighbour may be."""

    distance: Numbers  # [n], cosine
    anchor: NDArray[np.intp]  # [n]
    cluster: NDArray[np.intp]  # [n]
    reach: NDArray[np.float32]  # [n, 2]: the cosine that a neighbour must exceed, close and wide


def score_rows(rows: Vectors, *, anchors: Vectors, centres: Vectors) -> RowScores:
    """All vectors of length one (or zero: such a row is unlike everything). Distances lie in [0, 2]."""
    ranks = [min(scale, len(anchors)) for scale in SCALES]
    nearest, anchor, reach = [], [], []
    for similar in (block @ anchors.T for block in _blocks(rows)):
        anchor.append(similar.argmax(axis=1))
        nearest.append(similar.max(axis=1))
        places = [len(anchors) - rank for rank in ranks]  # of the ascending order
        reach.append(np.partition(similar, places, axis=1)[:, places])
    return RowScores(
        distance=np.clip(1.0 - np.concatenate(nearest).astype(np.float64), 0.0, 2.0),
        anchor=np.concatenate(anchor),
        cluster=(rows @ centres.T).argmax(axis=1),
        reach=np.concatenate(reach),
    )


def local_density(rows: Vectors, reach: NDArray[np.float32]) -> NDArray[np.bool_]:
    """[n, d], [n, 2] -> [2, n, n]: is the second row nearer to the first than its anchor of that rank? No row is its own neighbour."""
    similar = rows @ rows.T
    near = np.stack([similar > reach[:, scale, None] + _ROUNDING for scale in range(len(SCALES))])
    near[:, np.arange(len(rows)), np.arange(len(rows))] = False
    return near


def densest(counts: NDArray[np.floating], *, size: int) -> Numbers:
    """[..., rows] -> [...]: the mean over those of a window's ``size`` rows that have most; rows that are not in it count below zero."""
    many = min(max(1, round(DENSEST * size)), counts.shape[-1])
    highest: Numbers = np.maximum(-np.partition(-counts, many - 1, axis=-1)[..., :many], 0.0).mean(axis=-1, dtype=np.float64)
    return highest


def traits(rows: Vectors, scores: RowScores, *, novel_beyond: float, clusters: int) -> Vectors:
    """[n, 2 + clusters + d]: distance, novel or not, one place per cluster, the vector. A window is the mean of its rows' traits."""
    made = np.zeros((len(rows), 2 + clusters + rows.shape[1]), dtype=np.float32)
    made[:, 0] = scores.distance
    made[:, 1] = scores.distance > novel_beyond
    made[np.arange(len(rows)), 2 + scores.cluster] = 1.0
    made[:, 2 + clusters :] = rows
    return made


@dataclass(frozen=True, kw_only=True)
class Pool:
    """Rows of a window and of a reference side by side; what is known of each does not depend on which of the two it came with."""

    scores: RowScores
    traits: Vectors  # [N, 2 + clusters + d]
    near: tuple[Any, Any]  # [N, N] sparse, close and wide: is the second row a neighbour of the first?
    clusters: int
    novel_beyond: float


def pooled(rows: Vectors, *, anchors: Vectors, centres: Vectors, novelty_tail: float) -> Pool:
    """``rows`` [N, d]. ``novelty_tail``: the share of all of them that counts as novel."""
    from scipy.sparse import csr_array  # at first use: it costs every process that knows a verdict

    scores = score_rows(rows, anchors=anchors, centres=centres)
    novel_beyond = float(np.quantile(scores.distance, 1 - novelty_tail, method="higher"))
    near = []
    for scale in local_density(rows, scores.reach):
        columns = (np.flatnonzero(scale) % len(rows)).astype(np.int32)  # four times as fast as turning a dense array of numbers
        starts = np.concatenate([[0], np.cumsum(scale.sum(axis=1))]).astype(np.int32)
        near.append(csr_array((np.ones(len(columns), dtype=np.float32), columns, starts), shape=scale.shape))
    return Pool(
        scores=scores,
        traits=traits(rows, scores, novel_beyond=novel_beyond, clusters=len(centres)),
        near=(near[0], near[1]),
        clusters=len(centres),
        novel_beyond=novel_beyond,
    )


def window_scores(chosen: NDArray[np.float32], pool: Pool, *, size: int) -> Numbers:
    """[many, N], 1 for the rows of a window and 0 for those it is compared with -> [many, 8]. ``size``: rows of the window judged.

    The squared scores enter by their cube roots (Wilson and Hilferty 1931), the novelty share and the density by their square roots:
    so each is about normal and its noise about the same however rare novelty is and however dense a topic.
    """
    inside = chosen.sum(axis=1, dtype=np.float64)[:, None]
    outside = chosen.shape[1] - inside
    totals = (chosen @ pool.traits).astype(np.float64)
    window = totals / np.maximum(inside, 1)
    before = (pool.traits.sum(axis=0, dtype=np.float64) - totals) / np.maximum(outside, 1)
    moved, clusters = window - before, slice(2, 2 + pool.clusters)
    shares = pool.traits[:, clusters].mean(axis=0, dtype=np.float64)
    weights = 1 / (shares + 0.5 / pool.clusters)  # half a share more: what few rows of a rare cluster do must not decide alone
    parts = [
        moved[:, 0],
        np.cbrt((moved[:, clusters.stop :] ** 2).sum(axis=1)),
        np.cbrt((moved[:, clusters] ** 2 * weights).sum(axis=1)),
        np.sqrt(np.maximum(window[:, 1], 0.0)) - np.sqrt(np.maximum(before[:, 1], 0.0)),
    ]
    counts = [(near @ chosen.T).T for near in pool.near]
    parts += [np.sqrt(densest(np.where(chosen > 0, count, -1.0), size=size)) for count in counts]
    for count, near in zip(counts, pool.near, strict=True):
        beyond = surplus(count, near, part=inside / chosen.shape[1])
        parts.append(densest(np.where(chosen > 0, beyond, -1.0), size=size))
    return np.stack(parts, axis=-1)


def surplus(counts: NDArray[np.float32], near: Any, *, part: Numbers) -> NDArray[np.floating]:
    """[many, N]: local density ``counts`` beyond ``part`` [many, 1] of all rows near by, in binomial deviations. One more in the variance:
    a row with one neighbour is no crowd."""
    around, part32 = np.asarray(near.sum(axis=1), dtype=np.float32), part.astype(np.float32)
    found: NDArray[np.floating] = (counts - around * part32) / np.sqrt(around * (part32 * (1 - part32)) + np.float32(1.0))
    return found


def of_length_one(rows: NDArray[np.floating]) -> Vectors:
    """Rows of zeroes stay as they are."""
    exact = rows.astype(np.float64)
    largest = np.abs(exact).max(axis=1, keepdims=True, initial=0.0)
    exact = exact / np.where(largest > 0, largest, 1.0)  # first to the size of one: squares of huge numbers do not fit
    length = np.linalg.norm(exact, axis=1, keepdims=True)
    return (exact / np.where(length > 0, length, 1.0)).astype(np.float32)


def cluster_centres(rows: Vectors, *, clusters: int, rng: np.random.Generator) -> Vectors:
    """k-means by cosine (Dhillon and Modha 2001), begun by k-means++ (Arthur and Vassilvitskii 2007). At most ``clusters`` centres."""
    centres = rows[rng.integers(len(rows), size=1)]
    apart = np.maximum(0.0, 1.0 - (rows @ centres[0]).astype(np.float64))
    while len(centres) < clusters and apart.max(initial=0.0) > 1e-6:
        drawn = rows[rng.choice(len(rows), p=apart / apart.sum())]
        centres = np.vstack([centres, drawn])
        apart = np.minimum(apart, np.maximum(0.0, 1.0 - (rows @ drawn).astype(np.float64)))
    for _ in range(ROUNDS_OF_CLUSTERING):
        belongs = (rows @ centres.T).argmax(axis=1)
        sums = np.zeros_like(centres)
        np.add.at(sums, belongs, rows)
        moved = of_length_one(np.where(np.abs(sums).sum(axis=1, keepdims=True) > 0, sums, centres))
        if np.array_equal(moved, centres):
            break
        centres = moved
    return centres


def _blocks(rows: Vectors) -> Iterator[Vectors]:
    for start in range(0, len(rows), ROWS_AT_ONCE):
        yield rows[start : start + ROWS_AT_ONCE]
