"""Has a slice vanished, or is it new?

In: which slices have no rows in the window or in its reference, the rows that were expected, how long each was silent in the reference.
Out: the states of the share column, [slices]. A slice without rows counts as vanished only where enough rows were expected, none of its
rows can be in "(other)", and it was never silent for as long before.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from flywheel.drift.cell_state import CellState
from flywheel.drift.slice_shares import SliceRows
from flywheel.windows.counts import CountMatrix

VANISHED_FROM = 5.0  # minimum number of expected rows for a slice without rows to count as vanished
Slices = NDArray[np.bool_]


def set_share_states(
    state: NDArray[np.int8], *, gone: Slices, unknown: Slices, significant: Slices, silent: Slices, rows: SliceRows
) -> None:
    """[slices] each; ``state`` is changed in place where a slice has no rows in the window (``gone``) or in the reference (``unknown``).

    ``significant``: its share differs by more than the threshold. ``silent``: see ``silent_as_before``.
    """
    state[unknown] = CellState.NEW
    state[unknown & (rows.folded_before > 0) & ~significant] = CellState.IN_OTHER_IN_REFERENCE
    state[gone] = CellState.FEW_EXPECTED
    state[gone & (rows.expected >= VANISHED_FROM)] = CellState.VANISHED
    state[gone & (rows.folded > 0) & ~significant] = CellState.IN_OTHER
    state[gone & unknown] = CellState.NEVER_SEEN
    state[(state == CellState.VANISHED) & silent] = CellState.SILENT_BEFORE


def silent_as_before(slices: Sequence[str], *, silences: Mapping[str, int], hours: float) -> Slices:
    """[slices]: True where the reference has a gap without rows (``silences``, in hours) of at least ``hours``."""
    return np.array([silences.get(name, 0) >= hours for name in slices], dtype=bool)


def longest_silences(hourly: CountMatrix) -> dict[str, int]:
    """``hourly`` [hours, slices, ...] -> slice: its longest gap without rows, in hours, after its first rows.

    A slice with occasional traffic counts as vanished only after a longer gap than these.
    """
    found = {}
    for at, name in enumerate(hourly.slices):
        seen = np.flatnonzero(hourly.rows[:, at])
        longest = int(np.diff(seen, append=len(hourly.rows)).max(initial=1)) - 1
        if longest > 0:
            found[name] = longest
    return found
