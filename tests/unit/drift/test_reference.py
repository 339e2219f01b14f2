"""What may be compared with, and when the daemon pins by itself."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from flywheel.drift.pinning import FilledTime, PinningPolicy, filled_time, first_whole_pane, period_end, pinning_due
from flywheel.drift.reference import Covers, Maturity, Reference, in_force, pin, pinning_moment
from flywheel.errors import Refused
from flywheel.ids import BASE, DAEMON, AdapterName, Person
from flywheel.windows.pane import WindowPolicy, closing_edge, windows_to_close
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


def full(length: timedelta, *, until: datetime = NOON) -> FilledTime:
    """Traffic in every hour of that time."""
    return FilledTime(part=HOUR_LONG, starts=tuple(until - HOUR_LONG * back for back in range(length // HOUR_LONG, 0, -1)))


def test_the_daemon_pins_after_a_whole_day() -> None:
    early = pinning_due(inputs=None, outputs=None, champion_alone_since=None, filled=FilledTime(part=HOUR_LONG), newest=NOON, policy=POLICY)
    late = pinning_due(inputs=None, outputs=None, champion_alone_since=None, filled=full(DAY), newest=NOON, policy=POLICY)
    assert early.start is None
    assert (late.start, late.end, late.covers) == (NOON - DAY, NOON, Covers.ALL)


def test_a_new_champions_output_is_pinned_after_its_watch_period() -> None:
    base = reference_of(HOUR)
    since, later = NOON - timedelta(hours=1), NOON + timedelta(hours=1)
    early = pinning_due(inputs=base, outputs=None, champion_alone_since=since, filled=full(HOUR_LONG), newest=NOON, policy=POLICY)
    seen = full(2 * HOUR_LONG, until=later)
    late = pinning_due(inputs=base, outputs=None, champion_alone_since=since, filled=seen, newest=later, policy=POLICY)
    assert early.start is None
    assert (late.start, late.covers) == (since, Covers.OUTPUT)


def test_while_a_challenger_takes_part_nothing_is_pinned() -> None:
    base = reference_of(HOUR)
    due = pinning_due(inputs=base, outputs=None, champion_alone_since=None, filled=full(9 * DAY), newest=NOON, policy=POLICY)
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
    due = pinning_due(inputs=base, outputs=base, champion_alone_since=None, filled=full(seen * DAY), newest=NOON, policy=WEEKS)
    assert (due.start, due.covers) == ((NOON - days * DAY, Covers.ALL) if days else (None, Covers.ALL))


def test_a_new_champions_reference_is_of_whole_days_once_it_has_seen_one() -> None:
    base = pinned_over(7)
    due = pinning_due(
        inputs=base, outputs=None, champion_alone_since=NOON - 30 * HOUR_LONG, filled=full(9 * DAY), newest=NOON, policy=WEEKS
    )
    assert (due.start, due.end, due.covers) == (NOON - DAY, NOON, Covers.OUTPUT)


def starts(
    moments: list[datetime], *, until: datetime = NOON, day: timedelta = DAY, pane: timedelta = timedelta(minutes=5)
) -> list[datetime]:
    windows = WindowPolicy(pane=pane, longer_panes=())
    return list(filled_time(moments, until=until, windows=windows, policy=replace(WEEKS, whole_day=day)).starts)


def test_traffic_is_seen_since_its_last_pause_of_more_than_three_days() -> None:
    days = [NOON - DAY * days for days in (9, 8, 3, 2.5, 2, 1.25, 0.5)]
    assert starts(days, day=8 * HOUR_LONG, pane=HOUR_LONG) == days[2:]
    assert starts(days[::-1], day=2 * DAY, pane=2 * HOUR_LONG) == days
    assert starts(days[:3], day=8 * HOUR_LONG, pane=HOUR_LONG) == []
    assert starts([]) == []
    assert starts([NOON + DAY]) == []


def test_an_hour_with_rows_counts_once_and_the_first_only_if_it_is_whole() -> None:
    panes = [NOON - minutes * timedelta(minutes=5) for minutes in range(1, 40)]
    assert starts(panes) == [NOON - 3 * HOUR_LONG, NOON - 2 * HOUR_LONG, NOON - HOUR_LONG]
    assert starts(panes, until=NOON - 20 * timedelta(minutes=1)) == [NOON - 3 * HOUR_LONG, NOON - 2 * HOUR_LONG, NOON - HOUR_LONG]


def test_a_day_shorter_than_24_panes_is_counted_in_panes() -> None:
    second = timedelta(seconds=1)
    panes = [NOON - 5 * number * second for number in range(1, 13)]
    seen = filled_time(
        panes, until=NOON, windows=WindowPolicy(pane=5 * second, longer_panes=()), policy=replace(WEEKS, whole_day=60 * second)
    )
    assert (seen.part, seen.all, seen.start_of_last(60 * second)) == (5 * second, 60 * second, NOON - 60 * second)


@pytest.mark.parametrize("jump", [timedelta(hours=1), DAY, 2 * DAY, 365 * DAY])
def test_a_clock_that_jumps_forward_makes_no_traffic_older(jump: timedelta) -> None:
    """22 hours of traffic, then some minutes of a clock that runs ahead."""
    panes = [NOON - HOUR_LONG + number * timedelta(minutes=5) for number in range(-22 * 12, 12)]
    ahead = NOON + jump
    minutes = [ahead - timedelta(minutes=5), ahead - timedelta(minutes=10)]
    filled = filled_time([*panes[12:], *minutes], until=ahead, windows=WindowPolicy(), policy=WEEKS)
    due = pinning_due(inputs=None, outputs=None, champion_alone_since=None, filled=filled, newest=ahead, policy=WEEKS)
    assert due.start is None, due.reason


def test_traffic_of_office_hours_is_a_day_old_after_three() -> None:
    worked = [NOON - days * DAY - minutes * timedelta(minutes=5) for days in range(3) for minutes in range(1, 8 * 12 + 1)]
    due = pinning_due(
        inputs=None,
        outputs=None,
        champion_alone_since=None,
        filled=filled_time(worked, until=NOON, windows=WindowPolicy(), policy=WEEKS),
        newest=NOON,
        policy=WEEKS,
    )
    assert (due.start, due.end) == (NOON - 2 * DAY - 8 * HOUR_LONG, NOON)
    early = filled_time(worked[: 2 * 8 * 12], until=NOON, windows=WindowPolicy(), policy=WEEKS)
    assert pinning_due(inputs=None, outputs=None, champion_alone_since=None, filled=early, newest=NOON, policy=WEEKS).start is None


def test_a_watch_period_counts_hours_with_rows() -> None:
    base, since = pinned_over(7), NOON - 30 * HOUR_LONG
    quiet = FilledTime(part=HOUR_LONG, starts=(NOON - 40 * HOUR_LONG, NOON - HOUR_LONG))
    due = pinning_due(inputs=base, outputs=None, champion_alone_since=since, filled=quiet, newest=NOON, policy=WEEKS)
    assert (due.start, due.reason) == (None, "too little traffic that only the champion answered")


def test_a_period_ends_with_a_pane_an_hour_or_a_day_of_the_calendar() -> None:
    at, hourly, minutes = NOON + timedelta(minutes=47, seconds=3), WindowPolicy(), WindowPolicy(pane=timedelta(seconds=5), longer_panes=())
    assert period_end(at, both_in_force=False, windows=hourly, policy=WEEKS) == NOON
    assert period_end(at, both_in_force=True, windows=hourly, policy=WEEKS) == NOON.replace(hour=0)
    assert period_end(at, both_in_force=False, windows=minutes, policy=WEEKS) == NOON + timedelta(minutes=47)


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
    due = pinning_due(inputs=base, outputs=base, champion_alone_since=None, filled=full(30 * DAY), newest=NOON, policy=WEEKS)
    assert due.start is None


def test_what_drifts_now_does_not_become_the_normal() -> None:
    base = pinned_over(1)
    due = pinning_due(
        inputs=base, outputs=base, champion_alone_since=None, filled=full(30 * DAY), newest=NOON, policy=WEEKS, may_replace=False
    )
    assert due.start is None
    assert "while an alert is open" in due.reason


def test_a_period_that_saw_two_champions_is_a_reference_of_the_input_only() -> None:
    base = pinned_over(1)
    due = pinning_due(inputs=base, outputs=base, champion_alone_since=NOON - 3 * DAY, filled=full(7 * DAY), newest=NOON, policy=WEEKS)
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


@pytest.mark.parametrize("ahead", [timedelta(seconds=295), DAY])
def test_a_producer_whose_clock_runs_fast_takes_no_lateness_away(ahead: timedelta) -> None:
    assert closing_edge(newest=NOON + ahead, now=NOON, policy=WINDOWS) == NOON
    assert windows_to_close(NOON + timedelta(seconds=59), NOON - HOUR_LONG, WINDOWS) == []
    assert windows_to_close(NOON + timedelta(seconds=60), NOON - HOUR_LONG, WINDOWS) == [(NOON - HOUR_LONG, NOON)]
