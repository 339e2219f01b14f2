"""Reference for embedding drift: anchor vectors, cluster centres and held-out rows of a past period.

In: vectors of a past period with the ids of their rows, their sessions and their windows. Out: an immutable, hashed reference. Half of the
sessions give the anchors and the clusters, the other half is held out: a row that is itself an anchor has distance 0, so anchors and
held-out rows come from different sessions. The real windows of the period give the overdispersion: how much more hours differ than they
would if rows were permuted.

Does not judge windows. Each half keeps the rows with the smallest id hashes, so the result does not depend on row order or redelivery.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from flywheel.drift.embedding_relabelling import Part, dispersion_of
from flywheel.drift.embedding_scores import Numbers, Vectors, cluster_centres, normalized, pooled
from flywheel.drift.reference import Maturity
from flywheel.errors import InvalidInput, Refused
from flywheel.ids import EventId, WorkloadId, derive, unit_interval
from flywheel.windows.sample import rank

MIN_WINDOWS_FOR_DISPERSION = 12  # minimum number of real windows for an estimate of the dispersion
MAX_WINDOWS_FOR_DISPERSION = 48  # windows used for the estimate; more would only slow pinning down


@dataclass(frozen=True, kw_only=True)
class EmbeddingPolicy:
    """``novelty_tail``: the share of rows that counts as novel. A larger window is sampled down to ``most_rows`` rows."""

    anchors: int = 2_000
    held_out: int = 2_000
    clusters: int = 32
    novelty_tail: float = 0.05
    fewest_rows: int = 100
    most_rows: int = 800
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class EmbeddedRows:
    """Vectors [n, d], row ids and, if known, the session and the window of each row.

    ``sessions`` None: rows count as independent. ``windows`` None: no overdispersion is estimated.
    """

    vectors: NDArray[np.floating]
    ids: Sequence[EventId]
    sessions: Sequence[str] | None = None
    windows: Sequence[str] | None = None


@dataclass(frozen=True, kw_only=True)
class HourDispersion:
    """How much more real windows differ than permuted ones."""

    variance: Numbers  # [5]: variance of real windows divided by that of permuted windows, at least 1
    rows: int  # mean rows of the windows used for the estimate
    windows: int  # number of windows used for the estimate; 0 if not estimated


@dataclass(frozen=True, kw_only=True)
class EmbeddingReference:
    """Belongs to the workload. Arrays cannot be written to; ``id`` is the hash of all that a verdict depends on."""

    id: str
    workload: WorkloadId
    period: tuple[datetime, datetime]
    maturity: Maturity
    pinned_at: datetime
    rows: int
    anchors: Vectors  # [A, d]
    anchor_ids: tuple[EventId, ...]
    centres: Vectors  # [K, d]
    held_out_vectors: Vectors  # [H, d]
    sessions: NDArray[np.intp]  # [H], numbers from 0
    hours: HourDispersion
    policy: EmbeddingPolicy

    @property
    def held_out_count(self) -> int:
        return len(self.held_out_vectors)

    @property
    def novelty_tail(self) -> float:
        return self.policy.novelty_tail

    @property
    def fewest_rows(self) -> int:
        return self.policy.fewest_rows

    @property
    def most_rows(self) -> int:
        return self.policy.most_rows


def pin_embeddings(
    *,
    rows: EmbeddedRows,
    workload: WorkloadId,
    period: tuple[datetime, datetime],
    maturity: Maturity,
    now: datetime,
    policy: EmbeddingPolicy,
) -> EmbeddingReference:
    """Raises Refused without two sessions, InvalidInput for NaN, infinity or conflicting vectors."""
    where = f"embedding reference of {workload}"
    vectors, ids = checked(rows, where=where)
    session_of, window_of = labels_of(rows.sessions, rows.ids), labels_of(rows.windows, rows.ids)
    by_id = dict(zip(ids, range(len(ids)), strict=True))
    is_held_out = {one: unit_interval("held out", session_of[one]) < 0.5 for one in by_id}
    anchor_ids = smallest([one for one in by_id if not is_held_out[one]], policy.anchors)
    held_ids = smallest([one for one in by_id if is_held_out[one]], policy.held_out)
    if not anchor_ids or not held_ids:
        raise Refused(
            "too few sessions: one half would be empty",
            where=where,
            value=len(set(session_of.values())),
            remedy="Name a period that has more traffic.",
        )
    anchors, held = vectors[[by_id[one] for one in anchor_ids]], vectors[[by_id[one] for one in held_ids]]
    centres = cluster_centres(anchors, clusters=policy.clusters, rng=np.random.default_rng((policy.seed, 1)))
    groups = np.unique([session_of[one] for one in held_ids], return_inverse=True)[1]
    dispersion, dispersion_rows, real_windows = np.ones(len(Part)), 1, 0
    full = _full_windows([window_of[one] for one in held_ids], policy) if rows.windows is not None else []
    if len(full) >= MIN_WINDOWS_FOR_DISPERSION:
        pool = pooled(held, anchors=anchors, centres=centres, novelty_tail=policy.novelty_tail)
        dispersion = dispersion_of(pool, full, groups, np.random.default_rng((policy.seed, 2)))
        dispersion_rows, real_windows = round(float(np.mean([one.sum() for one in full]))), len(full)
    content = sha256()
    for array in (anchors, centres, held, groups, dispersion):
        array.flags.writeable = False
        content.update(str(array.shape).encode() + array.tobytes())
    sizes = (policy.novelty_tail, policy.fewest_rows, policy.most_rows)
    start, end = period
    return EmbeddingReference(
        id=derive("embeddings", workload, start.isoformat(), end.isoformat(), *sizes, *anchor_ids, *held_ids, content.hexdigest()),
        workload=workload,
        period=period,
        maturity=maturity,
        pinned_at=now,
        rows=len(vectors),
        anchor_ids=anchor_ids,
        policy=policy,
        anchors=anchors,
        centres=centres,
        held_out_vectors=held,
        sessions=groups,
        hours=HourDispersion(variance=dispersion, rows=dispersion_rows, windows=real_windows),
    )


def checked(rows: EmbeddedRows, *, where: str) -> tuple[Vectors, tuple[EventId, ...]]:
    """Vectors of length 1 and their ids, each id once. Raises InvalidInput for NaN, infinity, or two different vectors with one id."""
    array, ids = np.asarray(rows.vectors), rows.ids
    unreadable = ~np.isfinite(array).all(axis=1)
    if unreadable.any():
        raise InvalidInput(
            "a vector contains NaN or infinity",
            where=f"{where}, row {int(unreadable.argmax())}",
            value=ids[int(unreadable.argmax())],
            remedy="Leave out rows that could not be embedded.",
        )
    first: dict[EventId, int] = {}
    for number, one in enumerate(ids):
        if not np.array_equal(array[first.setdefault(one, number)], array[number]):
            raise InvalidInput("one event has two different vectors", where=where, value=one, remedy="Embed each event once.")
    return normalized(array[list(first.values())]), tuple(first)


def labels_of(labels: Sequence[str] | None, ids: Sequence[EventId]) -> dict[EventId, str]:
    """The session or window of each row; its own id where none is given."""
    return dict(zip(ids, ids if labels is None else labels, strict=True))


def smallest(ids: Sequence[EventId], k: int) -> tuple[EventId, ...]:
    """The k ids with the smallest hashes, in hash order. Does not depend on the input order."""
    return tuple(sorted(ids, key=lambda one: (rank(one), one))[:k])


def _full_windows(labels: Sequence[str], policy: EmbeddingPolicy) -> list[NDArray[np.bool_]]:
    """One mask [H] for each usable real window: at least ``fewest_rows`` held-out rows inside and outside."""
    label, at = np.unique(labels, return_inverse=True)
    full: list[NDArray[np.bool_]] = []
    for one in sorted(range(len(label)), key=lambda place: unit_interval("window", label[place])):
        rows = np.flatnonzero(at == one)[: policy.most_rows]
        if len(full) < MAX_WINDOWS_FOR_DISPERSION and policy.fewest_rows <= len(rows) <= len(labels) - policy.fewest_rows:
            full.append(np.isin(np.arange(len(labels)), rows))
    return full
