"""Like hours are compared with like, and a window never with itself."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flywheel.drift.seasons import (
    Season,
    SeasonPolicy,
    is_weekend,
    like_hours,
    pooled_days,
    profile_of,
    season_of,
    sliding_sums,
    times_seen,
)
from flywheel.errors import InvalidInput

MONDAY = 4 * 24  # hours from Thursday 1970-01-01 to the next Monday
WEEKS = 2
HOURS = WEEKS * 7 * 24
POLICY = SeasonPolicy()


def hourly(seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 50, (HOURS, 2, 3))


def test_saturday_and_sunday_are_the_weekend() -> None:
    days = is_weekend(MONDAY + 24 * np.arange(7))
    assert days.tolist() == [0, 0, 0, 0, 0, 1, 1]


def test_a_profile_holds_every_row_once() -> None:
    counts = hourly()
    assert profile_of(counts, first_hour=MONDAY).sum() == counts.sum()


def test_half_a_day_makes_no_profile() -> None:
    with pytest.raises(InvalidInput, match="whole days"):
        profile_of(hourly()[:30], first_hour=MONDAY)


@settings(deadline=None, max_examples=25)
@given(length=st.sampled_from([1, 2, 4, 6, 12, 24]), neighbours=st.integers(0, 2), day=st.integers(0, 13))
def test_the_reference_of_a_window_is_the_sum_over_like_hours_and_their_neighbours(length: int, neighbours: int, day: int) -> None:
    counts = hourly()
    policy = SeasonPolicy(neighbours=neighbours)
    first = MONDAY + HOURS + 24 * day
    found = like_hours(profile_of(counts, first_hour=MONDAY), first_hour=first, hours=24, length=length, policy=policy)
    beside = neighbours if length + 2 * neighbours <= 24 else 0
    for hour in (0, 5, 23):
        expected = np.zeros((2, 3), dtype=np.int64)
        for moment in range(first + hour - length + 1 - beside, first + hour + beside + 1):
            for past in range(HOURS):
                same_kind = is_weekend(np.array([moment]))[0] == is_weekend(np.array([MONDAY + past]))[0]
                if same_kind and (MONDAY + past) % 24 == moment % 24:
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
        like_hours(profile_of(counts, first_hour=MONDAY), first_hour=MONDAY, hours=HOURS, length=length, policy=POLICY, own=counts)
        for counts in (plain, more)
    ]
    holding = range(changed, min(HOURS, changed + length))
    for hour in holding:
        assert (references[0][hour] == references[1][hour]).all()


@pytest.mark.parametrize("days", [None, 1, 3])
def test_a_pool_leaves_out_what_the_window_holds(days: int | None) -> None:
    counts = np.ones((96, 1, 1), dtype=np.int64)
    counts[50] = 1_000
    for length in (1, 4, 24):
        reference = pooled_days(counts, length=length, days=days)
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
    found = season_of(first_hour=first, hours=hours)
    assert found.season is season
    assert found.reason


def test_what_was_seen_is_counted_by_kind_of_day_and_hour() -> None:
    seen = times_seen(first_hour=FRIDAY - 1, hours=26)
    assert seen[0].tolist() == [1] * 23 + [2]
    assert seen[1].tolist() == [1] + [0] * 23
    assert times_seen(first_hour=MONDAY, hours=7 * 24).sum(axis=1).tolist() == [5 * 24, 2 * 24]


def test_a_window_with_an_hour_that_the_reference_has_never_seen_meets_nothing() -> None:
    """Thursday and Friday were seen. Saturday has no like, and neither has the window over midnight; Monday has."""
    counts = np.ones((48, 1), dtype=np.int64)
    profile, seen = profile_of(counts, first_hour=FRIDAY - 24), times_seen(first_hour=FRIDAY - 24, hours=48)
    found = like_hours(profile, first_hour=FRIDAY + 20, hours=80, length=4, policy=POLICY, seen=seen)[:, 0]
    assert (found[:4] > 0).all()
    assert (found[4 : 4 + 48 + 3] == 0).all()
    assert found[4 + 48 + 3] == 10  # two days of four hours and the one after them: the one before was a Sunday's
    assert (found[4 + 48 + 4 :] == 12).all()


def test_the_only_saturday_of_a_period_is_compared_with_nothing() -> None:
    counts = np.ones((72, 1), dtype=np.int64)
    first = FRIDAY - 24
    found = like_hours(
        profile_of(counts, first_hour=first),
        first_hour=first,
        hours=72,
        length=1,
        policy=POLICY,
        own=counts,
        seen=times_seen(first_hour=first, hours=72),
    )[:, 0]
    assert (found[:48] > 0).all()
    assert (found[48:] == 0).all()
