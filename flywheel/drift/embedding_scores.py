"""Eight drift scores for the embeddings of a window against those of a reference.

In: vectors of rows, the anchors of a reference (vectors of past rows), and which rows belong to the window. Out: the distances and the
cluster of each row, and the scores of many windows at once. Contains no thresholds.

1. nearest neighbour: the mean cosine distance of a row to its nearest anchor. Detects rows that are unlike all rows of the reference.
2. centroid: the squared distance of the mean vectors, |m - r|^2. Detects a small change that all rows share, such as of style.
3. cluster counts: the sum over clusters of (p - q)^2 / q (Pearson 1900), p and q being shares of rows. Detects a change of topics.
4. novelty share: the share of rows whose distance to the nearest anchor exceeds the (1 - novelty_tail) quantile of all rows. Detects a
   few unusual rows.
5. close density, 6. wide density: local density at two radii, the number of rows of the same window within the distance to the row's 3rd
   (close) or 20th (wide) nearest anchor. Mean over the densest rows. Detects a topic that has become frequent, also where the reference
   has more unusual rows. The largest ratio of two nearest-neighbour densities (Loftsgaarden and Quesenberry 1965).
7. close surplus, 8. wide surplus: standardised excess of 5. and 6., (neighbours in the window - expected neighbours) / standard
   deviation, where expected = neighbours in window and reference times the window's share of all rows. Mean over the densest rows.
   Detects a small topic in a region where the reference is dense too.

No score detects all of these changes. On real user traffic the first four detect little: the most unusual existing requests are farther
from the anchors than a new topic is.
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
ROWS_AT_ONCE = 1024  # rows per block; a block of similarities needs 4 * ROWS_AT_ONCE * anchors bytes
_ROUNDING = 1e-6  # tolerance on cosine similarity, so that rounding does not rank identical rows before identical anchors


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


SCALES = (3, 20)
"""Ranks of the anchor whose distance is the neighbourhood radius of a row: 3rd nearest (close) and 20th nearest (wide)."""
TOP_DENSITY_SHARE = 0.025
"""Share of a window's rows, taken in order of local density, that the density scores average. Half of the smallest topic share that must
be detected."""


@dataclass(frozen=True, kw_only=True)
class RowScores:
    """The nearest anchor, the nearest cluster and the neighbourhood radius of each of n rows."""

    distance: Numbers  # [n], cosine distance to the nearest anchor
    anchor: NDArray[np.intp]  # [n]
    cluster: NDArray[np.intp]  # [n]
    neighbour_similarity: NDArray[np.float32]  # [n, 2]: cosine similarity above which another row is a neighbour, close and wide


def score_rows(rows: Vectors, *, anchors: Vectors, centres: Vectors) -> RowScores:
    """All vectors have length 1 or 0; a zero row has distance 1 to every anchor. Distances lie in [0, 2]."""
    ranks = [min(scale, len(anchors)) for scale in SCALES]
    nearest, anchor, neighbour_similarity = [], [], []
    for similar in (block @ anchors.T for block in _blocks(rows)):
        anchor.append(similar.argmax(axis=1))
        nearest.append(similar.max(axis=1))
        at = [len(anchors) - rank for rank in ranks]  # in ascending order
        neighbour_similarity.append(np.partition(similar, at, axis=1)[:, at])
    return RowScores(
        distance=np.clip(1.0 - np.concatenate(nearest).astype(np.float64), 0.0, 2.0),
        anchor=np.concatenate(anchor),
        cluster=(rows @ centres.T).argmax(axis=1),
        neighbour_similarity=np.concatenate(neighbour_similarity),
    )


def local_density(rows: Vectors, neighbour_similarity: NDArray[np.float32]) -> NDArray[np.bool_]:
    """[n, d], [n, 2] -> near[2, n, n]. near[s, i, j] is True if row j is nearer to row i than row i's anchor of rank SCALES[s]; the
    diagonal is False."""
    similar = rows @ rows.T
    near = np.stack([similar > neighbour_similarity[:, scale, None] + _ROUNDING for scale in range(len(SCALES))])
    near[:, np.arange(len(rows)), np.arange(len(rows))] = False
    return near


def densest(counts: NDArray[np.floating], *, size: int) -> Numbers:
    """[..., rows] -> [...]: mean of the largest round(TOP_DENSITY_SHARE * size) values. The caller passes -1 for rows outside the window;
    negative values count as 0."""
    many = min(max(1, round(TOP_DENSITY_SHARE * size)), counts.shape[-1])
    highest: Numbers = np.maximum(-np.partition(-counts, many - 1, axis=-1)[..., :many], 0.0).mean(axis=-1, dtype=np.float64)
    return highest


def row_features(rows: Vectors, scores: RowScores, *, novel_beyond: float, clusters: int) -> Vectors:
    """[n, 2 + clusters + d]: nearest-anchor distance, 1 if novel, one-hot cluster, the vector. The mean over a window's rows gives its
    features."""
    made = np.zeros((len(rows), 2 + clusters + rows.shape[1]), dtype=np.float32)
    made[:, 0] = scores.distance
    made[:, 1] = scores.distance > novel_beyond
    made[np.arange(len(rows)), 2 + scores.cluster] = 1.0
    made[:, 2 + clusters :] = rows
    return made


@dataclass(frozen=True, kw_only=True)
class Pool:
    """Rows of a window and of a reference together. The values of a row do not depend on which of the two it belongs to."""

    scores: RowScores
    features: Vectors  # [N, 2 + clusters + d]
    near: tuple[Any, Any]  # sparse [N, N], close and wide: 1 where the second row is a neighbour of the first
    clusters: int
    novel_beyond: float


def pooled(rows: Vectors, *, anchors: Vectors, centres: Vectors, novelty_tail: float) -> Pool:
    """``rows`` [N, d]. ``novelty_tail``: the share of all of them that counts as novel."""
    from scipy.sparse import csr_array  # on first use: the import is slow, and most processes import this package

    scores = score_rows(rows, anchors=anchors, centres=centres)
    novel_beyond = float(np.quantile(scores.distance, 1 - novelty_tail, method="higher"))
    near = []
    for scale in local_density(rows, scores.neighbour_similarity):
        columns = (np.flatnonzero(scale) % len(rows)).astype(np.int32)  # 4 times faster than converting a dense float array
        starts = np.concatenate([[0], np.cumsum(scale.sum(axis=1))]).astype(np.int32)
        near.append(csr_array((np.ones(len(columns), dtype=np.float32), columns, starts), shape=scale.shape))
    return Pool(
        scores=scores,
        features=row_features(rows, scores, novel_beyond=novel_beyond, clusters=len(centres)),
        near=(near[0], near[1]),
        clusters=len(centres),
        novel_beyond=novel_beyond,
    )


def window_scores(chosen: NDArray[np.float32], pool: Pool, *, size: int) -> Numbers:
    """[windows, N], 1 for the rows of a window and 0 for those it is compared with -> [windows, 8]. ``size``: rows of the judged window.

    The squared scores enter by their cube roots (Wilson and Hilferty 1931), the novelty share and the density by their square roots:
    the scores are then approximately normal, with a variance that hardly depends on how rare novel rows are or how dense a topic is.
    """
    inside = chosen.sum(axis=1, dtype=np.float64)[:, None]
    outside = chosen.shape[1] - inside
    totals = (chosen @ pool.features).astype(np.float64)
    window = totals / np.maximum(inside, 1)
    before = (pool.features.sum(axis=0, dtype=np.float64) - totals) / np.maximum(outside, 1)
    change, clusters = window - before, slice(2, 2 + pool.clusters)
    shares = pool.features[:, clusters].mean(axis=0, dtype=np.float64)
    weights = 1 / (shares + 0.5 / pool.clusters)  # plus half a uniform share: a few rows in a rare cluster must not dominate the sum
    parts = [
        change[:, 0],
        np.cbrt((change[:, clusters.stop :] ** 2).sum(axis=1)),
        np.cbrt((change[:, clusters] ** 2 * weights).sum(axis=1)),
        np.sqrt(np.maximum(window[:, 1], 0.0)) - np.sqrt(np.maximum(before[:, 1], 0.0)),
    ]
    counts = [(near @ chosen.T).T for near in pool.near]
    parts += [np.sqrt(densest(np.where(chosen > 0, count, -1.0), size=size)) for count in counts]
    for count, near in zip(counts, pool.near, strict=True):
        beyond = surplus(count, near, part=inside / chosen.shape[1])
        parts.append(densest(np.where(chosen > 0, beyond, -1.0), size=size))
    return np.stack(parts, axis=-1)


def surplus(counts: NDArray[np.float32], near: Any, *, part: Numbers) -> NDArray[np.floating]:
    """[windows, N]: (``counts`` - expected) / binomial standard deviation, where expected = ``part`` [windows, 1] times all neighbours.

    Adds 1 to the variance, so that a single neighbour gives a small surplus.
    """
    around, part32 = np.asarray(near.sum(axis=1), dtype=np.float32), part.astype(np.float32)
    found: NDArray[np.floating] = (counts - around * part32) / np.sqrt(around * (part32 * (1 - part32)) + np.float32(1.0))
    return found


def normalized(rows: NDArray[np.floating]) -> Vectors:
    """Rows scaled to length 1. Zero rows stay zero."""
    exact = rows.astype(np.float64)
    largest = np.abs(exact).max(axis=1, keepdims=True, initial=0.0)
    exact = exact / np.where(largest > 0, largest, 1.0)  # scaled first: the squares of large numbers would overflow
    length = np.linalg.norm(exact, axis=1, keepdims=True)
    return (exact / np.where(length > 0, length, 1.0)).astype(np.float32)


def cluster_centres(rows: Vectors, *, clusters: int, rng: np.random.Generator) -> Vectors:
    """At most ``clusters`` centres. Spherical k-means (Dhillon and Modha 2001), k-means++ start (Arthur and Vassilvitskii 2007)."""
    centres = rows[rng.integers(len(rows), size=1)]
    distance_to_centre = np.maximum(0.0, 1.0 - (rows @ centres[0]).astype(np.float64))
    while len(centres) < clusters and distance_to_centre.max(initial=0.0) > 1e-6:
        drawn = rows[rng.choice(len(rows), p=distance_to_centre / distance_to_centre.sum())]
        centres = np.vstack([centres, drawn])
        distance_to_centre = np.minimum(distance_to_centre, np.maximum(0.0, 1.0 - (rows @ drawn).astype(np.float64)))
    for _ in range(ROUNDS_OF_CLUSTERING):
        belongs = (rows @ centres.T).argmax(axis=1)
        sums = np.zeros_like(centres)
        np.add.at(sums, belongs, rows)
        updated = normalized(np.where(np.abs(sums).sum(axis=1, keepdims=True) > 0, sums, centres))
        if np.array_equal(updated, centres):
            break
        centres = updated
    return centres


def _blocks(rows: Vectors) -> Iterator[Vectors]:
    for start in range(0, len(rows), ROWS_AT_ONCE):
        yield rows[start : start + ROWS_AT_ONCE]
