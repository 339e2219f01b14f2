"""Like hours are compared with like, and a window never with itself."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flywheel.drift.seasons import Season, SeasonPolicy, is_weekend, like_hours, pooled_days, profile_of, season_of, sliding_sums
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


def test_a_reference_grows_from_learning_through_pooled_days_to_hours_of_the_day() -> None:
    def at(days: int, weekend: int) -> Season:
        return season_of(whole_days=days, weekdays=days - weekend, weekend_days=weekend, policy=POLICY).season

    assert [at(0, 0), at(1, 0), at(27, 8), at(28, 8)] == [Season.LEARNING, Season.POOLED_DAYS, Season.POOLED_DAYS, Season.HOUR_OF_DAY]
    assert at(30, 0) is Season.POOLED_DAYS
