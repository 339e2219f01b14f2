"""How much of the traffic each slice has, as a column of the count matrix like any other.

In: rows of slices in a window and in what it is compared with. Out: for each slice the counts of ``SHARE_COLUMN``: [rows of all others,
its own rows]. Whether a slice is new, has vanished, or may be in "(other)", is found here too.

Slices without a place of their own are counted in "(other)". As many of those rows as bring the two shares as near as they can are
counted for the slice, so that a slice that was folded away never seems to have vanished.
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
    """[..., slices] rows of each -> [..., slices, 2] each. Zeroes for all traffic, of which a share says nothing. ``as_named``: no rows of
    "(other)" are counted for a slice; so its overdispersion is measured."""
    whole = list(slices).index(EVERYTHING)
    n, m = now[..., whole, None], before[..., whole, None]
    share, share_before = now / np.maximum(1, n), before / np.maximum(1, m)
    missing = np.clip(np.rint(share_before * n) - now, 0, folded_rows(now, slices=slices, protected=protected))
    missing_before = np.clip(np.rint(share * m) - before, 0, folded_rows(before, slices=slices, protected=protected))
    pairs = []
    for rows, total, folded in ((now, n, missing), (before, m, missing_before)):
        own = rows if as_named else np.minimum(rows + folded.astype(np.int64), total)
        pair = np.stack([total - own, own], axis=-1)
        pair[..., whole, :] = 0
        pairs.append(pair)
    return pairs[0], pairs[1]


def folded_rows(rows: Counts, *, slices: Sequence[str], protected: Collection[str]) -> Counts:
    """[..., slices] -> [..., slices]: how many rows in "(other)" of its dimension may belong to each slice. None of a protected slice: it
    always has a place."""
    place = {name: at for at, name in enumerate(slices)}
    keeps_its_place = {EVERYTHING, *protected, *(folded_into(name) for name in slices)}
    rest = np.array([-1 if name in keeps_its_place else place.get(folded_into(name), -1) for name in slices], dtype=np.intp)
    return np.where(rest >= 0, rows[..., rest], 0)


@dataclass(frozen=True, kw_only=True)
class SliceRows:
    """[slices] each: what explains a slice that one side lacks."""

    folded: Counts  # rows in "(other)" that may be the slice's own
    folded_before: Counts
    expected: Numbers  # rows at the slice's share in the reference


def slice_rows(now: Counts, before: Counts, *, slices: Sequence[str], protected: Collection[str]) -> SliceRows:
    """[slices] rows of each."""
    whole = list(slices).index(EVERYTHING)
    return SliceRows(
        folded=folded_rows(now, slices=slices, protected=protected),
        folded_before=folded_rows(before, slices=slices, protected=protected),
        expected=np.asarray(now[whole] * (before / max(1, int(before[whole]))), dtype=np.float64),
    )
