"""From counted alarms to the z-score that chance exceeds as often as the budget allows.

In: the z-score of each slice hour by hour; alarms a day. Out: counts of alarms, and a threshold. Few days never show a z-score as rare as a
budget asks for, so the rate is continued by the tail of a normal, flattened where the measured rate falls more slowly; days are resampled
and a cautious quantile of the thresholds is taken.
"""

import numpy as np
from numpy.typing import NDArray

from flywheel.drift.seasonal_reference import HOURS_A_DAY
from flywheel.drift.tests import Numbers

STEPS = np.arange(1.5, 9.0, 0.05)
"""The z-scores at which alarms are counted."""
NEVER = 40.0  # no p-value has this z-score: a length without a part of the budget raises no alarm
UNLIKE = 0.01  # protected slices that raise so many alarms with less than this chance are unlike the slices of their size
ENOUGH = 30  # alarms; the rate of fewer is not relied on
FLATTEST = 0.6  # slope of the tail, as a part of a normal's


def alarms_by_day(z: Numbers, days: int) -> NDArray[np.int64]:
    """[hours, slices] -> [days, steps]: how often a slice's z-score rises through each of ``STEPS``. One that stays above is one alarm."""
    before = np.concatenate([np.zeros_like(z[:1]), z[:-1]])
    hour, member = np.nonzero((z > before) & (z >= STEPS[0]))
    day = hour // HOURS_A_DAY
    changes = np.zeros((days, len(STEPS) + 1), dtype=np.int64)
    np.add.at(changes, (day, np.searchsorted(STEPS, before[hour, member], side="right")), 1)
    np.add.at(changes, (day, np.searchsorted(STEPS, z[hour, member], side="right")), -1)
    return np.cumsum(changes, axis=1)[:, :-1]


def relied_on(alarms: NDArray[np.int64], of_any_effect: Numbers) -> Numbers:
    """Where the minimum effect leaves too few alarms to estimate their tail, those of any effect: a higher threshold, never a lower one."""
    return alarms.astype(np.float64) if alarms[:, 0].sum() >= ENOUGH else np.maximum(of_any_effect, alarms)


def threshold_for(alpha: float, by_day: Numbers, draws: NDArray[np.int64], caution: float) -> float:
    """The z-score that is exceeded ``alpha`` times a day: the ``caution`` quantile over resampled days. ``draws`` [runs, days]."""
    if alpha <= 0:
        return NEVER
    days = by_day.shape[0]
    return float(np.quantile([_exceeded(alpha, drawn @ by_day, days) for drawn in draws], caution))


def lower_bound(alpha: float, windows_a_day: float) -> float:
    """Lower bound on the threshold: the z-score that independent normal windows exceed ``alpha`` times a day.

    Where few windows had rows enough to be judged, few alarms were counted, and a slice that grows would meet no threshold at all.
    """
    from scipy.special import ndtri

    if alpha <= 0:
        return NEVER
    return float(max(STEPS[0], -ndtri(min(0.5, alpha / windows_a_day)))) if windows_a_day > 0 else float(STEPS[0])


def too_often(threshold: float, by_day: NDArray[np.int64], alpha: float) -> bool:
    """Do the protected slices exceed it so often that slices of their size do not represent them?"""
    from scipy.special import pdtrc

    above = np.flatnonzero(threshold <= STEPS)
    seen = int(by_day[:, above[0]].sum()) if above.size else 0
    return seen > 0 and float(pdtrc(seen - 1, alpha * len(by_day))) < UNLIKE


def _exceeded(alpha: float, alarms: Numbers, days: int) -> float:
    """The z-score whose rate is ``alpha``: read off where there are alarms enough, else continued by the tail."""
    enough = np.flatnonzero(alarms >= ENOUGH)
    last = int(enough[-1]) if enough.size else 0
    rates = np.maximum(alarms, 1) / days
    if rates[last] <= alpha:
        return float(STEPS[int(np.argmax(rates <= alpha))])
    first = max(0, last - 10)
    slope = FLATTEST
    if last > first:
        slope = float(np.log(rates[first] / rates[last]) / ((STEPS[last] ** 2 - STEPS[first] ** 2) / 2))
    slope = min(1.0, max(FLATTEST, slope))
    return float(np.sqrt(STEPS[last] ** 2 + 2 * np.log(rates[last] / alpha) / slope))
