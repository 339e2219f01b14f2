"""From counted episodes to the strength that chance passes as often as agreed.

In: the strength of a slice's evidence hour by hour; how often a day it may be passed. Out: counts of episodes, and a strength. Few days
never show an evidence as rare as a budget asks for, so the rate is continued by the tail of a normal, flattened where the measured rate
falls more slowly; days are drawn again and again and a cautious threshold is kept. Whose evidence it is, ``null_runs`` knows.
"""

import numpy as np
from numpy.typing import NDArray

from flywheel.drift.seasons import HOURS_A_DAY
from flywheel.drift.statistics import Numbers

STEPS = np.arange(1.5, 9.0, 0.05)
"""Strengths at which episodes are counted."""
NEVER = 40.0  # a strength that no p-value has: a length without a part of the budget calls nobody
UNLIKE = 0.01  # under this chance they are not taken to be like it
ENOUGH = 30  # episodes, under which a measured rate is not relied on
FLATTEST = 0.6  # of the tail, as a part of a normal's


def episodes_of(strength: Numbers, days: int) -> NDArray[np.int64]:
    """How often on each day a slice's evidence rises through each of ``STEPS``: [days, steps]. Evidence that stays is one episode."""
    before = np.concatenate([np.zeros_like(strength[:1]), strength[:-1]])
    hour, member = np.nonzero((strength > before) & (strength >= STEPS[0]))
    day = hour // HOURS_A_DAY
    changes = np.zeros((days, len(STEPS) + 1), dtype=np.int64)
    np.add.at(changes, (day, np.searchsorted(STEPS, before[hour, member], side="right")), 1)
    np.add.at(changes, (day, np.searchsorted(STEPS, strength[hour, member], side="right")), -1)
    return np.cumsum(changes, axis=1)[:, :-1]


def relied_on(floored: NDArray[np.int64], free: Numbers) -> Numbers:
    """Where the floor leaves too few episodes to tell their tail, those without it: a higher threshold, never a lower one."""
    return floored.astype(np.float64) if floored[:, 0].sum() >= ENOUGH else np.maximum(free, floored)


def strength_for(share: float, by_day: Numbers, draws: NDArray[np.int64], cautious: float) -> float:
    """The strength that is passed ``share`` times a day, in all but a few of the drawn runs."""
    if share <= 0:
        return NEVER
    days = by_day.shape[0]
    found = [_passed(share, drawn @ by_day, days) for drawn in draws]
    return float(np.quantile(found, cautious))


def strength_of_normals(share: float, windows: float) -> float:
    """What independent normals would pass ``share`` times a day in so many windows a day: the least that is believed.

    Where few windows had rows enough to be judged, few episodes were seen, and a slice that grows would meet a threshold of nothing.
    """
    from scipy.special import ndtri

    if share <= 0:
        return NEVER
    return float(max(STEPS[0], -ndtri(min(0.5, share / windows)))) if windows > 0 else float(STEPS[0])


def too_often(strength: float, by_day: NDArray[np.int64], share: float) -> bool:
    """Do the protected slices pass it so often that slices of their size are no measure for them?"""
    from scipy.special import pdtrc

    above = np.flatnonzero(strength <= STEPS)
    seen = int(by_day[:, above[0]].sum()) if above.size else 0
    return seen > 0 and float(pdtrc(seen - 1, share * len(by_day))) < UNLIKE


def _passed(share: float, counts: Numbers, days: int) -> float:
    """Strength whose rate is ``share``: read off where there are episodes enough, else continued by the tail."""
    enough = np.flatnonzero(counts >= ENOUGH)
    last = int(enough[-1]) if enough.size else 0
    rates = np.maximum(counts, 1) / days
    if rates[last] <= share:
        return float(STEPS[int(np.argmax(rates <= share))])
    first = max(0, last - 10)
    slope = FLATTEST
    if last > first:
        slope = float(np.log(rates[first] / rates[last]) / ((STEPS[last] ** 2 - STEPS[first] ** 2) / 2))
    slope = min(1.0, max(FLATTEST, slope))
    return float(np.sqrt(STEPS[last] ** 2 + 2 * np.log(rates[last] / share) / slope))
