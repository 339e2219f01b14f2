"""What is a session's first bad answer."""

from datetime import timedelta

import pytest

from flywheel.errors import InvalidInput
from flywheel.traffic.column import Column, Family, Measure
from flywheel.traffic.features import COLUMNS
from flywheel.traffic.firsts import FIRSTS, FORGOTTEN_AFTER, candidates, counts_as_first, with_firsts
from flywheel.windows.plausible_counts import check_columns
from tests.traffic_events import NOON

SECOND = timedelta(seconds=1)


def test_every_rate_that_only_gets_worse_has_its_firsts() -> None:
    assert {rate.name for rate in FIRSTS.values()} == {column.name for column in COLUMNS if column.worse and not column.first_of}
    for column in COLUMNS:
        assert not column.first_of or (column.worse == "yes" and column.family is FIRSTS[column.name].family)


@pytest.mark.parametrize(
    ("row", "found"),
    [
        ({"refusal": 1.0, "valid_format": 1.0, "error": 0.0}, ("first_refusal",)),
        ({"refusal": 0.0, "valid_format": 0.0, "error": 0.0}, ("first_invalid",)),
        ({"refusal": None, "valid_format": None, "error": 1.0}, ("first_error",)),
        ({"refusal": 1.0, "valid_format": 0.0, "error": 0.0}, ("first_refusal", "first_invalid")),
        ({"refusal": 0.0, "valid_format": 1.0, "error": 0.0}, ()),
        ({}, ()),
    ],
)
def test_a_row_counts_where_its_rate_is_on_the_worse_side(row: dict[str, float | None], found: tuple[str, ...]) -> None:
    assert candidates(row) == found


def test_a_session_counts_once_a_day_whichever_row_comes_first() -> None:
    assert counts_as_first(at=NOON, counted_at=None)
    for apart in (timedelta(0), SECOND, FORGOTTEN_AFTER - SECOND):
        assert not counts_as_first(at=NOON + apart, counted_at=NOON)
        assert not counts_as_first(at=NOON - apart, counted_at=NOON), "a late row finds its session counted"
    assert counts_as_first(at=NOON + FORGOTTEN_AFTER, counted_at=NOON)


def test_a_rate_without_a_value_has_no_first() -> None:
    row = with_firsts({"refusal": 1.0, "valid_format": None, "error": 0.0}, ["first_refusal"])
    assert row == {
        "refusal": 1.0,
        "valid_format": None,
        "error": 0.0,
        "first_refusal": 1.0,
        "first_invalid": None,
        "first_error": 0.0,
    }


def test_firsts_of_a_column_without_a_worse_side_are_refused() -> None:
    either = Column(name="first_data", family=Family.INPUT, measure=Measure.RATE, names=("no", "yes"), first_of="personal_data")
    with pytest.raises(InvalidInput, match="counts firsts"):
        check_columns([either], where="test")
