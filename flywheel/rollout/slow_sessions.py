"""Above which latency is a session of a canary slow?

In: latencies of the sessions, in the order in which they began. Out: one limit for each stratum. How slow sessions are compared is decided
in ``guards``.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from flywheel.rollout.arm_sessions import Bools
from flywheel.rollout.e_value import stratum_ends

USUAL_QUANTILE = 0.9
"""A session is slow above this quantile of the control's latencies. A tenth of its sessions is slow, so a shift of all shows soon."""
LATENCIES_KEPT = 1_000
"""The quantile is taken over so many of the control's newest latencies; more would only be slower to sort."""
LATENCIES_ENOUGH = 10
"""Fewer latencies say nothing about a tenth."""
_STRATA_AT_ONCE = 1_000


def usual_latencies(took: NDArray[np.float64], *, of_control: Bools) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """[strata, and the one that is not full]: above which latency a session is slow, and how many sessions the stratum has.

    From the control's answered sessions before the stratum, because the limit must not depend on the stratum itself; NaN where they are
    too few.
    """
    ends = stratum_ends(took.size)
    begins = np.concatenate([[0], ends])
    control = took[of_control]
    before = np.searchsorted(np.flatnonzero(of_control), begins)
    limits = np.full(begins.size, np.nan)
    for at in np.flatnonzero((before >= LATENCIES_ENOUGH) & (before < LATENCIES_KEPT)):
        limits[at] = np.quantile(control[: before[at]], USUAL_QUANTILE)
    late = np.flatnonzero(before >= LATENCIES_KEPT)
    if late.size:
        windows = np.lib.stride_tricks.sliding_window_view(control, LATENCIES_KEPT)
        for some in _in_portions(late):
            limits[some] = np.quantile(windows[before[some] - LATENCIES_KEPT], USUAL_QUANTILE, axis=1)
    return limits, np.diff(np.append(begins, took.size))


def _in_portions(strata: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    for start in range(0, strata.size, _STRATA_AT_ONCE):
        yield strata[start : start + _STRATA_AT_ONCE]
