"""Calibration on the reference (under the null): the thresholds that keep to the false-alarm budget.

In: a period that is assumed to contain no drift, the budget, a seed. Out: ``CalibratedThresholds``. ``judge.judge_counts`` judges each
window of the period against the rest of it, as it will judge later windows. ``exceedance`` turns the counted alarms into thresholds.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from flywheel.drift.alarm_budget import BudgetPolicy
from flywheel.drift.exceedance import STEPS, alarms_by_day, lower_bound, relied_on, threshold_for, too_often
from flywheel.drift.judge import judge_counts
from flywheel.drift.null_windows import NullPeriod, compared_part, measured_dispersion, null_windows
from flywheel.drift.seasonal_reference import HOURS_A_DAY
from flywheel.drift.tests import Numbers
from flywheel.drift.thresholds import (
    GENERAL,
    PROTECTED,
    SHARE_COLUMN,
    SHARES,
    WINDOWS_NEEDED,
    CalibratedThresholds,
    Dispersion,
    Threshold,
    effect_factor,
    uniform_table,
)
from flywheel.drift.vanished_slices import longest_silences
from flywheel.traffic.column import Column, Measure
from flywheel.windows.counts import CountMatrix, Counts

Key = TypeVar("Key", bound=tuple[int, *tuple[object, ...]])
Held = TypeVar("Held")
AlarmKey = tuple[int, str, Measure]
"""(hours of a window, family, measure)"""

RUNS = 100  # bootstrap samples of days
ANY_EFFECT_SLICES = 12  # slices sampled to count alarms without a minimum effect
SIMILAR = 20  # slices of similar size that represent a protected slice
MINIMUM_ROWS_OF_LONGEST = 50  # upper bound on the minimum rows of the longest window, whatever its power
USUAL_SHARE = 0.2  # assumed base rate of the share column for the minimum rows


@dataclass(frozen=True, kw_only=True)
class _NullAlarms:
    """Alarms of the null windows by hours, family and measure, summed over columns."""

    alarms: dict[AlarmKey, NDArray[np.int64]] = field(default_factory=dict)  # [days, steps]
    of_any_effect: dict[AlarmKey, Numbers] = field(default_factory=dict)  # [days, steps]: without a minimum effect
    of_protected: dict[AlarmKey, NDArray[np.int64]] = field(default_factory=dict)  # of the protected slices alone
    windows_a_day: dict[AlarmKey, float] = field(default_factory=dict)  # without overlap


def calibrate(period: NullPeriod, budget: BudgetPolicy, seed: int, *, minimum_reference_rows: int) -> CalibratedThresholds:
    """``period`` has at least one whole day. A window length is calibrated if the period contains ``WINDOWS_NEEDED`` such windows; longer
    ones use the thresholds of the longest calibrated length. The same seed gives the same thresholds."""
    days = period.hours // HOURS_A_DAY
    rng, rng_of_shares = np.random.default_rng(seed), np.random.default_rng([seed, 1])  # shares must not change other thresholds
    draws = rng.multinomial(days, np.full(days, 1 / days), size=RUNS)
    dispersions: dict[tuple[int, str], Dispersion] = {}
    minimum_rows: dict[tuple[int, str, str], int] = {}
    found = _NullAlarms()
    measured = [length for length in budget.lengths if length * WINDOWS_NEEDED <= period.hours]
    for length in measured:
        for column in period.columns:
            source = rng_of_shares if column.name == SHARE_COLUMN.name else rng
            now, before = null_windows(period, column, length)
            as_named = null_windows(period, column, length, as_named=True) if column.name == SHARE_COLUMN.name else (now, before)
            dispersion = measured_dispersion(*as_named, column, source)
            dispersions[length, column.name] = dispersion
            for family, members in _families(period, column, now):
                rows = budget.minimum_rows(family, column, base_rate=_base_rate(period, column), dispersion=dispersion)
                if length == max(budget.lengths) and family != SHARES:
                    rows = min(rows, MINIMUM_ROWS_OF_LONGEST)
                minimum_rows[length, family, column.name] = rows
                effect = budget.changes[family].minimum_effect(column.measure) * effect_factor(column)
                threshold = Threshold(z=0.0, minimum_effect=effect, minimum_rows=rows, dispersion=dispersion, source="")
                windows = _FamilyWindows(length=length, family=family, column=column, now=_of(now, members), before=_of(before, members))
                protected = np.isin(now.slices, period.protected)[members]
                _count_alarms(found, windows, threshold, protected, minimum_reference_rows, source)
    longer = [length for length in budget.lengths if length not in measured]
    families = {(family, measure) for _, family, measure in found.alarms}
    return CalibratedThresholds(
        z_scores=_extended(_z_scores(found, budget, draws, compared=compared_part(period)), longer),
        dispersions=_extended(dispersions, longer),
        minimum_rows=_judged_at_last(_extended(minimum_rows, longer), max(budget.lengths)),
        minimum_effects={(family, measure): budget.changes[family].minimum_effect(measure) for family, measure in families},
        alarms_a_day=budget.alarms_a_day,
        days=float(days),
        seed=seed,
        silences=longest_silences(period.hourly.matrix),
    )


@dataclass(frozen=True, kw_only=True)
class _FamilyWindows:
    """The windows of one length, family and column: [hours, slices of the family, bins]."""

    length: int
    family: str
    column: Column
    now: CountMatrix
    before: CountMatrix

    def z(self, threshold: Threshold, minimum_reference_rows: int) -> Numbers:
        """[hours, slices]: the z-scores of cells with enough rows and effect; 0 for the others."""
        table = uniform_table(threshold, minimum_reference_rows=minimum_reference_rows)
        return judge_counts(window=self.now, reference=self.before, columns=(self.column,), table=table, only_large=True).z[..., 0]


def _count_alarms(
    found: _NullAlarms,
    windows: _FamilyWindows,
    threshold: Threshold,
    protected: NDArray[np.bool_],
    minimum_reference_rows: int,
    rng: np.random.Generator,
) -> None:
    """``protected`` [slices of the family]."""
    key = (windows.length, windows.family, windows.column.measure)
    days = len(windows.now.rows) // HOURS_A_DAY
    z = windows.z(threshold, minimum_reference_rows)
    found.alarms[key] = found.alarms.get(key, 0) + alarms_by_day(z, days)
    found.of_any_effect[key] = found.of_any_effect.get(key, 0) + _of_any_effect(windows, threshold, minimum_reference_rows, rng)
    if windows.family == SHARES:
        return
    if windows.family == PROTECTED:
        found.of_protected[key] = found.of_protected.get(key, 0) + alarms_by_day(z[:, protected], days)
        judged = len(windows.now.rows) * len({name for name, one in zip(windows.now.slices, protected, strict=True) if one})
    else:
        judged = int((windows.now.rows * 2 >= threshold.minimum_rows).sum())  # traffic may double
    found.windows_a_day[key] = found.windows_a_day.get(key, 0.0) + judged / windows.length / days


def _of_any_effect(windows: _FamilyWindows, threshold: Threshold, minimum_reference_rows: int, rng: np.random.Generator) -> Numbers:
    """[days, steps]: alarms without a minimum effect, from a sample of slices scaled up to all."""
    days, members = len(windows.now.rows) // HOURS_A_DAY, len(windows.now.slices)
    fit = np.flatnonzero((windows.now.rows >= threshold.minimum_rows).any(axis=0))
    if fit.size == 0:
        return np.zeros((days, len(STEPS)))
    taken = rng.choice(fit, min(fit.size, ANY_EFFECT_SLICES), replace=False)
    some = replace(windows, now=_of(windows.now, taken), before=_of(windows.before, taken))
    z = some.z(replace(threshold, minimum_effect=-1.0), minimum_reference_rows)
    return np.asarray(alarms_by_day(z, days) * (min(fit.size, members) / len(taken)))


def _z_scores(found: _NullAlarms, budget: BudgetPolicy, draws: NDArray[np.int64], *, compared: float) -> dict[AlarmKey, float]:
    """``compared``: fraction of the period's hours that could be compared."""
    z_scores = {}
    for key, by_day in found.alarms.items():
        length, family, measure = key
        alpha = budget.alpha(family, measure, length) * compared
        own = found.of_protected.get(key)
        every = SIMILAR if own is not None else 1
        least = threshold_for(alpha * every, relied_on(by_day, found.of_any_effect[key]), draws, budget.caution)
        if own is not None and too_often(least, own, alpha):
            least = max(least, threshold_for(alpha, relied_on(own, found.of_any_effect[key] / SIMILAR), draws, budget.caution))
        z_scores[key] = max(least, lower_bound(alpha, found.windows_a_day.get(key, 0.0)))
    if not any(found.windows_a_day[key] for key in found.of_protected):
        # no data on a slice that is protected later
        z_scores |= {key: z_scores[key[0], GENERAL, key[2]] for key in found.of_protected}
    return z_scores


def _families(period: NullPeriod, column: Column, now: CountMatrix) -> Iterator[tuple[str, NDArray[np.intp]]]:
    """Each family of the column, and the slices whose null windows calibrate it."""
    protected = np.isin(now.slices, period.protected)
    if column.name == SHARE_COLUMN.name:
        yield SHARES, np.arange(len(now.slices))
    else:
        yield GENERAL, np.flatnonzero(~protected)
        yield PROTECTED, _similar_slices(now.of(column.name), protected)


def _similar_slices(now: Counts, protected: NDArray[np.bool_]) -> NDArray[np.intp]:
    """For each protected slice ``SIMILAR`` slices of similar size, itself first: a few slices alone have too few windows for rare events.

    If there are fewer, they are repeated, so that each protected slice has the same weight.
    """
    size = now.sum(axis=(0, 2), dtype=np.float64)
    found = []
    for one in np.flatnonzero(protected):
        distance = np.abs(np.log((size + 1) / (size[one] + 1)))
        nearest = np.argsort(distance, kind="stable")[:SIMILAR]
        others = nearest[(nearest != one) & (distance[nearest] <= np.log(2))]
        found.append(np.resize(np.concatenate([[one], others]), SIMILAR))
    return np.concatenate(found) if found else np.zeros(0, dtype=np.intp)


def _base_rate(period: NullPeriod, column: Column) -> float:
    """The share of hits of a rate; 0 for other measures."""
    if column.measure is not Measure.RATE:
        return 0.0
    if column.name == SHARE_COLUMN.name:
        return USUAL_SHARE
    misses, hits = period.hourly.matrix.of(column.name).sum(axis=(0, 1), dtype=np.int64)
    return float(hits / max(1, misses + hits))


def _of(matrix: CountMatrix, members: NDArray[np.intp]) -> CountMatrix:
    """[hours, members, bins]."""
    slices = tuple(matrix.slices[at] for at in members.tolist())
    return CountMatrix(slices=slices, bins=matrix.bins, counts=matrix.counts[:, members], rows=matrix.rows[:, members])


def _extended(held: Mapping[Key, Held], longer: Sequence[int]) -> dict[Key, Held]:
    """``held``, with the values of its longest window copied to the ``longer`` ones. Keys begin with the hours of a window."""
    most = max((key[0] for key in held), default=0)
    return {**held, **{(hours, *key[1:]): value for hours in longer for key, value in held.items() if key[0] == most}}  # type: ignore[misc]


def _judged_at_last(rows: Mapping[tuple[int, str, str], int], longest: int) -> dict[tuple[int, str, str], int]:
    return {key: min(least, MINIMUM_ROWS_OF_LONGEST) if key[0] == longest and key[1] != SHARES else least for key, least in rows.items()}
