"""A moment that lies further ahead than clocks differ was stored by a clock that ran ahead, and is not believed."""

from datetime import UTC, datetime, timedelta

import pytest

from flywheel.clock import CLOCKS_DIFFER_BY, has_passed, lies_ahead

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def test_clocks_may_differ_by_a_minute() -> None:
    assert not lies_ahead(NOON - 1000 * SECOND, now=NOON)
    assert not lies_ahead(NOON + CLOCKS_DIFFER_BY, now=NOON)
    assert lies_ahead(NOON + CLOCKS_DIFFER_BY + SECOND, now=NOON)


def test_a_wait_lasts_as_long_as_it_should() -> None:
    assert not has_passed(10 * SECOND, since=NOON, now=NOON + 9 * SECOND)
    assert has_passed(10 * SECOND, since=NOON, now=NOON + 10 * SECOND)
    assert not has_passed(10 * SECOND, since=NOON + 30 * SECOND, now=NOON), "within what clocks differ by"


@pytest.mark.parametrize("ahead", [timedelta(hours=1), timedelta(days=1), timedelta(days=365)])
def test_a_wait_that_began_in_the_future_is_over(ahead: timedelta) -> None:
    assert has_passed(10 * SECOND, since=NOON + ahead, now=NOON)
