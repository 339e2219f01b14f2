"""What the benchmark of alarms publishes follows from production's decisions: each is changed at its one place, and the figure moves.

Small counts of the benchmark's own functions, in a small world whose false-alarm budget is ninety times the usual, so that alarms can be
counted within days. The directions were named before the first run: without the minimum effect size more alarms fire; without hysteresis
one incident becomes several alarms; with one threshold doubled fewer changes are found. A benchmark that judged by itself would not move.
"""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from flywheel.drift import incident, judge
from flywheel.drift.alarm_budget import BudgetPolicy
from flywheel.drift.thresholds import GENERAL, CalibratedThresholds, Threshold, ThresholdTable
from flywheel.traffic.column import Column, Measure
from tests.benchmarks.alarm_ladder import SHIFT
from tests.benchmarks.alarm_world import REPORTING, Mishaps, Sessions, WorldShape, log_normal_shares
from tests.benchmarks.bench_alarms import ladder, year

ROWS = 4_000
SMALL: WorldShape = replace(
    REPORTING,
    name="small",
    rows_an_hour=ROWS,
    shares=log_normal_shares(slices=8, sigma=0.9, exactly={1: 567 / ROWS, 6: 57 / ROWS}),
    protected=(2, 6),
    large=1,
    small=6,
    mishaps=Mishaps(visits=0.0, pauses=0.0),
)
GENEROUS = BudgetPolicy(alarms_a_day=9.0)


def alarms() -> int:
    return len(year(SMALL, promotions=False, sessions=Sessions.ANSWERS, seed=8, before=7, days=6, budget=GENEROUS).alarms)


@cache
def alarms_as_decided() -> int:
    return alarms()


def found() -> float:
    hours = ladder(SMALL, [SHIFT], days=7, sessions=Sessions.ANSWERS, seed=3, pasts=1, runs=20)[SHIFT.name]
    return float((np.array(hours) <= SHIFT.within).mean())


def test_without_the_minimum_effect_more_alarms_are_published(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = alarms_as_decided()

    def exceeds(*, z: np.ndarray, effect: np.ndarray, table: ThresholdTable) -> np.ndarray:
        return np.asarray(z > table.z)

    monkeypatch.setattr(judge, "exceeds", exceeds)
    assert alarms() > usual


def test_without_hysteresis_more_alarms_are_published(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = alarms_as_decided()
    monkeypatch.setattr(incident, "is_cleared", lambda verdict, band: True)
    assert alarms() > usual


def test_with_one_threshold_doubled_less_power_is_published(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = found()
    decided = CalibratedThresholds.threshold

    def doubled(self: CalibratedThresholds, column: Column, *, hours: int, family: str) -> Threshold | None:
        threshold = decided(self, column, hours=hours, family=family)
        is_it = (hours, family, column.measure) == (2, GENERAL, Measure.NUMBER)
        return replace(threshold, z=2 * threshold.z) if is_it and threshold is not None else threshold

    monkeypatch.setattr(CalibratedThresholds, "threshold", doubled)
    assert found() < usual
