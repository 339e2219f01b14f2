"""Which closed windows are looked at again, and what rows that came late changed in windows of every length."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flywheel.drift.late_data import JudgedRows, ReevaluationPolicy, due_windows, late_rows, reevaluation
from flywheel.drift.verdict import DriftStatus
from flywheel.windows.pane import WindowPolicy
from tests.watching import NOON, verdict

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
WINDOWS = WindowPolicy(longer_panes=(24,))  # of one and of two hours
POLICY = ReevaluationPolicy()


def judged(ends: int = 1, *, position: int = 100, at: datetime | None = None, rows: int = 50) -> JudgedRows:
    end = NOON + ends * HOUR
    return JudgedRows(
        window=f"window-{ends}", start=end - HOUR, end=end, since=end - 2 * HOUR, rows=rows, position=position, at=at or end + MINUTE
    )


def due(
    *closed: JudgedRows, changed: dict[datetime, int], now: datetime = NOON + 6 * HOUR, policy: ReevaluationPolicy = POLICY
) -> list[str]:
    return [one.judged.window for one in due_windows(closed, changed=changed, windows=WINDOWS, policy=policy, now=now)]


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
    (one,) = due_windows([judged(2)], changed={NOON: 101, NOON + HOUR: 300}, windows=WINDOWS, policy=POLICY, now=NOON + 6 * HOUR)
    assert one.reason == "2 of its panes changed after it was judged"


def test_a_window_closed_before_its_time_waits_until_no_row_should_reach_it() -> None:
    changed = {NOON + HOUR: 101}
    assert due(judged(2, at=NOON), changed=changed, now=NOON + 2 * HOUR + MINUTE / 2) == []
    assert due(judged(2, at=NOON), changed=changed, now=NOON + 2 * HOUR + MINUTE) == ["window-2"]


def test_what_ended_too_long_ago_stays_as_it_is() -> None:
    changed = {NOON + HOUR: 101}
    assert due(judged(2), changed=changed, now=NOON + 26 * HOUR) == ["window-2"]
    assert due(judged(2), changed=changed, now=NOON + 26 * HOUR + MINUTE) == []
    assert due(judged(2), changed=changed, policy=ReevaluationPolicy(look_back=timedelta()), now=NOON + 2 * HOUR) == []


def test_a_debounce_follows_each_judgement_also_when_a_clock_is_set_back() -> None:
    changed, held = {NOON + HOUR: 101}, judged(2, at=NOON + 3 * HOUR)
    assert due(held, changed=changed, now=NOON + 3 * HOUR + 4 * MINUTE) == []
    assert due(held, changed=changed, now=NOON + 3 * HOUR + 5 * MINUTE) == ["window-2"]
    assert due(held, changed=changed, now=NOON + 2 * HOUR + MINUTE) == ["window-2"]


@pytest.mark.parametrize("other", [{"since": NOON}, {"start": NOON + HOUR + 30 * MINUTE}])
def test_a_window_of_other_lengths_than_todays_stays_as_it_is(other: dict[str, datetime]) -> None:
    assert due(replace(judged(3), **other), changed={NOON + 2 * HOUR: 101}) == []  # type: ignore[arg-type]


def test_only_rows_that_came_on_top_count() -> None:
    assert late_rows(judged(rows=50), rows=60) == 10
    assert late_rows(judged(rows=50), rows=50) == 0
    assert late_rows(judged(rows=50), rows=3) == 0, "a record that lost rows"


@given(st.dictionaries(st.integers(0, 60), st.integers(0, 200)), st.lists(st.integers(0, 200), min_size=5, max_size=5))
def test_exactly_the_windows_with_a_newer_pane_are_due(panes: dict[int, int], positions: list[int]) -> None:
    changed = {NOON - HOUR + pane * 5 * MINUTE: position for pane, position in panes.items()}
    closed = [judged(ends, position=position) for ends, position in enumerate(positions, start=1)]
    newer = [one.window for one in closed if any(one.since <= at < one.end and position > one.position for at, position in changed.items())]
    assert due(*closed, changed=changed, now=NOON + 12 * HOUR) == newer


def test_each_length_is_compared_with_itself() -> None:
    longer = replace(verdict(column="refusal"), window_start=NOON - HOUR)
    quiet = verdict(DriftStatus.OK, column="refusal", score=0.4)
    changed = reevaluation([quiet, longer], [verdict(column="refusal"), longer])
    assert changed.found == (verdict(column="refusal"),)
    assert changed.withdrawn == ()
    assert changed.reason == "1 h: with its late rows 1 more drifted and 0 no longer do"


def test_a_length_without_verdicts_any_more_withdraws_its_drift() -> None:
    longer = replace(verdict(column="refusal"), window_start=NOON - HOUR)
    changed = reevaluation([verdict(DriftStatus.OK), longer], [verdict(DriftStatus.OK)])
    assert changed.withdrawn == (longer,)
    assert changed.reason.startswith("2 h: ")


def test_late_rows_that_change_no_verdict_change_nothing() -> None:
    changed = reevaluation([verdict()], [verdict()])
    assert (changed.found, changed.withdrawn, changed.reason) == ((), (), "what drifted did not change")
    assert reevaluation([], []).found == ()


def test_drift_against_a_newer_reference_is_not_blamed_on_late_rows() -> None:
    then = replace(verdict(DriftStatus.OK, score=0.4), evidence={"reference": "reference-of-then"})
    same, other = (replace(verdict(), evidence={"reference": name}) for name in ("reference-of-then", "reference-of-now"))
    assert reevaluation([then], [same]).found == (same,)
    changed = reevaluation([then], [other])
    assert changed.found == ()
    assert (
        changed.reason
        == "what drifted did not change; 1 more drifted against a reference that was pinned since; late rows are not the cause"
    )


def test_late_labels_change_the_verdicts_of_their_own_window() -> None:
    before = [verdict(DriftStatus.OK, column="judge", score=0.3), verdict(column="refusal")]
    after = [verdict(column="judge"), verdict(DriftStatus.OK, column="refusal", score=0.3)]
    changed = reevaluation(before, after)
    assert [one.column for one in changed.found] == ["judge"]
    assert [one.column for one in changed.withdrawn] == ["refusal"]
