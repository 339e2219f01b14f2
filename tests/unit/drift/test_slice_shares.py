"""Slices' shares of traffic under the false-alarm budget: all rows of a session belong to one slice, so shares vary."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from flywheel.drift.alarm_budget import BudgetPolicy
from flywheel.drift.calibration import calibrate
from flywheel.drift.evidence import verdicts
from flywheel.drift.judge import judge_window, prepare_reference
from flywheel.drift.null_windows import null_period
from flywheel.drift.reference import Reference, pin
from flywheel.drift.slice_shares import share_counts
from flywheel.drift.thresholds import SHARE_COLUMN, CalibratedThresholds, DriftPolicy
from flywheel.drift.verdict import DriftStatus, DriftVerdict
from flywheel.ids import EVERYTHING, AdapterName, Person, WorkloadId
from flywheel.windows.counts import CountMatrix, WindowCounts

DAYS, SESSION = 28, 8
TENANTS = tuple(f"tenant={rank}" for rank in range(1, 21))
WEIGHTS = 1 / np.arange(1, len(TENANTS) + 1)
SHARES = WEIGHTS / WEIGHTS.sum()
MONDAY = datetime(2026, 3, 2, tzinfo=UTC)
HOUR = timedelta(hours=1)
FIXED = DriftPolicy(session_rows=1.0)
Rows = np.ndarray


def rows(seed: int, hours: int, shares: Rows = SHARES) -> Rows:
    """[hours, tenants]: 125 sessions of 8 rows an hour."""
    return SESSION * np.random.default_rng(seed).multinomial(125, shares, hours)


def matrix(counted: Rows) -> CountMatrix:
    """[tenants] rows."""
    slices = (EVERYTHING, *TENANTS)
    return CountMatrix(slices=slices, bins=(), counts=np.zeros((len(slices), 0), dtype=np.int64), rows=np.array([counted.sum(), *counted]))


def window(counted: Rows, start: datetime) -> WindowCounts:
    return WindowCounts(workload=WorkloadId("router"), start=start, end=start + len(counted) * HOUR, matrix=matrix(counted.sum(axis=0)))


@pytest.fixture(scope="module")
def past() -> Rows:
    return rows(1, DAYS * 24)


@pytest.fixture(scope="module")
def calibrated(past: Rows) -> CalibratedThresholds:
    period, _ = null_period((matrix(hour) for hour in past), period=window(past, MONDAY), columns=(), protected=())
    return calibrate(period, BudgetPolicy(), 7, minimum_reference_rows=50)


@pytest.fixture(scope="module")
def reference(past: Rows) -> Reference:
    now = MONDAY + timedelta(days=DAYS)
    return pin(counts=window(past, MONDAY), adapter=AdapterName("base"), by=Person("maria"), now=now, whole_day=timedelta(days=1))


def judged(
    counted: Rows, reference: Reference, thresholds: CalibratedThresholds | None, policy: DriftPolicy = FIXED
) -> tuple[DriftVerdict, ...]:
    start, columns = MONDAY + timedelta(days=DAYS), (SHARE_COLUMN,)
    prepared = prepare_reference(replace(reference, thresholds=thresholds), columns)
    found = judge_window(window=window(counted, start), reference=prepared, columns=columns, policy=policy)
    return verdicts(found, now=start + len(counted) * HOUR)


def drifting(found: tuple[DriftVerdict, ...]) -> list[str]:
    return [verdict.slice for verdict in found if verdict.status is DriftStatus.DRIFTING]


def test_the_measured_dispersion_is_that_of_sessions(calibrated: CalibratedThresholds) -> None:
    assert calibrated.dispersions[1, SHARE_COLUMN.name].base == pytest.approx(SESSION, rel=0.15)


def test_shares_that_vary_with_sessions_alone_raise_no_alarm(reference: Reference, calibrated: CalibratedThresholds) -> None:
    """Two weeks of hours: the fixed thresholds take rows for independent, and raise alarm after alarm."""
    fresh = rows(2, 14 * 24)
    by_fixed_numbers = sum(bool(drifting(judged(hour[None], reference, None))) for hour in fresh)
    by_the_budget = sum(bool(drifting(judged(hour[None], reference, calibrated))) for hour in fresh)
    assert by_fixed_numbers > 10
    assert by_the_budget == 0


def test_a_tenant_that_takes_a_fifth_more_of_the_traffic_is_found(reference: Reference, calibrated: CalibratedThresholds) -> None:
    moved = SHARES.copy()
    moved[4] += 0.2
    moved /= moved.sum()
    all_shares = judged(rows(3, 4, moved), reference, calibrated)
    assert TENANTS[4] in drifting(all_shares)
    (found,) = [verdict for verdict in all_shares if verdict.slice == TENANTS[4]]
    assert found.evidence["threshold_source"] == "false-alarm budget of 0.1 alarms a day over 28 days, windows of 4 h"
    assert found.score is not None
    assert found.score > float(str(found.evidence["p_if_rows_were_independent"]))


def test_a_length_that_was_not_calibrated_keeps_the_fixed_thresholds(reference: Reference, calibrated: CalibratedThresholds) -> None:
    all_shares = judged(rows(4, 3), reference, calibrated)
    assert [verdict.threshold for verdict in all_shares] == pytest.approx([FIXED.p_below] * len(TENANTS))
    assert "share was not calibrated for windows of 3 h" in str(all_shares[0].evidence["threshold_source"])


def test_until_it_is_measured_the_assumed_length_of_a_session_holds(reference: Reference) -> None:
    policy = DriftPolicy(session_rows=SESSION)
    fresh = rows(2, 14 * 24)
    called = sum(bool(drifting(judged(hour[None], reference, None, policy))) for hour in fresh)
    assert called <= 3
    (first, *_) = judged(fresh[:1], reference, None, policy)
    assert "for sessions of 8 rows" in str(first.evidence["threshold_source"])


def test_rows_of_other_count_as_far_as_they_bring_shares_together() -> None:
    slices = (EVERYTHING, "tenant=(other)", "tenant=a", "tenant=b")
    now, before = np.array([100, 30, 10, 60]), np.array([1_000, 0, 200, 800])
    counts, counts_before = share_counts(now, before, slices=slices, protected=())
    assert counts[2:].tolist() == [[80, 20], [20, 80]]  # 20 % and 80 % are reached with 10 and with 20 rows
    assert counts_before[2:].tolist() == [[800, 200], [200, 800]]
    assert counts[0].tolist() == [0, 0]
    of_named, _ = share_counts(now, before, slices=slices, protected=(), as_named=True)
    assert of_named[2:].tolist() == [[90, 10], [40, 60]]
    protected, _ = share_counts(now, before, slices=slices, protected=("tenant=a",))
    assert protected[2:].tolist() == [[90, 10], [20, 80]]
