"""From the fine grid of the panes to the few edges that a reference can bear.

In: a reference's counts on the fine grid. Out: for each coarse bin the fine bin it starts at. The edges depend on the
reference alone, so one far outlier in a window cannot move them and blind the test.
"""

from collections.abc import Sequence

import numpy as np

from flywheel.windows.pane import Counts

COARSE_BINS = 20


def quantile_starts(reference: Counts, *, bins: int = COARSE_BINS) -> tuple[int, ...]:
    """Fine bins at which a coarse bin starts, the first being 0: about equal shares of the reference each.

    A fine bin that holds more than a share stands alone, and so does the stretch beneath and above all reference rows:
    values never seen before must have a bin of their own.
    """
    total = int(reference.sum())
    if total == 0 or len(reference) < 2:
        return (0,)
    below = np.concatenate(([0], np.cumsum(reference)))  # rows below the start of each fine bin
    wanted = np.arange(1, bins) * total / bins
    at = np.searchsorted(below, wanted, side="left")
    seen = np.flatnonzero(reference)
    heavy = np.flatnonzero(reference >= total / bins)
    starts = {0, int(seen[0]), int(seen[-1]) + 1, *map(int, at), *map(int, heavy), *(int(place) + 1 for place in heavy)}
    return tuple(sorted(start for start in starts if 0 <= start < len(reference)))


def coarsened(fine: Counts, starts: Sequence[int]) -> Counts:
    """Sums of the fine bins of each coarse bin."""
    return np.add.reduceat(fine, np.asarray(starts, dtype=np.intp))
