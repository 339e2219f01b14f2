"""What cannot be is refused by name before it is counted; what is merely unreadable is counted as such."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from flywheel.errors import InvalidInput
from flywheel.ids import EventId
from flywheel.traffic.column import Column
from flywheel.windows.assign import WindowPolicy, nested_windows, pane_start, windows_to_close
from flywheel.windows.counting import bins_of, count_events
from flywheel.windows.pane import Tally, add, bin_of, count_rows, tally
from flywheel.windows.sample import rank, sample_of
from flywheel.windows.slices import SlicePolicy, slices_of, summed
from flywheel.windows.table import table_of
from flywheel.windows.top_slices import Held, TopSlices, offered
from tests.watching import FEW, LENGTH, NOON, REFUSAL, ROUTER, SHAPE

HOUR = timedelta(hours=1)
NAIVE = datetime(2026, 3, 1, 12, 0)
NO_COUNT = (-1, 1.5, True, float("nan"), float("inf"), 10**400, None, "x")
HALF = "\ud800"  # of a surrogate pair


@pytest.mark.parametrize("value", [0, *NO_COUNT])
@pytest.mark.parametrize("field", ["window_panes", "slide_panes"])
def test_a_window_of_no_whole_number_of_panes_is_refused(field: str, value: object) -> None:
    with pytest.raises(InvalidInput, match="whole number from 1"):
        WindowPolicy(**{field: value})  # type: ignore[arg-type]


def test_a_window_longer_than_a_century_is_refused() -> None:
    with pytest.raises(InvalidInput, match="century"):
        WindowPolicy(pane=timedelta(days=3_000), window_panes=13)


@pytest.mark.parametrize(
    "ask",
    [
        lambda at: pane_start(at, HOUR),
        lambda at: windows_to_close(at, None, WindowPolicy()),
        lambda at: windows_to_close(NOON, at, WindowPolicy()),
        lambda at: nested_windows(at, WindowPolicy()),
        lambda at: count_rows(workload=ROUTER, start=at, end=NOON, rows=[], columns=FEW),
    ],
)
@pytest.mark.parametrize("at", [NAIVE, datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)])
def test_a_moment_without_a_zone_or_outside_of_the_calendar_is_refused(ask: Callable[[datetime], object], at: datetime) -> None:
    with pytest.raises(InvalidInput, match=r"no time zone|outside of the calendar"):
        ask(at)


@pytest.mark.parametrize("pane", [timedelta(), -HOUR])
def test_a_pane_of_no_length_holds_no_moment(pane: timedelta) -> None:
    with pytest.raises(InvalidInput, match="a pane has a length"):
        pane_start(NOON, pane)


def test_a_window_that_ends_before_it_starts_is_not_counted() -> None:
    with pytest.raises(InvalidInput, match="ends before it starts"):
        count_rows(workload=ROUTER, start=NOON, end=NOON - HOUR, rows=[], columns=FEW)


@pytest.mark.parametrize("column", FEW)
@pytest.mark.parametrize("value", [10**400, -(10**400), float("nan"), float("inf"), HALF, b"5", [1], {}, 1 + 2j])
def test_a_value_that_is_no_such_thing_is_other_and_never_an_error(column: Column, value: object) -> None:
    assert bin_of(column, value) == column.bins - 2  # type: ignore[arg-type]


@pytest.mark.parametrize("lines", [(2.0, 1.0), (1.0, 1.0), (1.0, float("nan")), (1.0, float("inf"))])
def test_grid_lines_that_do_not_rise_are_refused(lines: tuple[float, ...]) -> None:
    column = replace(LENGTH, lines=lines)
    with pytest.raises(InvalidInput, match="prompt_chars: the grid lines do not rise"):
        bins_of(column, np.array([1.0]))
    with pytest.raises(InvalidInput, match="prompt_chars: the grid lines do not rise"):
        tally(rows=[], columns=(column,))


@pytest.mark.parametrize("column", [replace(REFUSAL, names=("yes", "no")), replace(REFUSAL, worse="maybe")])
def test_a_rate_of_anything_but_no_and_yes_is_refused(column: Column) -> None:
    with pytest.raises(InvalidInput, match="a rate is of"):
        tally(rows=[], columns=(column,))


@pytest.mark.parametrize("slices", [("all", "all"), "all", ("all", f"tenant={HALF}"), ("all", None)])
def test_a_row_names_each_slice_once_and_in_characters(slices: object) -> None:
    with pytest.raises(InvalidInput, match="slices of a row"):
        tally(rows=[({}, slices)], columns=FEW)  # type: ignore[list-item]


@pytest.mark.parametrize("rows", NO_COUNT)
def test_rows_that_are_no_number_of_rows_are_neither_added_nor_laid_out_nor_placed(rows: int) -> None:
    held = Tally(counts={}, rows={"all": rows})
    for ask in (
        lambda: add(held, held),
        lambda: table_of(held, slices=("all",), columns=(), where="pane"),
        lambda: summed(Tally(counts={}, rows={}), held, policy=SlicePolicy()),
        lambda: offered(TopSlices(), held.rows, room=3),
        lambda: Held(rows=rows),
    ):
        with pytest.raises(InvalidInput):
            ask()


@pytest.mark.parametrize("count", [2**53 + 1, 2**62, 2**63, 10**400])
def test_counts_above_what_numbers_tell_apart_are_refused(count: int) -> None:
    held = Tally(counts={"all": {"refusal": np.array([count, 0, 0, 0])}}, rows={"all": 2**53})
    with pytest.raises(InvalidInput, match=r"above 9007199254740992|no number"):
        table_of(held, slices=("all",), columns=(REFUSAL,), where="pane")


def test_a_slice_cannot_have_been_given_more_rows_than_it_has() -> None:
    with pytest.raises(InvalidInput, match="too many"):
        Held(rows=3, over=4)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"membership": np.array([[0.5]])}, "must be whole numbers"),
        ({"membership": np.array([[0, 0]])}, "names one slice twice"),
        ({"slices": ("all", "all")}, "stands there twice"),
        ({"columns": (REFUSAL, REFUSAL)}, "stands there twice"),
        ({"values": {"nobody": np.array([0])}}, "no such column"),
        ({"values": {"refusal": [0]}}, "bins must be an array"),
    ],
)
def test_a_batch_that_would_count_twice_or_not_at_all_is_refused(changes: Mapping[str, object], said: str) -> None:
    batch = {"values": {}, "membership": np.array([[0]]), "slices": ("all",), "columns": FEW}
    with pytest.raises(InvalidInput, match=said):
        count_events(**{**batch, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize("values", [np.array(["a"]), np.array([1, 10**400], dtype=object)])
def test_values_that_are_no_numbers_are_refused_by_column(values: np.ndarray) -> None:
    for column in (LENGTH, SHAPE):
        with pytest.raises(InvalidInput, match=f"column {column.name}: values must be numbers"):
            bins_of(column, values)


def test_what_is_missing_is_said_for_each_value() -> None:
    with pytest.raises(InvalidInput, match="each of 3 values"):
        bins_of(LENGTH, np.zeros(3), missing=np.zeros(2, dtype=bool))


def test_half_a_surrogate_pair_is_neither_hashed_nor_made_a_slice() -> None:
    with pytest.raises(InvalidInput, match=r"event id: holds half of a surrogate pair.*\\ud800"):
        rank(EventId(HALF))
    with pytest.raises(InvalidInput, match="dimension tenant: holds half of a surrogate pair"):
        slices_of({"tenant": HALF}, SlicePolicy(dimensions=("tenant",)))


@pytest.mark.parametrize("k", [0, *NO_COUNT])
def test_a_sample_of_no_whole_number_of_rows_is_refused(k: int) -> None:
    with pytest.raises(InvalidInput, match="rows of a sample"):
        sample_of([EventId("a")], k=k)
