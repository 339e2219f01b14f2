"""Panes and windows in time."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flywheel.errors import InvalidInput
from flywheel.windows.pane import WindowPolicy, nested_windows, number_of_due_windows, pane_start, windows_to_close
from tests.traffic_events import NOON

MINUTE = timedelta(minutes=1)
POLICY = WindowPolicy(pane=5 * MINUTE, window_panes=12, slide_panes=12, lateness=MINUTE)
HOUR = 60 * MINUTE


def test_a_moment_on_the_line_begins_its_pane() -> None:
    assert pane_start(NOON, 5 * MINUTE) == NOON
    assert pane_start(NOON + 5 * MINUTE - timedelta(microseconds=1), 5 * MINUTE) == NOON


def test_a_window_waits_for_late_rows() -> None:
    assert windows_to_close(NOON + 59 * timedelta(seconds=1), NOON - HOUR, POLICY) == []
    assert windows_to_close(NOON + MINUTE, NOON - HOUR, POLICY) == [(NOON - HOUR, NOON)]


def test_windows_missed_meanwhile_close_oldest_first() -> None:
    assert windows_to_close(NOON + MINUTE, NOON - 3 * HOUR, POLICY) == [
        (NOON - 3 * HOUR, NOON - 2 * HOUR),
        (NOON - 2 * HOUR, NOON - HOUR),
        (NOON - HOUR, NOON),
    ]


def test_nothing_closes_twice_and_a_clock_that_runs_back_closes_nothing() -> None:
    assert windows_to_close(NOON + 30 * MINUTE, NOON, POLICY) == []
    assert windows_to_close(NOON - 5 * HOUR, NOON, POLICY) == []


def test_the_first_window_is_the_newest_and_a_long_pause_is_bounded() -> None:
    assert windows_to_close(NOON + MINUTE, None, POLICY) == [(NOON - HOUR, NOON)]
    assert len(windows_to_close(NOON, NOON - timedelta(days=3650), POLICY, at_most=7)) == 7


def test_sliding_windows_overlap() -> None:
    sliding = WindowPolicy(pane=5 * MINUTE, window_panes=12, slide_panes=6, lateness=timedelta())
    assert windows_to_close(NOON, NOON - HOUR, sliding) == [(NOON - 90 * MINUTE, NOON - 30 * MINUTE), (NOON - HOUR, NOON)]


def test_longer_windows_end_together_and_their_parts_meet() -> None:
    hours = nested_windows(NOON, replace(POLICY, longer_panes=(24, 48)))
    assert [(window.start, window.added_until) for window in hours] == [
        (NOON - HOUR, NOON),
        (NOON - 2 * HOUR, NOON - HOUR),
        (NOON - 4 * HOUR, NOON - 2 * HOUR),
    ]


@settings(deadline=None, max_examples=40)
@given(
    lengths=st.lists(st.integers(1, 30), min_size=1, max_size=5, unique=True).map(sorted), panes=st.lists(st.integers(0, 9), min_size=40)
)
def test_growing_sums_are_the_sums_of_each_window(lengths: list[int], panes: list[int]) -> None:
    policy = WindowPolicy(pane=MINUTE, window_panes=lengths[0], slide_panes=1, lateness=timedelta(), longer_panes=tuple(lengths[1:]))
    end = NOON + len(panes) * MINUTE

    def rows(start: timedelta, until: timedelta) -> int:
        return sum(panes[max(0, start // MINUTE) : max(0, until // MINUTE)])

    total = 0
    for length, window in zip(lengths, nested_windows(end, policy), strict=True):
        total += rows(window.start - NOON, window.added_until - NOON)
        assert total == sum(panes[-length:])


@pytest.mark.parametrize("longer", [(12,), (6,), (24, 24), (48, 24)])
def test_windows_that_do_not_grow_are_refused(longer: tuple[int, ...]) -> None:
    with pytest.raises(InvalidInput, match="longer than the one before"):
        replace(POLICY, longer_panes=longer)


def test_a_pane_without_length_is_refused() -> None:
    with pytest.raises(InvalidInput, match="longer than nothing"):
        WindowPolicy(pane=timedelta())


def test_due_windows_are_counted_beyond_those_that_are_closed() -> None:
    assert number_of_due_windows(NOON, NOON - timedelta(days=3650), POLICY) > 80_000
    assert number_of_due_windows(NOON, NOON + timedelta(days=1), POLICY) == 0
    assert number_of_due_windows(NOON, None, POLICY) == 1
