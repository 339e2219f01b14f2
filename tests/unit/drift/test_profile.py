"""What a reference held by the hour, and how its thresholds are kept."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from flywheel.drift.budget import FAMILIES, Spread, Thresholds
from flywheel.drift.judged_columns import UNSEEN
from flywheel.drift.profile import by_hour, like_hours
from flywheel.drift.reference import pin, thresholds_of
from flywheel.drift.seasons import SeasonPolicy, times_seen
from flywheel.drift.stated import DriftPolicy, DriftStatus
from flywheel.drift.threshold_values import thresholds_from_values, thresholds_to_values
from flywheel.drift.verdict import judge_columns, judge_shares
from flywheel.errors import InvalidInput
from flywheel.ids import BASE, DAEMON
from flywheel.traffic.column import Measure
from flywheel.windows.pane import WindowCounts, window_of
from tests.watching import LENGTH, ROUTER, some_rows, window_counts

HOUR = timedelta(hours=1)
MONDAY = datetime(2026, 3, 2, tzinfo=UTC)
ALONE, BESIDE = SeasonPolicy(neighbours=0), SeasonPolicy(neighbours=1)


def hour_of(start: datetime, rows: int, *, longer: float = 0.0) -> WindowCounts:
    return window_counts(some_rows(rows, seed=start.hour + 1, longer=longer), start=start, columns=(LENGTH,))


def week() -> list[WindowCounts]:
    """Ten rows at each hour of a weekday, one at each of the weekend."""
    return [hour_of(MONDAY + HOUR * hour, 1 if hour >= 5 * 24 else 10) for hour in range(7 * 24)]


def test_a_window_meets_the_same_hours_of_like_days() -> None:
    profile = by_hour(week())
    tuesday_noon = MONDAY + timedelta(days=8, hours=12)
    alone = like_hours(profile, start=tuesday_noon, end=tuesday_noon + 2 * HOUR, policy=ALONE)
    beside = like_hours(profile, start=tuesday_noon, end=tuesday_noon + 2 * HOUR, policy=BESIDE)
    assert alone is not None
    assert beside is not None
    assert alone.rows["all"] == 2 * 5 * 10
    assert beside.rows["all"] == 4 * 5 * 10


def test_a_window_over_midnight_of_friday_meets_both_kinds_of_day() -> None:
    saturday = MONDAY + timedelta(days=5)
    found = like_hours(by_hour(week()), start=saturday - HOUR, end=saturday + HOUR, policy=ALONE)
    assert found is not None
    assert found.rows["all"] == 5 * 10 + 2 * 1


def test_a_whole_day_takes_no_hours_beside_it() -> None:
    found = like_hours(by_hour(week()), start=MONDAY, end=MONDAY + 24 * HOUR, policy=BESIDE)
    assert found is not None
    assert found.rows["all"] == 24 * 5 * 10


def test_windows_of_no_whole_hours_are_not_read_by_the_hour() -> None:
    profile = by_hour(week())
    assert like_hours(profile, start=MONDAY, end=MONDAY + HOUR / 2, policy=ALONE) is None
    assert like_hours(profile, start=MONDAY + HOUR / 2, end=MONDAY + HOUR * 1.5, policy=ALONE) is None


@pytest.mark.parametrize(("start", "minutes"), [(MONDAY, 30), (MONDAY + HOUR / 2, 60)])
def test_a_profile_is_made_of_whole_hours_of_the_clock(start: datetime, minutes: float) -> None:
    with pytest.raises(InvalidInput, match="whole hours"):
        by_hour([window_counts(some_rows(3), start=start, minutes=minutes)])


def test_the_digest_follows_from_the_counts() -> None:
    hours = week()
    assert by_hour(hours).digest == by_hour(reversed(hours)).digest
    assert by_hour(hours).digest != by_hour(hours[:-1]).digest


def test_night_is_compared_with_nights() -> None:
    """Prompts are longer by night: against the whole day that is drift, against like hours it is not."""
    hours = [hour_of(MONDAY + HOUR * hour, 60, longer=120 if hour % 24 < 6 else 0) for hour in range(7 * 24)]
    whole = window_of(workload=ROUTER, start=MONDAY, end=MONDAY + timedelta(days=7), tallies=[])
    whole = WindowCounts(workload=ROUTER, start=MONDAY, end=whole.end, counts=(total := _sum(hours)).counts, rows=total.rows)
    reference = pin(counts=whole, adapter=BASE, by=DAEMON, now=whole.end, whole_day=timedelta(days=1), profile=by_hour(hours))
    assert reference.maturity.value == "by_hour"
    night = hour_of(MONDAY + timedelta(days=8, hours=3), 400, longer=120)
    like = like_hours(by_hour(hours), start=night.start, end=night.end, policy=BESIDE)
    judged = {
        how: judge_columns(window=night, reference=reference, columns=(LENGTH,), policy=DriftPolicy(), now=night.end, like=part)[0]
        for how, part in (("whole", None), ("like", like))
    }
    assert judged["whole"].status is DriftStatus.DRIFTING
    assert judged["like"].status is DriftStatus.OK
    assert judged["like"].evidence["compared_with"] == "like hours of the reference"
    shares = judge_shares(window=night, reference=reference, policy=DriftPolicy(), now=night.end, like=like)
    assert {share.n_reference for share in shares} == {like.rows["all"]} if like is not None else False


def test_a_first_saturday_is_learning_and_not_drift() -> None:
    hours = [hour_of(MONDAY + HOUR * hour, 60) for hour in range(2 * 24)]
    whole = _sum(hours)
    reference = pin(counts=whole, adapter=BASE, by=DAEMON, now=whole.end, whole_day=timedelta(days=1), profile=by_hour(hours))
    saturday = hour_of(MONDAY + timedelta(days=5, hours=3), 400, longer=120)
    seen = times_seen(first_hour=int(MONDAY.timestamp()) // 3600, hours=48)
    like = like_hours(by_hour(hours), start=saturday.start, end=saturday.end, policy=BESIDE, seen=seen)
    assert like is not None
    verdicts = judge_columns(window=saturday, reference=reference, columns=(LENGTH,), policy=DriftPolicy(), now=saturday.end, like=like)
    verdicts += judge_shares(window=saturday, reference=reference, policy=DriftPolicy(), now=saturday.end, like=like)
    assert {verdict.status for verdict in verdicts} == {DriftStatus.LEARNING}
    assert {verdict.reason for verdict in verdicts} == {UNSEEN}
    tuesday = like_hours(by_hour(hours), start=MONDAY + HOUR * 27, end=MONDAY + HOUR * 28, policy=BESIDE, seen=seen)
    assert tuesday is not None
    assert tuesday.rows["all"] == 2 * 3 * 60


@pytest.mark.parametrize(("hour", "length", "like_hours_a_day"), [(20, 4, 5), (23, 1, 2), (22, 4, 0), (24, 1, 0), (0, 24, 24), (1, 24, 0)])
def test_before_a_first_saturday_friday_is_judged_to_its_last_hour_and_no_further(hour: int, length: int, like_hours_a_day: int) -> None:
    """Wednesday and Thursday were seen. An hour of Saturday beside a window is left out, one inside it is like nothing."""
    wednesday = MONDAY + timedelta(days=2)
    hours = [hour_of(wednesday + HOUR * at, 5) for at in range(2 * 24)]
    seen = times_seen(first_hour=int(wednesday.timestamp()) // 3600, hours=48)
    start = MONDAY + timedelta(days=4, hours=hour)
    like = like_hours(by_hour(hours), start=start, end=start + HOUR * length, policy=BESIDE, seen=seen)
    assert like is not None
    assert like.rows.get("all", 0) == like_hours_a_day * 2 * 5


def _sum(hours: list[WindowCounts]) -> WindowCounts:
    return window_of(workload=ROUTER, start=MONDAY, end=hours[-1].end, tallies=hours)  # type: ignore[arg-type]


THRESHOLDS = Thresholds(
    strengths={(hours, family, Measure.NUMBER): 4.5 for hours in (1, 24) for family in FAMILIES},
    spreads={(1, LENGTH.name): Spread(apart=2.4, per_row=1e-4), (24, LENGTH.name): Spread()},
    minimum_rows={(hours, family, LENGTH.name): 77 for hours in (1, 24) for family in FAMILIES},
    floors={(family, Measure.NUMBER): 0.06 for family in FAMILIES},
    pages_a_day=0.1,
    null_days=28.0,
    seed=3,
)


def test_thresholds_come_back_from_their_values_as_they_were() -> None:
    assert thresholds_from_values(json.loads(json.dumps(thresholds_to_values(THRESHOLDS)))) == THRESHOLDS
    reference = pin(counts=hour_of(MONDAY, 80), adapter=BASE, by=DAEMON, now=MONDAY, whole_day=timedelta(days=1), thresholds=THRESHOLDS)
    assert thresholds_of(reference) == THRESHOLDS
    assert thresholds_of(pin(counts=hour_of(MONDAY, 80), adapter=BASE, by=DAEMON, now=MONDAY, whole_day=timedelta(days=1))) is None


@pytest.mark.parametrize("broken", [{}, {**thresholds_to_values(THRESHOLDS), "strengths": [[1, "general", "no measure", 4.0]]}])
def test_what_are_no_thresholds_is_refused(broken: dict[str, object]) -> None:
    with pytest.raises(InvalidInput, match="no thresholds"):
        thresholds_from_values(broken)
