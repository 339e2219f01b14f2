"""Which rows are the first failure of their session and day."""

from datetime import datetime

import pytest

from flywheel.traffic.features import COLUMNS
from flywheel.traffic.first_failures import FIRST_FAILURES, candidates, day_of, with_first_failures


def test_every_rate_with_a_worse_side_has_first_failures() -> None:
    assert {rate.name for rate in FIRST_FAILURES.values()} == {column.name for column in COLUMNS if column.worse and not column.first_of}
    for column in COLUMNS:
        assert not column.first_of or (column.worse == "yes" and column.family is FIRST_FAILURES[column.name].family)


@pytest.mark.parametrize(
    ("row", "found"),
    [
        ({"refusal": 1.0, "valid_format": 1.0, "error": 0.0}, ("first_refusal",)),
        ({"refusal": 0.0, "valid_format": 0.0, "error": 0.0}, ("first_invalid",)),
        ({"refusal": None, "valid_format": None, "error": 1.0}, ("first_error",)),
        ({"refusal": 1.0, "valid_format": 0.0, "error": 0.0}, ("first_refusal", "first_invalid")),
        ({"refusal": 0.0, "valid_format": 1.0, "error": 0.0}, ()),
        ({"error": None, "client_error": 1.0, "throttled": 0.0, "client_aborted": 0.0}, ("first_client_error",)),
        ({}, ()),
    ],
)
def test_a_row_counts_where_its_rate_is_on_the_worse_side(row: dict[str, float | None], found: tuple[str, ...]) -> None:
    assert candidates(row) == found


@pytest.mark.parametrize(
    ("at", "day"),
    [
        ("2026-01-05T00:00:00+00:00", "2026-01-05"),
        ("2026-01-05T23:59:59.999999+00:00", "2026-01-05"),
        ("2026-01-06T00:30:00+01:00", "2026-01-05"),
        ("2026-01-04T20:00:00-05:00", "2026-01-05"),
    ],
)
def test_days_are_utcs(at: str, day: str) -> None:
    assert day_of(datetime.fromisoformat(at)) == day


def test_a_rate_without_a_value_has_no_first_failure() -> None:
    row = with_first_failures({"refusal": 1.0, "valid_format": None, "error": 0.0}, ["first_refusal"])
    assert row == {
        "refusal": 1.0,
        "valid_format": None,
        "error": 0.0,
        "first_refusal": 1.0,
        "first_invalid": None,
        "first_error": 0.0,
        "first_client_error": None,
        "first_throttled": None,
        "first_client_aborted": None,
    }
