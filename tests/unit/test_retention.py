"""What is deleted when: cutoffs, holds, and a clock that was set."""

import itertools
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from flywheel.retention import (
    DAY,
    HOUR,
    ClockReading,
    Growth,
    Hold,
    OldPeriod,
    RecordKind,
    RetentionPolicy,
    cutoffs,
    days_until_full,
    doubt,
    hours_of,
    old_periods,
)

NOW = datetime(2026, 6, 1, 12, 34, 56, tzinfo=UTC)
ROWS = frozenset({RecordKind.ROWS})


def hours(number: float) -> datetime:
    return NOW + HOUR * number


def hold(start: float, end: float | None, sample: int = 0) -> Hold:
    return Hold(kinds=ROWS, start=hours(start), end=None if end is None else hours(end), reason="held", sample=sample)


def test_each_kind_has_its_own_time_and_says_which() -> None:
    found = cutoffs(RetentionPolicy(rows=7), now=NOW, last_jump=None)
    assert found[RecordKind.ROWS].before == datetime(2026, 5, 25, 12, tzinfo=UTC)  # the whole hour
    assert found[RecordKind.PANES].before == datetime(2025, 4, 27, 12, tzinfo=UTC)
    assert found[RecordKind.ROWS].reason == "rows are kept for 7 days"
    assert set(found) == set(RecordKind)


def test_nothing_is_deleted_within_a_day_after_the_clock_was_set() -> None:
    for since, deletes in ((timedelta(0), False), (DAY - timedelta(seconds=1), False), (DAY, True), (-HOUR, False)):
        found = cutoffs(RetentionPolicy(), now=NOW, last_jump=NOW - since)
        assert {cutoff.before is not None for cutoff in found.values()} == {deletes}, since
        assert deletes or "the clock was set" in found[RecordKind.ROWS].reason


def test_what_is_held_is_left_out_of_the_old_time() -> None:
    before = hours(0)
    assert old_periods(before, []) == [OldPeriod(start=None, end=before)]
    assert old_periods(before, [hold(-30, -20)]) == [OldPeriod(start=None, end=hours(-30)), OldPeriod(start=hours(-20), end=before)]
    assert old_periods(before, [hold(-30, None)]) == [OldPeriod(start=None, end=hours(-30))]
    assert old_periods(before, [hold(3, None)]) == [OldPeriod(start=None, end=before)]


def test_of_a_sampled_period_a_sample_stays_unless_all_of_it_is_held() -> None:
    found = old_periods(hours(0), [hold(-30, -10, sample=500), hold(-25, -20), hold(-12, -5, sample=50)])
    assert [(one.start and (one.start - NOW) / HOUR, (one.end - NOW) / HOUR, one.sample) for one in found] == [
        (None, -30.0, 0),
        (-30.0, -25.0, 500),
        (-20.0, -12.0, 500),
        (-12.0, -10.0, 500),
        (-10.0, -5.0, 50),
        (-5.0, 0.0, 0),
    ]


bounds = st.integers(-50, 20)


@given(st.lists(st.tuples(bounds, st.none() | bounds, st.sampled_from([0, 0, 7])), max_size=6))
def test_a_moment_is_deleted_exactly_when_nothing_holds_all_of_it(drawn: list[tuple[int, int | None, int]]) -> None:
    holds = [hold(start, end, sample) for start, end, sample in drawn if end is None or end > start]
    periods = old_periods(hours(0), holds)
    for number in range(-60, 25):
        moment = hours(number + 0.5)
        over = [one for one in holds if one.start <= moment and (one.end is None or moment < one.end)]
        found = [one for one in periods if (one.start is None or one.start <= moment) and moment < one.end]
        assert bool(found) == (moment < hours(0) and all(one.sample for one in over))
        if found:
            assert [one.sample for one in found] == [max((one.sample for one in over), default=0)]


def test_a_period_falls_into_hours_of_the_clock() -> None:
    parts = list(hours_of(OldPeriod(start=NOW, end=NOW + 2 * HOUR, sample=3)))
    assert [part.end.minute for part in parts] == [0, 0, 34]
    assert parts[0].start == NOW
    assert all(after.start == before.end for before, after in itertools.pairwise(parts))
    assert {part.sample for part in parts} == {3}


def reading(wall: datetime, running: float, boot: str = "a") -> ClockReading:
    return ClockReading(wall=wall, running=running, boot=boot)


def test_a_clock_that_was_set_is_found_by_the_time_that_the_machine_has_run() -> None:
    before = reading(NOW, 1_000.0)
    assert doubt(before, reading(NOW + HOUR, 1_000.0 + 3_600)) == ""
    assert doubt(before, reading(NOW + HOUR + timedelta(seconds=59), 1_000.0 + 3_600)) == ""  # as two clocks may differ
    assert doubt(before, reading(NOW + 400 * DAY, 1_060.0)) == "the clock was set forward by 400.0 days"
    assert doubt(before, reading(NOW - 5 * HOUR, 1_060.0)) == "the clock was set back by 5.0 hours"
    assert doubt(None, before) == "old records were never deleted here"


def test_after_a_restart_of_the_machine_a_long_gap_counts_as_a_jump() -> None:
    before = reading(NOW, 1_000.0)
    assert doubt(before, reading(NOW + 20 * HOUR, 30.0, boot="b")) == ""
    assert "has restarted" in doubt(before, reading(NOW + 40 * DAY, 30.0, boot="b"))
    assert "behind" in doubt(before, reading(NOW - 2 * HOUR, 30.0, boot="b"))


def test_the_disk_is_full_when_what_grows_has_used_it_up() -> None:
    rows, counts = Growth(bytes_a_day=10, days=30), Growth(bytes_a_day=1, days=400)
    assert days_until_full(110, [rows, counts]) == 10
    assert days_until_full(330 + 50, [rows, counts]) == 30 + 50
    assert days_until_full(330 + 370, [rows, counts]) is None
    assert days_until_full(5, [Growth(bytes_a_day=10, days=0)]) is None
    assert days_until_full(0, []) is None
