"""Which closed windows are looked at again, and what rows that came late changed in windows of every length."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flywheel.drift.late import Judged, RetestPolicy, came_late, due_again, retested_lengths
from flywheel.drift.verdict import DriftStatus
from flywheel.errors import InvalidInput
from flywheel.windows.assign import WindowPolicy
from tests.watching import NOON, verdict

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
WINDOWS = WindowPolicy(longer_panes=(24,))  # of one and of two hours
POLICY = RetestPolicy()


def judged(ends: int = 1, *, position: int = 100, at: datetime | None = None, rows: int = 50) -> Judged:
    end = NOON + ends * HOUR
    return Judged(
        window=f"window-{ends}", start=end - HOUR, end=end, since=end - 2 * HOUR, rows=rows, position=position, at=at or end + MINUTE
    )


def due(*closed: Judged, changed: dict[datetime, int], now: datetime = NOON + 6 * HOUR, policy: RetestPolicy = POLICY) -> list[str]:
    return [one.judged.window for one in due_again(closed, changed=changed, windows=WINDOWS, policy=policy, now=now)]


def test_a_pane_that_changed_after_the_judging_makes_its_windows_due_oldest_first() -> None:
    closed = [judged(3), judged(2), judged(1), judged(4)]
    assert due(*closed, changed={NOON + HOUR + 5 * MINUTE: 101}) == ["window-2", "window-3"]


def test_a_pane_that_was_judged_as_it_is_makes_nothing_due() -> None:
    assert due(judged(2), changed={NOON + HOUR: 100}) == []
    assert due(judged(2), changed={}) == []


def test_the_pane_at_the_end_belongs_to_the_next_window() -> None:
    assert due(judged(2), changed={NOON + 2 * HOUR: 101}) == []
    assert due(judged(2), changed={NOON: 101}) == ["window-2"], "the first pane of its longest window is its own"
    assert due(judged(2), changed={NOON - 5 * MINUTE: 101}) == []


def test_the_reason_says_how_many_panes_changed() -> None:
    (one,) = due_again([judged(2)], changed={NOON: 101, NOON + HOUR: 300}, windows=WINDOWS, policy=POLICY, now=NOON + 6 * HOUR)
    assert one.reason == "2 of its panes changed after it was judged"


def test_what_ended_too_long_ago_stays_as_it_is() -> None:
    changed = {NOON + HOUR: 101}
    assert due(judged(2), changed=changed, now=NOON + 26 * HOUR) == ["window-2"]
    assert due(judged(2), changed=changed, now=NOON + 26 * HOUR + MINUTE) == []
    assert due(judged(2), changed=changed, policy=RetestPolicy(reach=timedelta()), now=NOON + 2 * HOUR) == []


def test_a_window_rests_after_each_judgement_and_a_clock_that_was_set_back_prolongs_no_rest() -> None:
    changed, held = {NOON + HOUR: 101}, judged(2, at=NOON + 3 * HOUR)
    assert due(held, changed=changed, now=NOON + 3 * HOUR + 4 * MINUTE) == []
    assert due(held, changed=changed, now=NOON + 3 * HOUR + 5 * MINUTE) == ["window-2"]
    assert due(held, changed=changed, now=NOON + 2 * HOUR + MINUTE) == ["window-2"]


@pytest.mark.parametrize("other", [{"since": NOON}, {"start": NOON + HOUR + 30 * MINUTE}])
def test_a_window_of_other_lengths_than_todays_cannot_be_compared_and_stays(other: dict[str, datetime]) -> None:
    assert due(replace(judged(3), **other), changed={NOON + 2 * HOUR: 101}) == []  # type: ignore[arg-type]


def test_only_rows_that_came_on_top_count() -> None:
    assert came_late(judged(rows=50), rows=60) == 10
    assert came_late(judged(rows=50), rows=50) == 0
    assert came_late(judged(rows=50), rows=3) == 0, "a record that lost rows"


@given(st.dictionaries(st.integers(0, 60), st.integers(0, 200)), st.lists(st.integers(0, 200), min_size=5, max_size=5))
def test_exactly_the_windows_with_a_newer_pane_are_due(panes: dict[int, int], positions: list[int]) -> None:
    changed = {NOON - HOUR + pane * 5 * MINUTE: position for pane, position in panes.items()}
    closed = [judged(ends, position=position) for ends, position in enumerate(positions, start=1)]
    newer = [one.window for one in closed if any(one.since <= at < one.end and position > one.position for at, position in changed.items())]
    assert due(*closed, changed=changed, now=NOON + 12 * HOUR) == newer


def test_each_length_is_held_against_itself() -> None:
    longer = replace(verdict(column="refusal"), window_start=NOON - HOUR)
    quiet = verdict(DriftStatus.OK, column="refusal", score=0.4)
    changed = retested_lengths([quiet, longer], [verdict(column="refusal"), longer])
    assert changed.found == (verdict(column="refusal"),)
    assert changed.withdrawn == ()
    assert changed.reason == "1 h: with its late rows the window has 1 new movers and 0 less"


def test_a_length_of_which_nothing_is_kept_any_more_withdrew_its_movers() -> None:
    longer = replace(verdict(column="refusal"), window_start=NOON - HOUR)
    changed = retested_lengths([verdict(DriftStatus.OK), longer], [verdict(DriftStatus.OK)])
    assert changed.withdrawn == (longer,)
    assert changed.reason.startswith("2 h: ")


def test_rows_that_change_no_mover_are_said_to_change_none() -> None:
    changed = retested_lengths([verdict()], [verdict()])
    assert (changed.found, changed.withdrawn, changed.reason) == ((), (), "what moved did not change")
    assert retested_lengths([], []).found == ()


def test_windows_that_ended_at_different_moments_are_never_held_against_each_other() -> None:
    with pytest.raises(InvalidInput, match="different moments"):
        retested_lengths([verdict()], [verdict(start=NOON + HOUR)])


@pytest.mark.parametrize("wrong", [{"reach": timedelta(-1)}, {"rest": timedelta(seconds=-1)}, {"reach": 24}])
def test_a_policy_that_is_no_length_of_time_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(InvalidInput, match="length of time"):
        RetestPolicy(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [{"rows": -1}, {"position": 1.5}, {"at": datetime(2026, 3, 1)}, {"window": ""}])
def test_a_judgement_that_cannot_be_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(InvalidInput):
        replace(judged(), **wrong)  # type: ignore[arg-type]


def test_what_moved_against_a_reference_that_was_pinned_since_is_not_blamed_on_late_rows() -> None:
    then = replace(verdict(DriftStatus.OK, score=0.4), evidence={"reference": "reference-of-then"})
    same, other = (replace(verdict(), evidence={"reference": name}) for name in ("reference-of-then", "reference-of-now"))
    assert retested_lengths([then], [same]).found == (same,)
    changed = retested_lengths([then], [other])
    assert changed.found == ()
    assert changed.reason == "what moved did not change; 1 more moved against a reference that was pinned since, which no late row did"
