"""The share of the traffic of each slice, as a column of the count matrix.

In: rows of slices in a window and in its reference. Out: for each slice the counts of ``SHARE_COLUMN``, [rows of all other slices, its own
rows]; and the rows in "(other)" that may belong to it.

Slices that are not counted by name are in "(other)". The number of those rows that brings the two shares closest is counted for the slice,
so that a slice in "(other)" never seems to have vanished.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from flywheel.drift.tests import Numbers
from flywheel.ids import EVERYTHING
from flywheel.windows.counts import Counts
from flywheel.windows.slices import folded_into


def share_counts(
    now: Counts, before: Counts, *, slices: Sequence[str], protected: Collection[str], as_named: bool = False
) -> tuple[Counts, Counts]:
    """Rows [..., slices] -> [..., slices, 2]. Zeros for all traffic, whose share is always 1. ``as_named``: counts no rows of "(other)" for
    a slice; used to measure the overdispersion."""
    overall = list(slices).index(EVERYTHING)
    n, m = now[..., overall, None], before[..., overall, None]
    share, share_before = now / np.maximum(1, n), before / np.maximum(1, m)
    folded, folded_before = folded_rows(now, before, slices=slices, protected=protected)
    missing = np.clip(np.rint(share_before * n) - now, 0, folded)
    missing_before = np.clip(np.rint(share * m) - before, 0, folded_before)
    pairs = []
    for rows, total, folded in ((now, n, missing), (before, m, missing_before)):
        own = rows if as_named else np.minimum(rows + folded.astype(np.int64), total)
        pair = np.stack([total - own, own], axis=-1)
        pair[..., overall, :] = 0
        pairs.append(pair)
    return pairs[0], pairs[1]


def folded_rows(now: Counts, before: Counts, *, slices: Sequence[str], protected: Collection[str]) -> tuple[Counts, Counts]:
    """[..., slices] each -> the same: rows in "(other)" of its dimension that may belong to each slice. 0 for protected slices, which are
    always counted by name."""
    index = {name: at for at, name in enumerate(slices)}
    rests = [folded_into(name) for name in slices]
    always_named = {EVERYTHING, *protected, *rests}
    rest = np.array(
        [-1 if name in always_named else index.get(other, -1) for name, other in zip(slices, rests, strict=True)], dtype=np.intp
    )
    return np.where(rest >= 0, now[..., rest], 0), np.where(rest >= 0, before[..., rest], 0)


@dataclass(frozen=True, kw_only=True)
class SliceRows:
    """[slices] each."""

    folded: Counts  # rows in "(other)" that may be the slice's own
    folded_before: Counts
    expected: Numbers  # rows of the window times the slice's share in the reference


def slice_rows(now: Counts, before: Counts, *, slices: Sequence[str], protected: Collection[str]) -> SliceRows:
    """``now`` and ``before``: rows [slices]."""
    overall = list(slices).index(EVERYTHING)
    folded, folded_before = folded_rows(now, before, slices=slices, protected=protected)
    return SliceRows(
        folded=folded,
        folded_before=folded_before,
        expected=np.asarray(now[overall] * (before / max(1, int(before[overall]))), dtype=np.float64),
    )
