"""Six numbers that say how far the embeddings of a window lie from those of a reference.

In: vectors of rows, and what a reference keeps of its own. Out: what is known of each row, and the scores of many windows at
once. How large a score must be is not said here.

1. nearest neighbour: the mean cosine distance of a row to the anchor that is most like it. Sees rows unlike anything known.
2. centroid: the squared distance of the mean vectors, |m - r|^2. Sees a small change that all rows share, such as of style.
3. cluster counts: the sum over clusters of (p - q)^2 / q (Pearson 1900), p and q being shares of rows. Sees a change of topics.
4. novelty share: the share of rows farther from every anchor than all but a few rows of the reference. Sees a few strange rows.
5. close company, 6. wide company: how many rows of its own window lie nearer to a row than its 3rd (20th) nearest anchor; the mean
   over the rows that have most. Sees a topic that has become frequent, also where the reference holds rows that are stranger. The
   ratio of two densities by nearest neighbours (Loftsgaarden and Quesenberry 1965), at the place where it is largest.

No single one sees all of these. On what people really write the first four alone find little: users' traffic is so mixed that its own
oddest requests lie farther out than a new topic does.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

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
    CLOSE = "close company"
    WIDE = "wide company"


SQUARED = np.array([False, True, True, False, False, False])  # which of them grow with the square of a change
SCALES = (3, 20)  # close and wide: the nearest anchor of this rank is how far a row's company may be
MOST_COMPANY = 0.025  # of a window's rows are those with most company: half of the smallest share of news that should be found


@dataclass(frozen=True, kw_only=True)
class RowScores:
    """What is known of each of n rows: the nearest anchor and cluster, and how far company may be."""

    distance: Numbers  # [n], cosine
    anchor: NDArray[np.intp]  # [n]
    cluster: NDArray[np.intp]  # [n]
    reach: NDArray[np.float32]  # [n, 2]: the cosine that company must exceed, close and wide


def score_rows(rows: Vectors, *, anchors: Vectors, centres: Vectors) -> RowScores:
    """All vectors of length one (or zero: such a row is unlike everything). Distances lie in [0, 2]."""
    ranks = [min(scale, len(anchors)) for scale in SCALES]
    nearest, anchor, reach = [], [], []
    for similar in (block @ anchors.T for block in _blocks(rows)):
        anchor.append(similar.argmax(axis=1))
        nearest.append(similar.max(axis=1))
        reach.append(np.stack([-np.partition(-similar, rank - 1, axis=1)[:, rank - 1] for rank in ranks], axis=1))
    return RowScores(
        distance=np.clip(1.0 - np.concatenate(nearest).astype(np.float64), 0.0, 2.0),
        anchor=np.concatenate(anchor),
        cluster=(rows @ centres.T).argmax(axis=1),
        reach=np.concatenate(reach),
    )


def company(rows: Vectors, reach: NDArray[np.float32]) -> NDArray[np.bool_]:
    """[n, d], [n, 2] -> [2, n, n]: is the second row nearer to the first than its anchor of that rank? Nobody is company to himself."""
    similar = rows @ rows.T
    near = np.stack([similar > reach[:, scale, None] + _ROUNDING for scale in range(len(SCALES))])
    near[:, np.arange(len(rows)), np.arange(len(rows))] = False
    return near


def most_company(counts: NDArray[np.floating], *, size: int) -> Numbers:
    """[..., rows] -> [...]: the mean over those of a window's ``size`` rows that have most; rows that are not in it count below zero."""
    many = min(max(1, round(MOST_COMPANY * size)), counts.shape[-1])
    highest: Numbers = np.maximum(-np.partition(-counts, many - 1, axis=-1)[..., :many], 0.0).mean(axis=-1, dtype=np.float64)
    return highest


def traits(rows: Vectors, scores: RowScores, *, novel_beyond: float, clusters: int) -> Numbers:
    """[n, 2 + clusters + d]: distance, novel or not, one place per cluster, the vector. A window is the mean of its rows' traits."""
    made = np.zeros((len(rows), 2 + clusters + rows.shape[1]))
    made[:, 0] = scores.distance
    made[:, 1] = scores.distance > novel_beyond
    made[np.arange(len(rows)), 2 + scores.cluster] = 1.0
    made[:, 2 + clusters :] = rows
    return made


def window_scores(window: Numbers, before: Numbers, gathered: Numbers, *, shares: Numbers) -> Numbers:
    """Mean traits [..., 2 + clusters + d] of windows and of what they are compared with, most company [..., 2] -> [..., 6].

    ``shares`` [clusters] are the reference's. The novelty share and the company are taken as their roots, whose noise is about the
    same however rare novelty is and however dense a topic.
    """
    clusters = len(shares)
    moved = window - before
    weights = 1 / (shares + 0.5 / clusters)  # half a share more: what few rows of a rare cluster do must not decide alone
    return np.concatenate(
        [
            moved[..., :1],
            (moved[..., 2 + clusters :] ** 2).sum(axis=-1, keepdims=True),
            (moved[..., 2 : 2 + clusters] ** 2 * weights).sum(axis=-1, keepdims=True),
            np.sqrt(np.maximum(window[..., 1:2], 0.0)) - np.sqrt(np.maximum(before[..., 1:2], 0.0)),
            np.sqrt(gathered),
        ],
        axis=-1,
    )


def even(scores: Numbers) -> Numbers:
    """Cube roots of the squared scores (Wilson and Hilferty 1931): about normal without drift, so that the six can be compared."""
    return np.where(SQUARED, np.cbrt(scores), scores)


def of_length_one(rows: NDArray[np.floating]) -> Vectors:
    """Rows of zeroes stay as they are."""
    exact = rows.astype(np.float64)
    largest = np.abs(exact).max(axis=1, keepdims=True, initial=0.0)
    exact = exact / np.where(largest > 0, largest, 1.0)  # first to the size of one: squares of huge numbers do not fit
    length = np.linalg.norm(exact, axis=1, keepdims=True)
    return (exact / np.where(length > 0, length, 1.0)).astype(np.float32)


def cluster_centres(rows: Vectors, *, clusters: int, chance: np.random.Generator) -> Vectors:
    """k-means by cosine (Dhillon and Modha 2001), begun by k-means++ (Arthur and Vassilvitskii 2007). At most ``clusters`` centres."""
    centres = rows[chance.integers(len(rows), size=1)]
    apart = np.maximum(0.0, 1.0 - (rows @ centres[0]).astype(np.float64))
    while len(centres) < clusters and apart.max(initial=0.0) > 1e-6:
        drawn = rows[chance.choice(len(rows), p=apart / apart.sum())]
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
