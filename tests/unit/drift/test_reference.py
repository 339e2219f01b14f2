"""What may be compared with, and when the daemon pins by itself."""

from dataclasses import replace
from datetime import timedelta

import pytest

from flywheel.drift.pinning import PinningPolicy, first_whole_pane, period_end, pinning_due, unbroken_since
from flywheel.drift.reference import Covers, Maturity, Reference, in_force, pin, pinning_moment
from flywheel.errors import Refused
from flywheel.ids import BASE, DAEMON, AdapterName, Person
from flywheel.windows.pane import WindowPolicy, closing_edge
from tests.watching import MARIA, NOON, reference_of, some_rows, window_counts

DAY = timedelta(days=1)
TUNED = AdapterName("router-1")
HOUR_LONG = timedelta(hours=1)
POLICY = PinningPolicy(whole_day=DAY, watch=timedelta(hours=2))
HOUR = window_counts(some_rows(100))


def test_a_person_who_pins_under_a_day_pins_early_and_is_named() -> None:
    reference = pin(counts=HOUR, adapter=BASE, by=MARIA, now=NOON, whole_day=DAY)
    assert reference.maturity is Maturity.PINNED_EARLY
    assert reference.pinned_by == MARIA


def test_a_whole_day_is_pooled_and_the_daemon_alone_under_it_is_learning() -> None:
    day = window_counts(some_rows(100), minutes=24 * 60)
    assert pin(counts=day, adapter=BASE, by=DAEMON, now=NOON, whole_day=DAY).maturity is Maturity.POOLED_DAYS
    assert pin(counts=HOUR, adapter=BASE, by=DAEMON, now=NOON, whole_day=DAY).maturity is Maturity.LEARNING


def test_the_id_follows_from_the_counts_and_not_from_the_time_of_pinning() -> None:
    first = pin(counts=HOUR, adapter=BASE, by=MARIA, now=NOON, whole_day=DAY)
    again = pin(counts=HOUR, adapter=BASE, by=MARIA, now=NOON + DAY, whole_day=DAY)
    other = pin(counts=window_counts(some_rows(100, seed=9)), adapter=BASE, by=MARIA, now=NOON, whole_day=DAY)
    assert first.id == again.id != other.id


def test_a_period_without_rows_is_refused() -> None:
    with pytest.raises(Refused, match="no traffic"):
        pin(counts=window_counts([]), adapter=BASE, by=MARIA, now=NOON, whole_day=DAY)


def test_the_input_reference_survives_a_promotion_and_the_output_reference_does_not() -> None:
    base = reference_of(HOUR, name="of-base")
    inputs, outputs = in_force([base], champion=TUNED)
    assert inputs == base
    assert outputs is None
    tuned = replace(base, id="of-tuned", adapter=TUNED, pinned_at=NOON + DAY, covers=Covers.OUTPUT)
    inputs, outputs = in_force([base, tuned], champion=TUNED)
    assert inputs == base
    assert outputs == tuned
    assert in_force([base, tuned], champion=None) == (base, base)


def test_the_daemon_pins_after_a_whole_day() -> None:
    early = pinning_due(inputs=None, outputs=None, champion_alone_since=None, first_seen=None, newest=NOON, policy=POLICY)
    late = pinning_due(inputs=None, outputs=None, champion_alone_since=None, first_seen=NOON - DAY, newest=NOON, policy=POLICY)
    assert early.start is None
    assert (late.start, late.end, late.covers) == (NOON - DAY, NOON, Covers.ALL)


def test_a_new_champions_output_is_pinned_after_its_watch_period() -> None:
    base = reference_of(HOUR)
    since = NOON - timedelta(hours=1)
    early = pinning_due(inputs=base, outputs=None, champion_alone_since=since, first_seen=None, newest=NOON, policy=POLICY)
    late = pinning_due(
        inputs=base, outputs=None, champion_alone_since=since, first_seen=None, newest=NOON + timedelta(hours=1), policy=POLICY
    )
    assert early.start is None
    assert (late.start, late.covers) == (since, Covers.OUTPUT)


def test_while_a_challenger_takes_part_nothing_is_pinned() -> None:
    base = reference_of(HOUR)
    due = pinning_due(inputs=base, outputs=None, champion_alone_since=None, first_seen=NOON - 9 * DAY, newest=NOON, policy=POLICY)
    assert due.start is None


WEEKS = PinningPolicy(whole_day=DAY, watch=2 * HOUR_LONG)


def pinned_over(days: int, *, by: Person = DAEMON) -> Reference:
    counts = replace(HOUR, start=NOON - days * DAY, end=NOON)
    return pin(counts=counts, adapter=BASE, by=by, now=NOON, whole_day=DAY)


@pytest.mark.parametrize(
    ("held", "seen", "days"), [(1, 1, 0), (1, 2, 2), (2, 6, 6), (6, 7, 7), (7, 13, 0), (7, 14, 14), (14, 27, 0), (7, 28, 28), (28, 400, 0)]
)
def test_the_daemon_pins_again_with_each_day_of_the_first_week_then_after_two_weeks_and_after_four(held: int, seen: int, days: int) -> None:
    base = pinned_over(held)
    due = pinning_due(inputs=base, outputs=base, champion_alone_since=None, first_seen=NOON - seen * DAY, newest=NOON, policy=WEEKS)
    assert (due.start, due.covers) == ((NOON - days * DAY, Covers.ALL) if days else (None, Covers.ALL))


def test_a_new_champions_reference_is_of_whole_days_once_it_has_seen_one() -> None:
    base = pinned_over(7)
    due = pinning_due(
        inputs=base, outputs=None, champion_alone_since=NOON - 30 * HOUR_LONG, first_seen=NOON - 9 * DAY, newest=NOON, policy=WEEKS
    )
    assert (due.start, due.end, due.covers) == (NOON - DAY, NOON, Covers.OUTPUT)


def test_traffic_is_seen_since_its_last_pause_of_more_than_a_day() -> None:
    days = [NOON - DAY * days for days in (9, 8, 3, 2.5, 2, 1.2, 0.4)]
    eight_hours, two_days = (replace(WEEKS, whole_day=length) for length in (8 * HOUR_LONG, 2 * DAY))  # pauses of a day, of six days
    assert unbroken_since(days, until=NOON, policy=eight_hours) == NOON - 3 * DAY
    assert unbroken_since(days[::-1], until=NOON, policy=two_days) == NOON - 9 * DAY
    assert unbroken_since(days[:3], until=NOON, policy=eight_hours) is None
    assert unbroken_since([], until=NOON, policy=eight_hours) is None
    assert unbroken_since([NOON + DAY], until=NOON, policy=eight_hours) is None


def test_a_period_ends_with_a_pane_an_hour_or_a_day_of_the_calendar() -> None:
    at, hourly, minutes = NOON + timedelta(minutes=47, seconds=3), WindowPolicy(), WindowPolicy(pane=timedelta(seconds=5), longer_panes=())
    assert period_end(at, both_stand=False, windows=hourly, policy=WEEKS) == NOON
    assert period_end(at, both_stand=True, windows=hourly, policy=WEEKS) == NOON.replace(hour=0)
    assert period_end(at, both_stand=False, windows=minutes, policy=WEEKS) == NOON + timedelta(minutes=47)


def test_a_champion_is_alone_from_its_first_whole_pane_or_hour_on() -> None:
    at, minutes = NOON + timedelta(minutes=7), WindowPolicy(pane=timedelta(minutes=2), longer_panes=())
    assert first_whole_pane(at, windows=WindowPolicy(), policy=WEEKS) == NOON + HOUR_LONG
    assert first_whole_pane(at, windows=minutes, policy=WEEKS) == NOON + timedelta(minutes=8)


def test_what_is_pinned_last_is_in_force_also_when_a_clock_was_ahead() -> None:
    ahead = replace(pinned_over(2), pinned_at=NOON + 3 * DAY)
    newer = replace(pinned_over(3), pinned_at=pinning_moment([ahead], now=NOON))
    assert in_force([ahead, newer], champion=None) == (newer, newer)
    assert pinning_moment([], now=NOON) == NOON
    assert pinning_moment([ahead], now=NOON + 4 * DAY) == NOON + 4 * DAY


def test_what_a_person_pinned_is_not_replaced_by_the_daemon() -> None:
    base = pinned_over(1, by=MARIA)
    due = pinning_due(inputs=base, outputs=base, champion_alone_since=None, first_seen=NOON - 30 * DAY, newest=NOON, policy=WEEKS)
    assert due.start is None


def test_what_drifts_now_does_not_become_the_normal() -> None:
    base = pinned_over(1)
    due = pinning_due(
        inputs=base, outputs=base, champion_alone_since=None, first_seen=NOON - 30 * DAY, newest=NOON, policy=WEEKS, calm=False
    )
    assert due.start is None
    assert "while an alert is open" in due.reason


def test_a_period_that_saw_two_champions_is_a_reference_of_the_input_only() -> None:
    base = pinned_over(1)
    due = pinning_due(inputs=base, outputs=base, champion_alone_since=NOON - 3 * DAY, first_seen=NOON - 7 * DAY, newest=NOON, policy=WEEKS)
    assert due.covers is Covers.INPUT
    tuned = replace(base, id="of-tuned", adapter=TUNED, covers=Covers.OUTPUT)
    both = replace(base, id="of-both", adapter=TUNED, pinned_at=NOON + DAY, covers=Covers.INPUT)
    inputs, outputs = in_force([base, tuned, both], champion=TUNED)
    assert (inputs, outputs) == (both, tuned)


WINDOWS = WindowPolicy(pane=timedelta(minutes=5), window_panes=12, slide_panes=12, lateness=timedelta(minutes=1))


def test_while_traffic_comes_event_time_closes_windows() -> None:
    assert closing_edge(newest=NOON, now=NOON + timedelta(seconds=2), policy=WINDOWS) == NOON


def test_when_traffic_stops_the_clock_closes_its_windows_and_one_without_rows() -> None:
    soon = closing_edge(newest=NOON, now=NOON + timedelta(minutes=30), policy=WINDOWS)
    days_later = closing_edge(newest=NOON, now=NOON + 3 * DAY, policy=WINDOWS)
    assert soon == NOON + timedelta(minutes=24)
    assert days_later == NOON + timedelta(hours=2, minutes=1)


def test_a_producer_whose_clock_runs_fast_closes_nothing_early() -> None:
    assert closing_edge(newest=NOON + DAY, now=NOON, policy=WINDOWS) == NOON + timedelta(minutes=1)
