"""What embeddings are compared with: bounded anchors, clusters, and held-out rows that stand for the traffic as it was.

In: vectors of a past period with the ids of their rows, their sessions and their windows. Out: an immutable, hashed
reference. Half of the sessions give the anchors and the clusters, the other half is held out: rows that are among the anchors would
look nearer than any row of a window can. Windows as they really came say whether one hour differs from another more than chance makes it.

Judging a window is not done here. Both halves are the rows with the smallest hashes, so order and redelivery change nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flywheel.drift.embedding_relabelling import Part, spread_of
from flywheel.drift.embedding_scores import Numbers, Vectors, cluster_centres, of_length_one, pooled
from flywheel.drift.reference import Maturity
from flywheel.errors import InvalidInput, Refused
from flywheel.ids import EventId, WorkloadId, derive, unit_interval
from flywheel.plausible import CLOCKS, check_moments, check_number, check_text, check_whole
from flywheel.windows.sample import rank

WINDOWS_FOR_A_SPREAD = 12  # fewer real windows do not tell how much one hour differs from another
WINDOWS_LOOKED_AT = 48  # more tell no more; bounds the time of pinning


@dataclass(frozen=True, kw_only=True)
class EmbeddingPolicy:
    """``novelty_tail``: the share of rows that counts as novel. A window of more than ``most_rows`` is cut down to them."""

    anchors: int = 2_000
    held_out: int = 2_000
    clusters: int = 32
    novelty_tail: float = 0.05
    fewest_rows: int = 100
    most_rows: int = 800
    seed: int = 0

    def __post_init__(self) -> None:
        for said, number in (
            ("anchors", self.anchors),
            ("held_out", self.held_out),
            ("clusters", self.clusters),
            ("fewest_rows", self.fewest_rows),
        ):
            check_whole(number, where=f"embedding policy: {said}", least=1)
        check_whole(self.seed, where="embedding policy: seed")
        check_number(self.novelty_tail, where="embedding policy: novelty_tail", most=1.0)
        check_whole(self.most_rows, where="embedding policy: most_rows", least=self.fewest_rows)


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
    held: Vectors  # [H, d]
    sessions: NDArray[np.intp]  # [H], numbers from 0
    spread: Numbers  # [5], 1 or more: variance of real windows over that of dealt ones, at ``spread_rows``
    spread_rows: int
    real_windows: int  # behind the spread; 0 where it was not measured
    novelty_tail: float
    fewest_rows: int
    most_rows: int

    @property
    def held_out(self) -> int:
        """Rows."""
        return len(self.held)


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
    given = ids
    rows, ids = checked(vectors, ids, where=f"embedding reference of {workload}")
    session_of = labels_of(sessions, given, what="sessions", where=f"embedding reference of {workload}")
    window_of = labels_of(windows, given, what="windows", where=f"embedding reference of {workload}")
    by_id = dict(zip(ids, range(len(ids)), strict=True))
    half = {one: unit_interval("held out", session_of[one]) < 0.5 for one in by_id}
    anchor_ids = smallest([one for one in by_id if not half[one]], policy.anchors)
    held_ids = smallest([one for one in by_id if half[one]], policy.held_out)
    if not anchor_ids or not held_ids:
        raise Refused(
            "too few sessions: one half would be empty",
            where=f"embedding reference of {workload}",
            value=len(set(session_of.values())),
            remedy="Name a period that holds more traffic.",
        )
    anchors, held = rows[[by_id[one] for one in anchor_ids]], rows[[by_id[one] for one in held_ids]]
    centres = cluster_centres(anchors, clusters=policy.clusters, chance=np.random.default_rng((policy.seed, 1)))
    groups = np.unique([session_of[one] for one in held_ids], return_inverse=True)[1]
    spread, spread_rows, real_windows = np.ones(len(Part)), 1, 0
    full = _full_windows([window_of[one] for one in held_ids], policy) if windows is not None else []
    if len(full) >= WINDOWS_FOR_A_SPREAD:
        pool = pooled(held, anchors=anchors, centres=centres, novelty_tail=policy.novelty_tail)
        spread = spread_of(pool, full, groups, np.random.default_rng((policy.seed, 2)))
        spread_rows, real_windows = round(float(np.mean([one.sum() for one in full]))), len(full)
    content = sha256()
    for array in (anchors, centres, held, groups, spread):
        array.flags.writeable = False
        content.update(str(array.shape).encode() + array.tobytes())
    limits = (policy.novelty_tail, policy.fewest_rows, policy.most_rows)
    return EmbeddingReference(
        id=derive("embeddings", workload, start.isoformat(), end.isoformat(), *limits, *anchor_ids, *held_ids, content.hexdigest()),
        workload=workload,
        start=start,
        end=end,
        maturity=maturity,
        pinned_at=now,
        rows=len(rows),
        anchor_ids=anchor_ids,
        spread_rows=spread_rows,
        real_windows=real_windows,
        novelty_tail=policy.novelty_tail,
        fewest_rows=policy.fewest_rows,
        most_rows=policy.most_rows,
        anchors=anchors,
        centres=centres,
        held=held,
        sessions=groups,
        spread=spread,
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


def labels_of(labels: Sequence[str] | None, ids: Sequence[EventId], *, what: str, where: str) -> dict[EventId, str]:
    """The session or window of each row; its own id where none is given. Raises InvalidInput for labels that do not fit."""
    for label in set(labels or ()):
        check_text(label, where=f"{where}, {what}", empty=True)
    if labels is not None and len(labels) != len(ids):
        raise InvalidInput(
            f"there are {len(labels)} {what} for {len(ids)} rows", where=where, remedy=f"Name one of the {what} for each row."
        )
    return dict(zip(ids, ids if labels is None else labels, strict=True))


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


def _full_windows(labels: Sequence[str], policy: EmbeddingPolicy) -> list[NDArray[np.bool_]]:
    """[H] each: the held-out rows of one real window, of those that can be judged against the rest."""
    label, at = np.unique(labels, return_inverse=True)
    full: list[NDArray[np.bool_]] = []
    for one in sorted(range(len(label)), key=lambda place: unit_interval("window", label[place])):
        rows = np.flatnonzero(at == one)[: policy.most_rows]
        if len(full) < WINDOWS_LOOKED_AT and policy.fewest_rows <= len(rows) <= len(labels) - policy.fewest_rows:
            full.append(np.isin(np.arange(len(labels)), rows))
    return full
