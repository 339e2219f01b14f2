"""What embeddings are compared with: bounded anchors, clusters, and how windows without drift score.

In: vectors of a past period with the ids of their rows, their sessions and their windows. Out: an immutable, hashed
reference. Half of the sessions give the anchors and the clusters, the other half is held out: scores of rows that are
among the anchors would say nothing. Windows drawn from the held-out half, whole sessions at a time, say how large scores get
when nothing moves; windows as they really came say whether one hour differs from another more than such draws do.

Judging a window is not done here. Both halves are the rows with the smallest hashes, so order and redelivery change nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flywheel.drift.embedding_scores import (
    SQUARED,
    Numbers,
    RowScores,
    Vectors,
    cluster_centres,
    company,
    even,
    most_company,
    of_length_one,
    score_rows,
    traits,
    window_scores,
)
from flywheel.drift.reference import Maturity
from flywheel.errors import InvalidInput, Refused
from flywheel.ids import EventId, WorkloadId, derive, unit_interval
from flywheel.windows.plausible import CLOCKS, check_moments, check_number, check_text, check_whole
from flywheel.windows.sample import rank

WINDOWS_FOR_A_SPREAD = 12  # fewer real windows do not tell how much one hour differs from another
DRAWN_AT_ONCE = 500  # windows; bounds the memory of a draw
DRAWS_FOR_BIAS = 4  # times DRAWN_AT_ONCE windows
_SMALLEST_SPREAD = 1e-6  # of a score without noise: rounding must not look like drift


@dataclass(frozen=True, kw_only=True)
class EmbeddingPolicy:
    """``novelty_tail``: the share of the reference's own rows that counts as novel. Sizes are rows a window is cut down to."""

    anchors: int = 2_000
    held_out: int = 2_000
    clusters: int = 32
    novelty_tail: float = 0.05
    sizes: tuple[int, ...] = (100, 200, 400, 800)
    null_windows: int = 20_000
    seed: int = 0

    def __post_init__(self) -> None:
        for said, number in (
            ("anchors", self.anchors),
            ("held_out", self.held_out),
            ("clusters", self.clusters),
            ("null_windows", self.null_windows),
        ):
            check_whole(number, where=f"embedding policy: {said}", least=1)
        check_whole(self.seed, where="embedding policy: seed")
        check_number(self.novelty_tail, where="embedding policy: novelty_tail", most=1.0)
        if not isinstance(self.sizes, tuple) or len(set(self.sizes)) < len(self.sizes):
            raise InvalidInput(
                "sizes of windows must differ", where="embedding policy: sizes", value=self.sizes, remedy="Give each size once, as a tuple."
            )
        for size in self.sizes:
            check_whole(size, where="embedding policy: sizes", least=1)


@dataclass(frozen=True, kw_only=True)
class NullScores:
    """How windows of one size score when nothing moved."""

    mean: Numbers  # [6], of the scores made even
    deviation: Numbers  # [6]
    spread: Numbers  # [6], 1 or more: variance of real windows over that of drawn ones
    highest: Numbers  # [null_windows], ascending: the largest of the six in deviations from their means


@dataclass(frozen=True, kw_only=True)
class EmbeddingReference:
    """Belongs to the workload. Arrays cannot be written to; ``id`` is the hash of all that a verdict depends on."""

    id: str
    workload: WorkloadId
    start: datetime
    end: datetime
    maturity: Maturity
    pinned_at: datetime
    rows: int
    anchors: Vectors  # [A, d]
    anchor_ids: tuple[EventId, ...]
    centres: Vectors  # [K, d]
    shares: Numbers  # [K], of held-out rows
    traits: Numbers  # [2 + K + d], means over the held-out rows
    held_out: int
    novel_beyond: float
    null: dict[int, NullScores]  # by window size
    real_windows: int  # behind the spread; 0 where it was not measured


def pin_embeddings(
    *,
    vectors: NDArray[np.floating],
    ids: Sequence[EventId],
    sessions: Sequence[str] | None = None,
    windows: Sequence[str] | None = None,
    workload: WorkloadId,
    start: datetime,
    end: datetime,
    maturity: Maturity,
    now: datetime,
    policy: EmbeddingPolicy,
) -> EmbeddingReference:
    """``sessions``, ``windows`` name for each row what it came with; left out, rows are independent and hours alike.

    Raises Refused without two sessions, InvalidInput for vectors that cannot be read.
    """
    check_text(workload, where="workload of an embedding reference")
    _check_period(start, end, now, where=f"embedding reference of {workload}")
    rows, ids = checked(vectors, ids, where=f"embedding reference of {workload}")
    for name, labels in (("sessions", sessions), ("windows", windows)):
        for label in set(labels or ()):
            check_text(label, where=f"embedding reference of {workload}, {name}", empty=True)
        if labels is not None and len(labels) != len(vectors):
            raise InvalidInput(
                f"there are {len(labels)} {name} for {len(vectors)} rows",
                where=f"embedding reference of {workload}",
                remedy=f"Name one of the {name} for each row.",
            )
    by_id = dict(zip(ids, range(len(ids)), strict=True))
    labelled = {"session": dict(zip(ids, sessions or ids, strict=True)), "window": dict(zip(ids, windows or ids, strict=True))}
    half = {one: unit_interval("held out", labelled["session"][one]) < 0.5 for one in by_id}
    anchor_ids = smallest([one for one in by_id if not half[one]], policy.anchors)
    held_ids = smallest([one for one in by_id if half[one]], policy.held_out)
    if not anchor_ids or not held_ids:
        raise Refused(
            "too few sessions: one half would be empty",
            where=f"embedding reference of {workload}",
            value=len(set(labelled["session"].values())),
            remedy="Name a period that holds more traffic.",
        )
    anchors, held = rows[[by_id[one] for one in anchor_ids]], rows[[by_id[one] for one in held_ids]]
    centres = cluster_centres(anchors, clusters=policy.clusters, chance=np.random.default_rng((policy.seed, 1)))
    scores = score_rows(held, anchors=anchors, centres=centres)
    novel_beyond = float(np.quantile(scores.distance, 1 - policy.novelty_tail, method="higher"))
    each = traits(held, scores, novel_beyond=novel_beyond, clusters=len(centres))
    shares = np.bincount(scores.cluster, minlength=len(centres)) / len(held)
    sizes = tuple(size for size in sorted(policy.sizes) if size <= len(held))
    groups = np.unique([labelled["session"][one] for one in held_ids], return_inverse=True)[1]
    known = _HeldOut(rows=held, scores=scores, traits=each, groups=groups, shares=shares)
    null = _null(known, sizes, policy)
    real_windows = 0
    if windows is not None and sizes:
        spread, real_windows = _spread(known, [labelled["window"][one] for one in held_ids], null[sizes[0]], sizes[0])
        null = {size: _spread_out(drawn, spread, at=sizes[0], size=size, held_out=len(held)) for size, drawn in null.items()}
    kept = {"anchors": anchors, "centres": centres, "shares": shares, "traits": each.mean(axis=0)}
    for array in (*kept.values(), *(part for drawn in null.values() for part in vars(drawn).values())):
        array.flags.writeable = False
    content = sha256()
    for array in (*kept.values(), *(part for drawn in null.values() for part in vars(drawn).values())):
        content.update(str(array.shape).encode() + array.tobytes())
    return EmbeddingReference(
        id=derive("embeddings", workload, start.isoformat(), end.isoformat(), novel_beyond, *anchor_ids, content.hexdigest()),
        workload=workload,
        start=start,
        end=end,
        maturity=maturity,
        pinned_at=now,
        rows=len(rows),
        anchor_ids=anchor_ids,
        held_out=len(held),
        novel_beyond=novel_beyond,
        null=null,
        real_windows=real_windows,
        **kept,
    )


def checked(vectors: NDArray[np.floating], ids: Sequence[EventId], *, where: str) -> tuple[Vectors, tuple[EventId, ...]]:
    """Vectors of length one and their ids, each id once. Raises InvalidInput for what cannot be compared."""
    array = _array(vectors, where)
    if array.ndim != 2 or array.shape[1] == 0 or not np.issubdtype(array.dtype, np.floating):
        raise InvalidInput(
            "vectors must be numbers in rows and columns",
            where=where,
            value=f"{array.dtype} of shape {array.shape}",
            remedy="Hand over an array [rows, dimensions] of floating numbers.",
        )
    if len(ids) != len(array):
        raise InvalidInput(
            f"there are {len(ids)} ids for {len(array)} vectors", where=where, remedy="Give each vector the id of its event."
        )
    for one in ids:
        check_text(one, where=f"{where}, ids", empty=True)
    unreadable = ~np.isfinite(array).all(axis=1)
    if unreadable.any():
        raise InvalidInput(
            "a vector holds NaN or infinity",
            where=f"{where}, row {int(unreadable.argmax())}",
            value=ids[int(unreadable.argmax())],
            remedy="Leave out rows that could not be embedded; their share is a column of its own.",
        )
    first: dict[EventId, int] = {}
    for number, one in enumerate(ids):
        if not np.array_equal(array[first.setdefault(one, number)], array[number]):
            raise InvalidInput("one event has two different vectors", where=where, value=one, remedy="Embed each event once.")
    return of_length_one(array[list(first.values())]), tuple(first)


def _array(vectors: object, where: str) -> NDArray[Any]:
    try:
        return np.asarray(vectors)
    except ValueError as error:
        raise InvalidInput(
            "vectors must have one width", where=where, value=str(error), remedy="Hand over an array [rows, dimensions]."
        ) from error


def _check_period(start: datetime, end: datetime, now: datetime, *, where: str) -> None:
    check_moments(where, start=start, end=end, now=now)
    if not start < end:
        raise InvalidInput(
            "the period does not end after its start",
            where=where,
            value=f"{start.isoformat()} to {end.isoformat()}",
            remedy=CLOCKS,
        )


def smallest(ids: Sequence[EventId], k: int) -> tuple[EventId, ...]:
    """The k ids with the smallest hashes, by hash: whatever their order was."""
    return tuple(sorted(ids, key=lambda one: (rank(one), one))[:k])


@dataclass(frozen=True, kw_only=True)
class _HeldOut:
    rows: Vectors
    scores: RowScores
    traits: Numbers
    groups: NDArray[np.intp]  # of each row: which session
    shares: Numbers


def _null(known: _HeldOut, sizes: Sequence[int], policy: EmbeddingPolicy) -> dict[int, NullScores]:
    """Draws windows, and anew the rows they are compared with: the reference is a sample too, and its noise is in every comparison."""
    from scipy.sparse import csr_array  # at first use: it costs every process that knows a verdict

    rows, number = len(known.rows), int(known.groups.max()) + 1
    near = [csr_array(scale.astype(np.float32)) for scale in company(known.rows, known.scores.reach)]
    padded = np.hstack([known.traits, np.ones((rows, 1))]).astype(np.float32)
    scores: dict[int, list[Numbers]] = {size: [] for size in sizes}
    doubled: list[Numbers] = []  # company in windows as large as the held-out half
    for begin in range(0, policy.null_windows, DRAWN_AT_ONCE):
        many = min(DRAWN_AT_ONCE, policy.null_windows - begin)
        chance = np.random.default_rng((policy.seed, 2, begin))
        again = _drawn(known.groups, many, number, chance)
        before = _means(again, padded)
        if len(doubled) < DRAWS_FOR_BIAS:
            doubled.append(_gathered(again, near, rows))
        for size in sizes:
            times = _drawn(known.groups, many, max(1, round(size * number / rows)), chance)
            scores[size].append(window_scores(_means(times, padded), before, _gathered(times, near, size), shares=known.shares))
    once = _gathered(np.ones((1, rows), dtype=np.float32), near, rows)[0]
    bias = np.sqrt(np.concatenate(doubled)).mean(axis=0) - np.sqrt(once) if doubled else np.zeros_like(once)
    return {size: _null_of(even(np.concatenate(drawn)), bias * _bias_left(size, rows)) for size, drawn in scores.items()}


def _null_of(evened: Numbers, bias: Numbers) -> NullScores:
    mean, deviation = evened.mean(axis=0), np.maximum(evened.std(axis=0), _SMALLEST_SPREAD)
    highest = np.sort(((evened - mean) / deviation).max(axis=1))
    mean[-len(bias) :] -= bias
    return NullScores(mean=mean, deviation=deviation, spread=np.ones_like(mean), highest=highest)


def _gathered(times: NDArray[np.float32], near: Sequence[Any], size: int) -> Numbers:
    """[many, 2]: the most company in each of many windows, given how often each held-out row came."""
    return np.stack([most_company(np.where(times > 0, (scale @ times.T).T, -1.0), size=size) for scale in near], axis=-1)


def _bias_left(size: int, rows: int) -> float:
    """Of the bias in windows as large as the held-out half, the part that windows of this size have.

    A drawn window has the noise of the held-out half and that of drawing, variance 1 + size / rows of a fresh one's, and the places
    with most company are those where noise is upward. So drawn windows look denser than fresh ones; how much so is seen where a
    window is drawn of all held-out rows, which are one window themselves (the bootstrap's estimate of bias; Efron 1979).
    """
    return float((np.sqrt(1 + size / rows) - 1) / (np.sqrt(2) - 1))


def _drawn(groups: NDArray[np.intp], many: int, of: int, chance: np.random.Generator) -> NDArray[np.float32]:
    """[many, rows]: how often each row came, when ``of`` sessions are drawn with replacement."""
    number = int(groups.max()) + 1
    picks = chance.integers(number, size=(many, of)) + number * np.arange(many)[:, None]
    return np.bincount(picks.ravel(), minlength=many * number).reshape(many, number)[:, groups].astype(np.float32)


def _means(times: NDArray[np.float32], padded: NDArray[np.float32]) -> Numbers:
    totals = (times @ padded).astype(np.float64)
    return totals[:, :-1] / totals[:, -1:]


def _spread(known: _HeldOut, windows: Sequence[str], null: NullScores, size: int) -> tuple[Numbers, int]:
    """How much more real windows vary than drawn ones, per score: [6], and how many windows said so."""
    label, at = np.unique(windows, return_inverse=True)
    full = [np.flatnonzero(at == one)[:size] for one in range(len(label)) if int((at == one).sum()) >= size]
    if len(full) < WINDOWS_FOR_A_SPREAD:
        return np.ones_like(null.mean), 0
    means = np.stack([known.traits[rows].mean(axis=0) for rows in full])
    counts = [company(known.rows[rows], known.scores.reach[rows]).sum(axis=2) for rows in full]
    gathered = np.stack([most_company(count, size=size) for count in counts])
    scores = window_scores(means, known.traits.mean(axis=0), gathered, shares=known.shares)
    # The mean cube of a normal variable brings the mean of the squared scores back from that of their cube roots.
    expected = null.mean**3 + 3 * null.mean * null.deviation**2
    linear = (((scores - null.mean) / null.deviation) ** 2).mean(axis=0)
    squared = scores.mean(axis=0) / np.maximum(expected, _SMALLEST_SPREAD)
    return np.maximum(1.0, np.where(SQUARED, squared, linear)), len(full)


def _spread_out(null: NullScores, spread: Numbers, *, at: int, size: int, held_out: int) -> NullScores:
    """What differs from hour to hour does not shrink with more rows, as the noise of drawing does."""
    grown = 1.0 + (spread - 1.0) * (1 / at + 1 / held_out) / (1 / size + 1 / held_out)
    return NullScores(mean=null.mean, deviation=null.deviation, spread=grown, highest=null.highest)
