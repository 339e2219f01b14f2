"""Numbers that are none are refused with their place, and the ends of a range are told apart."""

import math
from fractions import Fraction

import numpy as np
import pytest

from flywheel.errors import InvalidInput
from flywheel.plausible import check_number, check_whole, shown


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


def test_what_cannot_be_printed_is_described() -> None:
    assert shown(10**5000) == "a number of 16610 bits"
    assert (shown(None), shown(3)) == ("None", 3)
