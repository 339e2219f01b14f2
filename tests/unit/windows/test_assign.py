"""Panes and windows in time."""

from datetime import timedelta

from flywheel.windows.assign import WindowPolicy, pane_start, windows_to_close
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
