"""How much of the traffic a slice holds, inside the alarm budget: the rows of a session belong to one slice, so shares wander."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from flywheel.drift.budget import SHARE_COLUMN, BudgetPolicy, Thresholds
from flywheel.drift.null_runs import NullSource, ReferenceWindows, calibrate
from flywheel.drift.reference import Reference, pin
from flywheel.drift.seasons import Season
from flywheel.drift.threshold_values import thresholds_from_values, thresholds_to_values
from flywheel.drift.verdict import DriftPolicy, DriftStatus, DriftVerdict, judge_shares
from flywheel.ids import EVERYTHING, AdapterName, Person, WorkloadId
from flywheel.windows.pane import WindowCounts

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


def window(counted: Rows, start: datetime) -> WindowCounts:
    held = {name: int(n) for name, n in zip(TENANTS, counted.sum(axis=0), strict=True)}
    end = start + len(counted) * HOUR
    return WindowCounts(workload=WorkloadId("router"), start=start, end=end, counts={}, rows={EVERYTHING: sum(held.values()), **held})


@pytest.fixture(scope="module")
def past() -> Rows:
    return rows(1, DAYS * 24)


@pytest.fixture(scope="module")
def calibrated(past: Rows) -> Thresholds:
    whole = past.sum(axis=1, keepdims=True)
    first_hour = int(MONDAY.timestamp()) // 3600
    windows = ReferenceWindows(first_hour=first_hour, slices=TENANTS, counts={SHARE_COLUMN.name: np.stack([whole - past, past], axis=-1)})
    return calibrate(windows, BudgetPolicy(), 7, columns=(), source=NullSource(season=Season.POOLED_DAYS))


@pytest.fixture(scope="module")
def reference(past: Rows) -> Reference:
    now = MONDAY + timedelta(days=DAYS)
    return pin(counts=window(past, MONDAY), adapter=AdapterName("base"), by=Person("maria"), now=now, whole_day=timedelta(days=1))


def judged(counted: Rows, reference: Reference, thresholds: Thresholds | None) -> tuple[DriftVerdict, ...]:
    start = MONDAY + timedelta(days=DAYS)
    now = start + len(counted) * HOUR
    return judge_shares(window=window(counted, start), reference=reference, policy=FIXED, now=now, thresholds=thresholds)


def drifting(verdicts: tuple[DriftVerdict, ...]) -> list[str]:
    return [verdict.slice for verdict in verdicts if verdict.status is DriftStatus.DRIFTING]


def test_the_measured_spread_is_that_of_sessions(calibrated: Thresholds) -> None:
    assert calibrated.spreads[1, SHARE_COLUMN.name].apart == pytest.approx(SESSION, rel=0.15)


def test_shares_that_wander_with_sessions_alone_call_nobody(reference: Reference, calibrated: Thresholds) -> None:
    """Two weeks of hours: the fixed numbers take rows for independent, and call again and again."""
    fresh = rows(2, 14 * 24)
    by_fixed_numbers = sum(bool(drifting(judged(hour[None], reference, None))) for hour in fresh)
    by_the_budget = sum(bool(drifting(judged(hour[None], reference, calibrated))) for hour in fresh)
    assert by_fixed_numbers > 10
    assert by_the_budget == 0


def test_a_tenant_that_takes_a_fifth_more_of_the_traffic_is_found(reference: Reference, calibrated: Thresholds) -> None:
    moved = SHARES.copy()
    moved[4] += 0.2
    moved /= moved.sum()
    verdicts = judged(rows(3, 4, moved), reference, calibrated)
    assert TENANTS[4] in drifting(verdicts)
    (found,) = [verdict for verdict in verdicts if verdict.slice == TENANTS[4]]
    assert found.evidence["limits"] == "alarm budget of 0.1 pages a day over 28 days, windows of 4 h"
    assert found.score is not None
    assert found.score > float(str(found.evidence["p_if_rows_were_independent"]))


def test_a_length_that_was_not_calibrated_keeps_the_fixed_numbers_and_says_so(reference: Reference, calibrated: Thresholds) -> None:
    verdicts = judged(rows(4, 3), reference, calibrated)
    assert {verdict.threshold for verdict in verdicts} == {FIXED.p_below}
    assert "was not calibrated for shares at 3 h" in str(verdicts[0].evidence["limits"])


def test_they_are_kept_with_the_reference_and_found_again(calibrated: Thresholds) -> None:
    assert thresholds_from_values(thresholds_to_values(calibrated)) == calibrated


def test_the_parts_of_the_budget_add_up_to_it() -> None:
    policy = BudgetPolicy()
    spent = [
        policy.share(family, measure, length) for family, held in policy.parts.items() for measure in held for length in policy.lengths
    ]
    assert sum(spent) == pytest.approx(policy.pages_a_day)
    of_shares = sum(policy.share("shares", SHARE_COLUMN.measure, length) for length in policy.lengths)
    assert of_shares == pytest.approx(0.08 * policy.pages_a_day)


def test_until_it_is_measured_the_assumed_length_of_a_session_holds(reference: Reference) -> None:
    start = MONDAY + timedelta(days=DAYS)
    policy = DriftPolicy(session_rows=SESSION)
    fresh = rows(2, 14 * 24)
    called = sum(
        bool(drifting(judge_shares(window=window(hour[None], start), reference=reference, policy=policy, now=start + HOUR)))
        for hour in fresh
    )
    assert called <= 3
    (first, *_) = judge_shares(window=window(fresh[:1], start), reference=reference, policy=policy, now=start + HOUR)
    assert "for sessions of 8 rows" in str(first.evidence["limits"])
