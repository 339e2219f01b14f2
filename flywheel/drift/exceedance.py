"""The z-score threshold that null windows exceed as often as the false-alarm budget allows.

In: the z-score of each slice by the hour; alarms a day. Out: counts of alarms, and a threshold. A few days contain no z-score as rare as
the budget requires, so the exceedance rate is extrapolated with a normal tail, flattened if the measured rate falls more slowly. Days are
resampled (bootstrap) and an upper quantile of the thresholds is used.
"""

import numpy as np
from numpy.typing import NDArray

from flywheel.drift.seasonal_reference import HOURS_A_DAY
from flywheel.drift.tests import Numbers

STEPS = np.arange(1.5, 9.0, 0.05)
"""The z-scores at which alarms are counted."""
NEVER = 40.0  # above the z-score of any p-value: a length without an alpha allocation raises no alarm
UNLIKE = 0.01  # p-value below which protected slices raise more alarms than slices of their size
ENOUGH = 30  # minimum number of alarms for an estimate of their rate
FLATTEST = 0.6  # minimum slope of the tail, as a fraction of a normal's


def alarms_by_day(z: Numbers, days: int) -> NDArray[np.int64]:
    """[hours, slices] -> [days, steps]: how often a slice's z-score rises through each of ``STEPS``. Staying above is one alarm."""
    before = np.concatenate([np.zeros_like(z[:1]), z[:-1]])
    hour, member = np.nonzero((z > before) & (z >= STEPS[0]))
    day = hour // HOURS_A_DAY
    changes = np.zeros((days, len(STEPS) + 1), dtype=np.int64)
    np.add.at(changes, (day, np.searchsorted(STEPS, before[hour, member], side="right")), 1)
    np.add.at(changes, (day, np.searchsorted(STEPS, z[hour, member], side="right")), -1)
    return np.cumsum(changes, axis=1)[:, :-1]


def relied_on(alarms: NDArray[np.int64], of_any_effect: Numbers) -> Numbers:
    """``alarms``; if they are too few to estimate the tail, the larger of them and those of any effect, which never lowers a threshold."""
    return alarms.astype(np.float64) if alarms[:, 0].sum() >= ENOUGH else np.maximum(of_any_effect, alarms)


def threshold_for(alpha: float, by_day: Numbers, draws: NDArray[np.int64], caution: float) -> float:
    """The z-score that is exceeded ``alpha`` times a day: the ``caution`` quantile over resampled days. ``draws`` [runs, days]."""
    if alpha <= 0:
        return NEVER
    days = by_day.shape[0]
    return float(np.quantile([_exceeded(alpha, drawn @ by_day, days) for drawn in draws], caution))


def lower_bound(alpha: float, windows_a_day: float) -> float:
    """Lower bound on the threshold: the z-score that independent normal windows exceed ``alpha`` times a day.

    Needed where few windows had enough rows: they raised few alarms, and the threshold for a growing slice would be too low.
    """
    from scipy.special import ndtri

    if alpha <= 0:
        return NEVER
    return float(max(STEPS[0], -ndtri(min(0.5, alpha / windows_a_day)))) if windows_a_day > 0 else float(STEPS[0])


def too_often(threshold: float, by_day: NDArray[np.int64], alpha: float) -> bool:
    """True if the protected slices exceed the threshold so often that slices of their size do not represent them (Poisson test)."""
    from scipy.special import pdtrc

    above = np.flatnonzero(threshold <= STEPS)
    seen = int(by_day[:, above[0]].sum()) if above.size else 0
    return seen > 0 and float(pdtrc(seen - 1, alpha * len(by_day))) < UNLIKE


def _exceeded(alpha: float, alarms: Numbers, days: int) -> float:
    """The z-score whose rate is ``alpha``: measured where there are enough alarms, else extrapolated."""
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
