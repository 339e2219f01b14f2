"""Windows are compared with the same hours, and never with themselves."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flywheel.drift.alarm_budget import BudgetPolicy
from flywheel.drift.calibration import calibrate
from flywheel.drift.evidence import verdicts
from flywheel.drift.judge import judge_window, prepare_reference
from flywheel.drift.null_windows import null_period
from flywheel.drift.reference import calibrated, pin
from flywheel.drift.seasonal_reference import (
    Season,
    all_other_hours,
    by_hour_of_day,
    is_weekend,
    same_hours,
    season_of,
    seasonal_reference,
    sliding_sums,
    times_seen,
)
from flywheel.drift.thresholds import SHARE_COLUMN, DriftPolicy
from flywheel.drift.verdict import DriftStatus
from flywheel.ids import BASE, DAEMON
from flywheel.windows.counts import CountMatrix, WindowCounts, added
from flywheel.windows.pane import EPOCH
from tests.watching import LENGTH, ROUTER, some_rows, window_counts

MONDAY = 4 * 24  # hours from Thursday 1970-01-01 to the next Monday
WEEKS = 2
HOURS = WEEKS * 7 * 24
ALL_SEEN = times_seen(first_hour=0, hours=7 * 24)


def hourly(seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 50, (HOURS, 2, 3))


def test_saturday_and_sunday_are_the_weekend() -> None:
    days = is_weekend(MONDAY + 24 * np.arange(7))
    assert days.tolist() == [0, 0, 0, 0, 0, 1, 1]


def test_hours_of_the_day_hold_every_row_once() -> None:
    counts = hourly()
    assert by_hour_of_day(counts, first_hour=MONDAY).sum() == counts.sum()


@settings(deadline=None, max_examples=25)
@given(length=st.sampled_from([1, 2, 4, 6, 12, 24]), neighbours=st.integers(0, 2), day=st.integers(0, 13))
def test_a_window_is_compared_with_same_hours_and_neighbours(length: int, neighbours: int, day: int) -> None:
    counts = hourly()
    first = MONDAY + HOURS + 24 * day
    seasonal = by_hour_of_day(counts, first_hour=MONDAY)
    found = same_hours(seasonal, first_hour=first, hours=24, length=length, seen=ALL_SEEN, neighbours=neighbours)
    beside = neighbours if length + 2 * neighbours <= 24 else 0
    for hour in (0, 5, 23):
        expected = np.zeros((2, 3), dtype=np.int64)
        starts, ends = first + hour - length + 1, first + hour
        for moment in range(starts - beside, ends + beside + 1):
            kind = is_weekend(np.array([min(max(moment, starts), ends)]))[0]  # an hour beside the window has the kind of day of its edge
            for past in range(HOURS):
                if is_weekend(np.array([MONDAY + past]))[0] == kind and (MONDAY + past) % 24 == moment % 24:
                    expected += counts[past]
        assert (found[hour] == expected).all()


@settings(deadline=None, max_examples=20)
@given(length=st.sampled_from([1, 2, 4, 6, 12, 24]), changed=st.integers(0, HOURS - 1))
def test_a_window_of_the_references_own_period_does_not_meet_itself(length: int, changed: int) -> None:
    plain, more = hourly(), hourly()
    more[changed] += 1_000
    for counts in (plain, more):
        assert (counts >= 0).all()
    references = [
        same_hours(by_hour_of_day(counts, first_hour=MONDAY), first_hour=MONDAY, hours=HOURS, length=length, seen=2 * ALL_SEEN, own=counts)
        for counts in (plain, more)
    ]
    holding = range(changed, min(HOURS, changed + length))
    for hour in holding:
        assert (references[0][hour] == references[1][hour]).all()


def test_a_pool_leaves_out_what_the_window_holds() -> None:
    counts = np.ones((96, 1, 1), dtype=np.int64)
    counts[50] = 1_000
    for length in (1, 4, 24):
        reference = all_other_hours(counts, length=length)
        for hour in range(50, 50 + length):
            assert reference[hour, 0, 0] < 1_000


def test_sliding_sums_are_sums() -> None:
    counts = hourly()
    assert (sliding_sums(counts, 4)[20] == counts[17:21].sum(axis=0)).all()
    assert (sliding_sums(counts, 4)[1] == counts[:2].sum(axis=0)).all()


FRIDAY = MONDAY + 4 * 24


@pytest.mark.parametrize(
    ("first", "hours", "season"),
    [
        (MONDAY, 0, Season.LEARNING),
        (MONDAY, 23, Season.LEARNING),
        (MONDAY, 24, Season.POOLED_DAYS),
        (MONDAY, 48, Season.HOUR_OF_DAY),
        (FRIDAY, 48, Season.POOLED_DAYS),  # one of each kind: no hour has a like
        (FRIDAY, 72, Season.HOUR_OF_DAY),
        (MONDAY + 14, 48, Season.HOUR_OF_DAY),
        (FRIDAY - 10, 48, Season.POOLED_DAYS),  # from two in the afternoon on: ten hours were seen twice, fourteen and fourteen once
        (MONDAY, HOURS, Season.HOUR_OF_DAY),
    ],
)
def test_a_reference_is_read_by_the_hour_from_two_days_of_a_kind_on(first: int, hours: int, season: Season) -> None:
    found, reason = season_of(first_hour=first, hours=hours)
    assert found is season
    assert reason


def test_what_was_seen_is_counted_by_kind_of_day_and_hour() -> None:
    seen = times_seen(first_hour=FRIDAY - 1, hours=26)
    assert seen[0].tolist() == [1] * 23 + [2]
    assert seen[1].tolist() == [1] + [0] * 23
    assert times_seen(first_hour=MONDAY, hours=7 * 24).sum(axis=1).tolist() == [5 * 24, 2 * 24]


def test_a_window_with_an_hour_that_the_reference_has_never_seen_meets_nothing() -> None:
    """Thursday and Friday were seen. Saturday has no like, and neither has the window over midnight; Monday has."""
    counts = np.ones((48, 1), dtype=np.int64)
    profile, seen = by_hour_of_day(counts, first_hour=FRIDAY - 24), times_seen(first_hour=FRIDAY - 24, hours=48)
    found = same_hours(profile, first_hour=FRIDAY + 20, hours=80, length=4, seen=seen)[:, 0]
    assert (found[:4] > 0).all()
    assert (found[4 : 4 + 48 + 3] == 0).all()
    assert found[4 + 48 + 3] == 12  # two days of four hours and one on either side, all of weekdays
    assert (found[4 + 48 + 4 :] == 12).all()


def test_the_only_saturday_of_a_period_is_compared_with_nothing() -> None:
    counts = np.ones((72, 1), dtype=np.int64)
    first = FRIDAY - 24
    found = same_hours(
        by_hour_of_day(counts, first_hour=first),
        first_hour=first,
        hours=72,
        length=1,
        own=counts,
        seen=times_seen(first_hour=first, hours=72),
    )[:, 0]
    assert (found[:48] > 0).all()
    assert (found[48:] == 0).all()


HOUR = timedelta(hours=1)
MONDAY_OF_MARCH = datetime(2026, 3, 2, tzinfo=UTC)


def hour_of(start: datetime, rows: int, *, longer: float = 0.0) -> WindowCounts:
    return window_counts(some_rows(rows, seed=start.hour + 1, longer=longer), start=start, columns=(LENGTH,))


def hours_from(start: datetime, rows: list[int]) -> list[CountMatrix]:
    return [hour_of(start + HOUR * at, number).matrix for at, number in enumerate(rows)]


def first_hour_of(start: datetime) -> int:
    return (start - EPOCH) // HOUR


@pytest.mark.parametrize(
    ("start", "hours", "expected"), [(24 * 8 + 12, 2, 4 * 5 * 10), (5 * 24 - 1, 2, (10 + 10) * 5 + (1 + 1) * 2), (0, 24, 24 * 5 * 10)]
)
def test_a_week_by_the_hour_is_read_with_neighbours(start: int, hours: int, expected: int) -> None:
    """Ten rows at each hour of a weekday, one at each of the weekend. A whole day takes no neighbours."""
    assert MONDAY_OF_MARCH.weekday() == 0
    week = hours_from(MONDAY_OF_MARCH, [10] * 5 * 24 + [1] * 2 * 24)
    seasonal = seasonal_reference(week, first_hour=first_hour_of(MONDAY_OF_MARCH)).stacked(slices=("all",), bins=week[0].bins)
    last = first_hour_of(MONDAY_OF_MARCH) + start + hours - 1
    found = same_hours(seasonal.rows, first_hour=last, hours=1, length=hours, seen=ALL_SEEN)
    assert found.tolist() == [[expected]]


def test_the_digest_follows_from_the_counts() -> None:
    week = hours_from(MONDAY_OF_MARCH, [3] * 48)
    first = first_hour_of(MONDAY_OF_MARCH)
    assert seasonal_reference(week, first_hour=first).digest == seasonal_reference(week[24:] + week[:24], first_hour=first + 24).digest
    assert seasonal_reference(week, first_hour=first).digest != seasonal_reference(week[:-1], first_hour=first).digest


def test_a_first_saturday_is_learning_and_not_drift() -> None:
    hours = hours_from(MONDAY_OF_MARCH, [60] * 48)
    period = WindowCounts(workload=ROUTER, start=MONDAY_OF_MARCH, end=MONDAY_OF_MARCH + 48 * HOUR, matrix=added(*hours))
    pinned = pin(counts=period, adapter=BASE, by=DAEMON, now=period.end, whole_day=timedelta(days=1))
    null, seasonal = null_period(hours, period=period, columns=(LENGTH,), protected=())
    assert (null.season, len(null.hourly.matrix.rows)) == (Season.HOUR_OF_DAY, 48)
    columns = (LENGTH, SHARE_COLUMN)
    thresholds = calibrate(null, BudgetPolicy(), 1, minimum_reference_rows=50)
    prepared = prepare_reference(calibrated(pinned, thresholds=thresholds, seasonal=seasonal), columns, seasonal=seasonal)
    saturday = hour_of(MONDAY_OF_MARCH + timedelta(days=5, hours=3), 400, longer=120)
    found = verdicts(judge_window(window=saturday, reference=prepared, columns=columns, policy=DriftPolicy()), now=saturday.end)
    assert {verdict.status for verdict in found} == {DriftStatus.LEARNING}
    assert all("the reference lacks hours" in verdict.reason for verdict in found)
    tuesday = hour_of(MONDAY_OF_MARCH + HOUR * 27, 60)
    assert prepared.compared_with(tuesday).rows_of("all") == 2 * 3 * 60


@pytest.mark.parametrize(("hour", "length", "same_hours_a_day"), [(20, 4, 6), (23, 1, 3), (22, 4, 0), (24, 1, 0), (0, 24, 24), (1, 24, 0)])
def test_before_a_first_saturday_friday_is_judged_to_its_last_hour(hour: int, length: int, same_hours_a_day: int) -> None:
    """Wednesday and Thursday were seen. The hour beside Friday 23 h is midnight of weekdays; Saturday itself was not seen."""
    wednesday = MONDAY_OF_MARCH + timedelta(days=2)
    hours = hours_from(wednesday, [5] * 48)
    first = first_hour_of(wednesday)
    seasonal = seasonal_reference(hours, first_hour=first).stacked(slices=("all",), bins=hours[0].bins)
    last = first_hour_of(MONDAY_OF_MARCH) + 4 * 24 + hour + length - 1
    found = same_hours(seasonal.rows, first_hour=last, hours=1, length=length, seen=times_seen(first_hour=first, hours=48))
    assert found.tolist() == [[same_hours_a_day * 2 * 5]]


def test_windows_of_no_whole_hours_are_compared_with_all() -> None:
    hours = hours_from(MONDAY_OF_MARCH, [60] * 48)
    period = WindowCounts(workload=ROUTER, start=MONDAY_OF_MARCH, end=MONDAY_OF_MARCH + 48 * HOUR, matrix=added(*hours))
    pinned = pin(counts=period, adapter=BASE, by=DAEMON, now=period.end, whole_day=timedelta(days=1))
    seasonal = seasonal_reference(hours, first_hour=first_hour_of(MONDAY_OF_MARCH))
    prepared = prepare_reference(pinned, (LENGTH,), seasonal=seasonal)
    window = window_counts(some_rows(60), start=period.end, minutes=90, columns=(LENGTH,))
    assert prepared.compared_with(window).rows_of("all") == 48 * 60
