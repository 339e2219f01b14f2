"""Thresholds of drift: the z-score, the effect size and the number of rows that a cell needs to count as drifted.

In: the policy's fixed thresholds, and those that were calibrated on a reference. Out: a ``ThresholdTable`` for all slices and columns of a
window. A length or a column that was not calibrated keeps the fixed thresholds; its ``source`` says why.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import numpy as np

from flywheel.drift.tests import Numbers, z_score
from flywheel.traffic.column import Column, Family, Measure
from flywheel.windows.counts import Counts

GENERAL, PROTECTED, SHARES = "general", "protected", "shares"
"""Families of thresholds: columns of ordinary slices, columns of protected slices, and the share of each slice."""
SHARE_COLUMN = Column(name="share", family=Family.SLICE, measure=Measure.RATE, names=("no", "yes"))
"""Of all rows: does the row belong to the slice?"""
FIRST_FAILURE_FACTOR = 0.5
"""A first-failure rate counts the first failing row of each session and day, so it moves about half as much as the rate over all rows: at 8
rows a session by 1.5 points where that one moves by 3."""
WINDOWS_NEEDED = 4  # minimum number of non-overlapping windows of a length in a reference for an estimate of their dispersion
HOUR = timedelta(hours=1)


@dataclass(frozen=True, kw_only=True)
class Dispersion:
    """How much a z-score varies among windows of the reference: its variance is ``base + slope * n`` for n rows, 1 for independent rows.

    ``base``: the design effect of sessions, 1 + (rows a session - 1) * ICC. Below 1 where each session has at most one.
    ``slope``: variance between whole windows, such as by the hour of the day.
    """

    base: float = 1.0
    slope: float = 0.0

    def deviation(self, n: Counts) -> Numbers:
        """[...] rows -> [...] standard deviations of the z-score."""
        return np.sqrt(self.base + self.slope * np.asarray(n, dtype=np.float64))


INDEPENDENT_ROWS = Dispersion()


def effect_factor(column: Column) -> float:
    """What a minimum effect is multiplied by for this column: ``FIRST_FAILURE_FACTOR`` for a first-failure rate, otherwise 1."""
    return FIRST_FAILURE_FACTOR if column.first_of else 1.0


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """The thresholds of one column in one family of slices at one window length, fixed or calibrated."""

    z: float  # dispersion-adjusted
    minimum_effect: float
    minimum_rows: int
    dispersion: Dispersion
    source: str  # for a verdict's evidence


@dataclass(frozen=True, kw_only=True)
class DriftPolicy:
    """The fixed thresholds, and the protected slices."""

    p_below: float = 1e-4
    ks_minimum_effect: float = 0.10
    variation_minimum_effect: float = 0.10
    rate_minimum_effect: float = 0.03
    minimum_rows: int = 50  # of a window, and of its reference; calibrated thresholds replace the first and keep the second
    session_rows: float = 8.0  # of one session, assumed until measured: the dispersion of a share, because all of them belong to one slice
    protected: tuple[str, ...] = ()  # slices that get a verdict even before their first row

    def threshold(self, column: Column, *, why: str) -> Threshold:
        """The fixed threshold. ``why``: the reason that it is used, for the evidence."""
        effects = {
            Measure.NUMBER: self.ks_minimum_effect,
            Measure.NAME: self.variation_minimum_effect,
            Measure.RATE: self.rate_minimum_effect,
        }
        of_shares = column.name == SHARE_COLUMN.name
        return Threshold(
            z=float(z_score(np.asarray(self.p_below), one_sided=bool(column.worse))),
            minimum_effect=effects[column.measure],
            minimum_rows=self.minimum_rows,
            dispersion=Dispersion(base=self.session_rows) if of_shares else INDEPENDENT_ROWS,
            source=f"fixed thresholds of the policy{f', for sessions of {self.session_rows:g} rows' if of_shares else ''}: {why}",
        )


@dataclass(frozen=True, kw_only=True)
class CalibratedThresholds:
    """The result of ``calibration.calibrate``; stored with its reference."""

    z_scores: Mapping[tuple[int, str, Measure], float]  # (hours, family, measure)
    dispersions: Mapping[tuple[int, str], Dispersion]  # (hours, column)
    minimum_rows: Mapping[tuple[int, str, str], int]  # (hours, family, column)
    minimum_effects: Mapping[tuple[str, Measure], float]  # (family, measure); times ``effect_factor`` of the column
    alarms_a_day: float
    days: float  # whole days of the reference
    seed: int
    silences: Mapping[str, int] = field(default_factory=dict)  # slice -> its longest gap without rows, hours; no entry for 0

    def threshold(self, column: Column, *, hours: int, family: str) -> Threshold | None:
        """None for a length or a column that was not calibrated."""
        key = (hours, family, column.name)
        if key not in self.minimum_rows:
            return None
        return Threshold(
            z=self.z_scores[hours, family, column.measure],
            minimum_effect=self.minimum_effects[family, column.measure] * effect_factor(column),
            minimum_rows=self.minimum_rows[key],
            dispersion=self.dispersions[hours, column.name],
            source=self.source(hours),
        )

    def source(self, hours: int) -> str:
        days = f"{self.days:g} day" + ("" if self.days == 1 else "s")
        borrowed = "" if hours * WINDOWS_NEEDED <= self.days * 24 else ", by the threshold of a shorter length"
        return f"false-alarm budget of {self.alarms_a_day:g} alarms a day over {days}, windows of {hours} h{borrowed}"


@dataclass(frozen=True, kw_only=True)
class ThresholdTable:
    """Arrays that broadcast to [slices, columns]. Sources and dispersion are the same for all slices of a column."""

    z: Numbers
    minimum_effect: Numbers
    minimum_rows: Counts
    minimum_reference_rows: int
    dispersion_base: Numbers
    dispersion_slope: Numbers
    sources: tuple[str, ...]  # by column
    families: tuple[str, ...]  # by slice; a share belongs to ``SHARES``

    def deviation(self, n: Counts) -> Numbers:
        """[..., slices, columns] rows -> standard deviations of the z-score."""
        return np.asarray(np.sqrt(self.dispersion_base + self.dispersion_slope * n))


def threshold_table(
    *, policy: DriftPolicy, calibrated: CalibratedThresholds | None, length: timedelta, slices: Sequence[str], columns: Sequence[Column]
) -> ThresholdTable:
    """The thresholds of all cells of a window of this length."""
    hours = round(length / HOUR) if length % HOUR == timedelta() else 0
    families = tuple(PROTECTED if name in policy.protected else GENERAL for name in slices)
    protected = np.array([family == PROTECTED for family in families], dtype=bool)
    z, effects, rows = (np.empty((len(slices), len(columns))) for _ in range(3))
    found: list[Threshold] = []
    for at, column in enumerate(columns):
        for family, members in ((GENERAL, ~protected), (PROTECTED, protected)):
            of_family = SHARES if column.name == SHARE_COLUMN.name else family
            why = "nothing was calibrated"
            if calibrated is not None:
                why = f"{column.name} was not calibrated for windows of {length / HOUR:g} h"
            held = calibrated.threshold(column, hours=hours, family=of_family) if calibrated is not None else None
            threshold = held if held is not None else policy.threshold(column, why=why)
            z[members, at], effects[members, at], rows[members, at] = threshold.z, threshold.minimum_effect, threshold.minimum_rows
        found.append(threshold)
    return ThresholdTable(
        z=z,
        minimum_effect=effects,
        minimum_rows=rows.astype(np.int64),
        minimum_reference_rows=policy.minimum_rows,
        dispersion_base=np.array([one.dispersion.base for one in found]),
        dispersion_slope=np.array([one.dispersion.slope for one in found]),
        sources=tuple(one.source for one in found),
        families=families,
    )


def uniform_table(threshold: Threshold, *, minimum_reference_rows: int) -> ThresholdTable:
    """The same threshold for every slice of one column; used by calibration."""
    return ThresholdTable(
        z=np.asarray(threshold.z),
        minimum_effect=np.asarray(threshold.minimum_effect),
        minimum_rows=np.asarray(threshold.minimum_rows),
        minimum_reference_rows=minimum_reference_rows,
        dispersion_base=np.asarray(threshold.dispersion.base),
        dispersion_slope=np.asarray(threshold.dispersion.slope),
        sources=(threshold.source,),
        families=(),
    )
