"""Counting arrays of events agrees with counting row by row; counts that cannot be are refused by name."""

from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flywheel.errors import InvalidInput
from flywheel.ids import EventId, WorkloadId
from flywheel.traffic.column import Column, Family, FeatureRow, Measure
from flywheel.windows.counting import bins_of, count_events, places_of
from flywheel.windows.pane import Tally, add, bin_of, tally, window_of
from flywheel.windows.sample import rank
from flywheel.windows.table import on_this_grid, table_of, tally_of
from tests.traffic_events import NOON

LENGTH = Column(name="length", family=Family.INPUT, measure=Measure.NUMBER, lines=(10.0, 20.0))
SHAPE = Column(name="shape", family=Family.INPUT, measure=Measure.NAME, names=("question", "list"))
REFUSAL = Column(name="refusal", family=Family.OUTPUT, measure=Measure.RATE, names=("no", "yes"), worse="yes")
COLUMNS = (LENGTH, SHAPE, REFUSAL)
SLICES = ("all", "tenant=a", "tenant=b", "region=eu")

numbers = st.one_of(st.none(), st.floats(-5, 30), st.sampled_from([10.0, 20.0, float("nan"), float("inf"), -float("inf")]))
rates = st.one_of(st.none(), st.sampled_from([0.0, 1.0, 0.5, -1.0, float("nan")]))
names = st.one_of(st.none(), st.sampled_from(["question", "list", "never seen"]))
events = st.lists(
    st.tuples(numbers, names, rates, st.sampled_from(["tenant=a", "tenant=b", ""]), st.sampled_from(["region=eu", ""])), max_size=40
)


def as_row(event: tuple[float | None, str | None, float | None, str, str]) -> tuple[FeatureRow, tuple[str, ...]]:
    length, shape, refusal, tenant, region = event
    return {"length": length, "shape": shape, "refusal": refusal}, tuple(name for name in ("all", tenant, region) if name)


@settings(deadline=None, max_examples=120)
@given(held=events)
def test_arrays_of_events_are_counted_as_rows_are(held: list[tuple[float | None, str | None, float | None, str, str]]) -> None:
    def array(values: list[float | None]) -> tuple[np.ndarray, np.ndarray]:
        return np.array([0.0 if value is None else value for value in values]), np.array([value is None for value in values], dtype=bool)

    codes = [None if shape is None else {"question": 0.0, "list": 1.0}.get(shape, 7.0) for _, shape, *_ in held]
    values = {}
    for column, raw in ((LENGTH, [event[0] for event in held]), (SHAPE, codes), (REFUSAL, [event[2] for event in held])):
        numbers_held, missing = array(raw)
        values[column.name] = bins_of(column, numbers_held, missing=missing)
    membership = np.stack(
        [places_of(["all"] * len(held), slices=SLICES)] + [places_of([event[at] for event in held], slices=SLICES) for at in (3, 4)], axis=1
    )
    counted = tally_of(count_events(values=values, membership=membership, slices=SLICES, columns=COLUMNS))
    by_row = tally(rows=map(as_row, held), columns=COLUMNS)
    for name in SLICES:
        assert counted.rows[name] == by_row.rows.get(name, 0)
        for column in COLUMNS:
            expected = by_row.counts[name][column.name].tolist() if name in by_row.counts else [0] * column.bins
            assert counted.counts[name][column.name].tolist() == expected


@settings(deadline=None, max_examples=60)
@given(held=st.lists(st.tuples(st.integers(0, 12), st.floats(0, 30)), min_size=1, max_size=30), data=st.data())
def test_panes_are_the_same_in_any_order_and_under_any_number_of_redeliveries(held: list[tuple[int, float]], data: st.DataObject) -> None:
    rows = {EventId(f"e{number}"): value for number, value in held}

    def record(delivered: list[EventId]) -> Tally:
        """As the recorder does: what is already recorded is not counted again; each delivery may be a batch of its own."""
        seen: set[EventId] = set()
        total = Tally(counts={}, rows={})
        for event_id in delivered:
            if event_id not in seen:
                total = add(total, tally(rows=[({"length": rows[event_id]}, ("all", f"part={rank(event_id) % 2}"))], columns=(LENGTH,)))
                seen.add(event_id)
        return total

    again = data.draw(st.lists(st.sampled_from(sorted(rows)), max_size=20))
    delivered = data.draw(st.permutations([*sorted(rows), *again]))
    once, often = record(sorted(rows)), record(list(delivered))
    assert once.rows == often.rows
    for name, columns in once.counts.items():
        assert columns["length"].tolist() == often.counts[name]["length"].tolist()


def test_a_column_that_no_event_has_is_missing_throughout() -> None:
    table = count_events(values={}, membership=np.zeros((3, 1), dtype=np.intp), slices=("all",), columns=COLUMNS)
    assert [table.counts[column.name][0, bin_of(column, None)] for column in COLUMNS] == [3, 3, 3]


def test_no_events_make_a_table_of_zeroes() -> None:
    table = count_events(values={}, membership=np.zeros((0, 2), dtype=np.intp), slices=SLICES, columns=COLUMNS)
    assert table.rows.tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("place", [4, -2])
def test_an_event_in_a_slice_that_is_not_listed_is_refused(place: int) -> None:
    with pytest.raises(InvalidInput, match="not in the list"):
        count_events(values={}, membership=np.array([[place]]), slices=SLICES, columns=COLUMNS)


def test_bins_beyond_the_columns_edges_are_refused_by_column() -> None:
    with pytest.raises(InvalidInput, match="column length"):
        count_events(values={"length": np.array([5])}, membership=np.array([[0]]), slices=SLICES, columns=COLUMNS)


def pane_with(counts: object, rows: object = 9) -> Tally:
    return Tally(counts={"all": {"length": np.asarray(counts)}}, rows={"all": rows})  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (pane_with([1, 2, 3]), r"pane, slice all, column length: the counts have 3 bins, and the column's edges make 5"),
        (pane_with([1, -2, 3, 0, 0]), r"slice all, column length, bin 1: a count is negative \(got -2\)"),
        (pane_with([1, 2.5, 3, 0, 0]), r"slice all, column length, bin 1: a count is no whole number \(got 2.5\)"),
        (pane_with([1, float("nan"), 3, 0, 0]), r"bin 1: a count is no whole number"),
        (pane_with([1, 2, 3, 0, 0], rows=-6), r"slice all, rows, bin 0: a count is negative \(got -6\)"),
        (pane_with([1, 2, 3, 0, 0], rows=2), r"slice all, column length: 6 values were counted in 2 rows"),
    ],
)
def test_counts_that_cannot_be_are_refused_with_place_and_value(broken: Tally, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        table_of(broken, slices=["all"], columns=(LENGTH,), where="pane")


def test_whole_numbers_that_came_as_floats_are_counts() -> None:
    assert (
        table_of(pane_with([1.0, 2.0, 3.0, 0.0, 0.0]), slices=["all"], columns=(LENGTH,), where="pane").counts["length"].dtype == np.int64
    )


def test_columns_of_another_grid_are_left_out_by_name() -> None:
    window = window_of(
        workload=WorkloadId("router"), start=NOON, end=NOON + timedelta(hours=1), tallies=[tally(rows=[({}, ("all",))], columns=COLUMNS)]
    )
    finer = Column(name="length", family=Family.INPUT, measure=Measure.NUMBER, lines=(5.0, 10.0, 20.0))
    kept, left_out = on_this_grid(window, (finer, SHAPE))
    assert left_out == ("length",)
    assert sorted(kept.counts["all"]) == ["refusal", "shape"]
    assert on_this_grid(window, COLUMNS) == (window, ())
