"""From the fine grid of the panes to the few edges that a reference can bear.

In: a reference's counts on the fine grid. Out: for each coarse bin the fine bin it starts at. The edges depend on the
reference alone, so one far outlier in a window cannot move them and blind the test.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from flywheel.errors import InvalidInput
from flywheel.plausible import check_whole
from flywheel.windows.pane import Counts
from flywheel.windows.plausible_counts import check_counts

COARSE_BINS = 20
MOST_BINS = 1_000


def starts_all(reference: Counts, *, bins: int = COARSE_BINS) -> NDArray[np.intp]:
    """[..., fine bins] -> [..., most coarse bins of any]: the fine bin at which each coarse bin starts, the first being 0.

    Each coarse bin holds about an equal share of the reference. A fine bin that holds more than a share stands alone, and so does the
    stretch beneath and above all reference rows: values never seen before must have a bin of their own. Columns that need fewer coarse
    bins are filled up with the number of fine bins, which makes bins that hold nothing.
    """
    check_counts(reference, where="reference's counts")
    check_whole(bins, where="coarse bins", least=1, most=MOST_BINS)
    if not reference.shape[-1]:
        raise InvalidInput("there is no bin", where="reference's counts", value=reference.shape, remedy="Count on the column's own grid.")
    fine = reference.shape[-1]
    total = reference.sum(axis=-1, keepdims=True)
    below = np.cumsum(reference, axis=-1) - reference  # rows below the start of each fine bin
    seen = reference > 0
    first = np.zeros(reference.shape, dtype=bool)
    first[..., 0] = True
    if fine > 1:
        wanted = np.arange(1, bins) * total[..., None, :] / bins  # [..., 1, bins - 1]
        at = (below[..., :, None] < wanted).sum(axis=-2)  # [..., bins - 1]: the first start with as many rows below it; fine bins: none
        heavy = seen & (reference * bins >= total)
        # Nothing was seen: no edges but the first.
        marks = np.where(total > 0, at, fine)
        padded = np.zeros((*reference.shape[:-1], fine + 1), dtype=bool)
        np.put_along_axis(padded, marks, True, axis=-1)
        first |= padded[..., :fine] | heavy
        first[..., 1:] |= heavy[..., :-1]
        lowest = np.where(seen.any(axis=-1), seen.argmax(axis=-1), 0)
        above = np.where(seen.any(axis=-1), fine - seen[..., ::-1].argmax(axis=-1), 0)
        np.put_along_axis(padded, np.stack([lowest, above], axis=-1), True, axis=-1)
        first |= padded[..., :fine]
    number = first.sum(axis=-1)
    widest = int(number.max(initial=1))
    order = np.argsort(~first, axis=-1, kind="stable")[..., :widest]
    return np.where(np.arange(widest) < number[..., None], order, fine)


def coarsened_all(fine: Counts, starts: NDArray[np.intp]) -> Counts:
    """[..., fine bins] and [..., coarse bins] -> [..., coarse bins]: sums of the fine bins of each coarse bin."""
    below = np.zeros((*fine.shape[:-1], fine.shape[-1] + 1), dtype=np.int64)
    np.cumsum(fine, axis=-1, out=below[..., 1:])
    at_starts = np.take_along_axis(below, starts, axis=-1)
    return np.diff(at_starts, axis=-1, append=below[..., -1:])


def quantile_starts(reference: Counts, *, bins: int = COARSE_BINS) -> tuple[int, ...]:
    """``starts_all`` of one column: only the bins it needs."""
    return tuple(int(start) for start in starts_all(reference, bins=bins) if start < len(reference)) or (0,)


def coarsened(fine: Counts, starts: Sequence[int]) -> Counts:
    """``coarsened_all`` of one column. Raises InvalidInput unless the starts rise from 0 to a bin that there is, or just beyond."""
    check_counts(fine, where="counts on the fine grid")
    for start in starts:
        check_whole(start, where="start of a coarse bin", most=len(fine))
    if not starts or starts[0] != 0 or list(starts) != sorted(starts):
        raise InvalidInput(
            "the starts of coarse bins do not rise from 0", where="edges", value=tuple(starts), remedy="Give what `quantile_starts` gives."
        )
    return coarsened_all(fine, np.asarray(starts, dtype=np.intp))
