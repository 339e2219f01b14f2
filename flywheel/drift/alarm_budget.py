"""The false-alarm budget of a workload: its alpha allocation, and the changes it must detect.

In: false alarms a day. Out: the alpha of each window length, family of slices and measure, minimum effect sizes, and the minimum number of
rows of a slice. ``calibration`` computes the thresholds.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil, sqrt

from flywheel.drift.thresholds import GENERAL, PROTECTED, SHARES, Dispersion, effect_factor
from flywheel.traffic.column import Column, Measure

HALF_OF_NAMES = 0.5  # largest standard deviation of one name's share: sqrt(0.5 * 0.5)
RANKS_KEEP = 0.977  # z-score of the rank sum as a fraction of the z-test's, for normal values: sqrt(3 / pi)


@dataclass(frozen=True, kw_only=True)
class SmallestChange:
    """The smallest change that must be detected. Minimum effect sizes are half of it."""

    sigma: float  # of a number's level
    variation: float  # total variation of names
    rate: float  # difference of rates; times ``effect_factor`` of the column

    def minimum_effect(self, measure: Measure) -> float:
        """In the effect of the measure's test; a shift of 1 sigma changes the cumulative share by at most 0.4."""
        return {Measure.NUMBER: self.sigma * 0.4, Measure.NAME: self.variation, Measure.RATE: self.rate}[measure] / 2


ALPHA_ALLOCATION: Mapping[str, Mapping[Measure, Mapping[int, float]]] = {
    GENERAL: {
        Measure.NUMBER: {1: 0.006, 2: 0.114, 4: 0.015, 6: 0.006, 12: 0.012, 24: 0.010},
        Measure.NAME: {1: 0.002, 2: 0.014, 4: 0.010, 6: 0.003, 12: 0.005, 24: 0.004},
        Measure.RATE: {1: 0.010, 2: 0.010, 4: 0.178, 6: 0.006, 12: 0.010, 24: 0.010},
    },
    PROTECTED: {
        Measure.NUMBER: {1: 0.005, 2: 0.005, 4: 0.008, 6: 0.170, 12: 0.012, 24: 0.008},
        Measure.NAME: {1: 0.001, 2: 0.001, 4: 0.003, 6: 0.014, 12: 0.008, 24: 0.003},
        Measure.RATE: {1: 0.006, 2: 0.005, 4: 0.008, 6: 0.015, 12: 0.213, 24: 0.010},
    },
    SHARES: {Measure.RATE: {1: 0.005, 2: 0.036, 4: 0.022, 6: 0.003, 12: 0.008, 24: 0.006}},
}
"""Most alpha goes to the length at which the smallest change of a family and measure is detected first. The other lengths detect larger
changes, which need little alpha, and smaller ones that last. Half of the columns' alpha is for protected slices. The sum is 1.

Tuned on 30 November 2026 by ``tests/benchmarks/tune_alpha_allocation.py`` in its own simulated world; ``bench alarms`` reports on another
one. The tuner counts only the changes of its ladder and leaves 0.004 to every other length. The table lies about half way between the
former one and the tuner's: the other lengths keep more, for changes that the ladder does not have."""


@dataclass(frozen=True, kw_only=True)
class BudgetPolicy:
    """``alarms_a_day`` is set by an operator; the other fields allocate it."""

    alarms_a_day: float = 0.1  # expected false alarms
    allocation: Mapping[str, Mapping[Measure, Mapping[int, float]]] = field(default_factory=lambda: ALPHA_ALLOCATION)
    """Alpha allocation: family -> measure -> hours of a window -> fraction of the budget."""
    changes: Mapping[str, SmallestChange] = field(
        default_factory=lambda: {
            GENERAL: SmallestChange(sigma=0.3, variation=0.10, rate=0.03),
            PROTECTED: SmallestChange(sigma=0.5, variation=0.15, rate=0.05),
            SHARES: SmallestChange(sigma=1.0, variation=1.0, rate=0.06),
        }
    )
    expected_z: Mapping[str, Mapping[Measure, float]] = field(
        default_factory=lambda: {
            GENERAL: {Measure.NUMBER: 5.0, Measure.NAME: 3.0, Measure.RATE: 3.0},
            PROTECTED: {Measure.NUMBER: 3.0, Measure.NAME: 2.0, Measure.RATE: 2.0},
            SHARES: {Measure.RATE: 1.0},
        }
    )
    """Expected z-score of the smallest change at the minimum number of rows; a smaller slice is judged on longer windows. Lower for rates:
    a broken rate changes by far more than the smallest change, and few rows show that."""
    caution: float = 0.6  # quantile of the thresholds of resampled references

    @property
    def lengths(self) -> tuple[int, ...]:
        """Hours of a window, ascending."""
        return tuple(sorted({length for measures in self.allocation.values() for held in measures.values() for length in held}))

    def alpha(self, family: str, measure: Measure, length: int) -> float:
        """False alarms a day allowed to windows of this length."""
        return self.alarms_a_day * self.allocation[family].get(measure, {}).get(length, 0.0)

    def minimum_rows(self, family: str, column: Column, *, base_rate: float, dispersion: Dispersion) -> int:
        """Rows at which the smallest change is expected to reach ``expected_z``, including the design effect.

        Leaves out the variance between windows (``Dispersion.slope``): more rows do not reduce it.
        """
        change = self.changes[family]
        if column.measure is Measure.NUMBER:
            z_of_one_row = change.sigma * RANKS_KEEP
        elif column.measure is Measure.NAME:
            z_of_one_row = change.variation / HALF_OF_NAMES
        else:
            difference = change.rate * effect_factor(column)
            after = min(0.99, max(0.005, base_rate) + difference / 2)
            z_of_one_row = difference / sqrt(after * (1 - after))
        return ceil(dispersion.base * (self.expected_z[family][column.measure] / z_of_one_row) ** 2)
