"""Moments, durations, numbers and texts that are none are refused with their place, and the ends of a range are told apart."""

import math
from datetime import UTC, datetime
from fractions import Fraction

import numpy as np
import pytest

from flywheel.errors import InvalidInput
from flywheel.plausible import FIRST, LAST, check_moment, check_moments, check_number, check_text, check_whole, shown


@pytest.mark.parametrize("moment", [None, 3.0, "2026-11-22", datetime(2026, 11, 22), datetime.max.replace(tzinfo=UTC)])
def test_a_moment_is_a_time_with_a_zone_inside_the_calendar(moment: object) -> None:
    with pytest.raises(InvalidInput, match="here: the start") as refused:
        check_moment(moment, where="here", said="start")
    assert refused.value.value is not None


def test_the_calendars_ends_are_moments_and_none_is_only_left_out_among_several() -> None:
    check_moments("here", first=FIRST, last=LAST, nothing=None)


@pytest.mark.parametrize("number", [0, 0.0, 1, 0.5, Fraction(1, 2), np.float32(0.5), np.int64(1)])
def test_the_ends_belong_to_a_range(number: object) -> None:
    check_number(number, where="here", most=1)


@pytest.mark.parametrize("number", [0, 1, -1, math.nan, math.inf, 10**400, True, None, "0.5", np.bool_(True)])
def test_the_ends_do_not_belong_between_above_and_below(number: object) -> None:
    with pytest.raises(InvalidInput, match="must be a number above 0 and below 1"):
        check_number(number, where="here", above=0, below=1)


def test_a_whole_number_below_its_range_is_refused_with_the_range() -> None:
    with pytest.raises(InvalidInput, match=r"here\.n: must be a whole number from 0 to \d+, never negative \(got -1\)"):
        check_whole(-1, where="here.n")
    with pytest.raises(InvalidInput, match=r"here\.n: must be a whole number from 1 to \d+ \(got 0\)"):
        check_whole(0, where="here.n", least=1)


def test_an_empty_text_is_one_only_where_it_may_be() -> None:
    check_text("", where="here", empty=True)
    with pytest.raises(InvalidInput, match="must be a text"):
        check_text("", where="here")


def test_what_cannot_be_printed_is_described() -> None:
    assert shown(10**5000) == "a number of 16610 bits"
    assert (shown(None), shown(3)) == ("None", 3)
