"""Counting rows into a count matrix, adding matrices, and keeping them as blobs."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flywheel.ids import EventId
from flywheel.traffic.column import Column, Family, FeatureRow, Measure
from flywheel.windows.counts import NO_COUNTS, CountMatrix, added, bins_of_columns, count_rows
from flywheel.windows.sample import rank
from flywheel.windows.slices import Pane
from services.stores.traffic.tables import pane_from_blob, pane_to_blob

LENGTH = Column(name="length", family=Family.INPUT, measure=Measure.NUMBER, edges=(10.0, 20.0))
SHAPE = Column(name="shape", family=Family.INPUT, measure=Measure.NAME, names=("question", "list"))
REFUSAL = Column(name="refusal", family=Family.OUTPUT, measure=Measure.RATE, names=("no", "yes"), worse="yes")
COLUMNS = (LENGTH, SHAPE, REFUSAL)
HALF = "\ud800"


def counted(rows: list[tuple[FeatureRow, tuple[str, ...]]], columns: tuple[Column, ...] = COLUMNS) -> CountMatrix:
    values = {column.name: [row.get(column.name) for row, _ in rows] for column in columns}
    return count_rows(values=values, slices=[slices for _, slices in rows], columns=columns)


def cell(matrix: CountMatrix, slice_name: str, column: str) -> list[int]:
    return matrix.of(column)[matrix.slices.index(slice_name)].tolist()


@pytest.mark.parametrize(
    ("column", "value", "expected"),
    [
        (LENGTH, 9.9, 0),
        (LENGTH, 10.0, 1),
        (LENGTH, 1e300, 2),
        (LENGTH, float("nan"), 3),
        (LENGTH, float("inf"), 3),
        (LENGTH, "ten", 3),
        (LENGTH, None, 4),
        (SHAPE, "list", 1),
        (SHAPE, "never seen", 2),
        (SHAPE, 1.0, 2),
        (SHAPE, None, 3),
        (REFUSAL, 1.0, 1),
        (REFUSAL, 0.5, 2),
        (REFUSAL, None, 3),
    ],
)
def test_every_value_falls_into_a_bin(column: Column, value: float | str | None, expected: int) -> None:
    assert cell(counted([({column.name: value}, ("all",))]), "all", column.name).index(1) == expected


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("value", [10**400, -(10**400), float("nan"), float("inf"), HALF, b"5"])
def test_a_value_of_the_wrong_kind_is_other(column: Column, value: object) -> None:
    assert cell(counted([({column.name: value}, ("all",))]), "all", column.name)[column.bins - 2] == 1  # type: ignore[dict-item]


def test_rows_are_counted_in_each_of_their_slices() -> None:
    found = counted([({"length": 5.0, "shape": "list", "refusal": 0.0}, ("all", "tenant=acme")), ({"length": 15.0}, ("all",))])
    assert found.rows_by_slice == {"all": 2, "tenant=acme": 1}
    assert cell(found, "all", "length") == [1, 1, 0, 0, 0]
    assert cell(found, "all", "shape") == [0, 1, 0, 1]
    assert cell(found, "tenant=acme", "refusal") == [1, 0, 0, 0]


numbers = st.one_of(st.none(), st.floats(-5, 30), st.sampled_from([10.0, 20.0, float("nan"), float("inf"), -float("inf")]))
rates = st.one_of(st.none(), st.sampled_from([0.0, 1.0, 0.5, -1.0, float("nan")]))
names = st.one_of(st.none(), st.sampled_from(["question", "list", "never seen"]))
events = st.lists(
    st.tuples(numbers, names, rates, st.sampled_from(["tenant=a", "tenant=b", ""]), st.sampled_from(["region=eu", ""])), max_size=40
)


@settings(deadline=None, max_examples=120)
@given(held=events)
def test_a_batch_counts_as_its_rows_one_by_one(held: list[tuple[float | None, str | None, float | None, str, str]]) -> None:
    rows: list[tuple[FeatureRow, tuple[str, ...]]] = [
        ({"length": length, "shape": shape, "refusal": refusal}, tuple(name for name in ("all", tenant, region) if name))
        for length, shape, refusal, tenant, region in held
    ]
    together, alone = counted(rows), added(*(counted([row]) for row in rows))
    assert together.aligned(slices=alone.slices, bins=alone.bins) == alone


def test_arrays_of_numbers_count_as_lists_do() -> None:
    values = {"length": np.array([5.0, 15.0, np.nan]), "refusal": np.array([0.0, 1.0, 0.0])}
    found = count_rows(values=values, slices=[("all",)] * 3, columns=(LENGTH, REFUSAL))
    assert cell(found, "all", "length") == [1, 1, 0, 1, 0]
    assert cell(found, "all", "refusal") == [2, 1, 0, 0]


@settings(deadline=None, max_examples=60)
@given(held=st.lists(st.tuples(st.integers(0, 12), st.floats(0, 30)), min_size=1, max_size=30), data=st.data())
def test_any_order_and_any_redelivery_give_the_same_counts(held: list[tuple[int, float]], data: st.DataObject) -> None:
    rows = {EventId(f"e{number}"): value for number, value in held}

    def record(delivered: list[EventId]) -> CountMatrix:
        """As the recorder does: what is already recorded is not counted again; each delivery may be a batch of its own."""
        seen: set[EventId] = set()
        total = NO_COUNTS
        for event_id in delivered:
            if event_id not in seen:
                total = added(total, counted([({"length": rows[event_id]}, ("all", f"part={rank(event_id) % 2}"))], (LENGTH,)))
                seen.add(event_id)
        return total

    again = data.draw(st.lists(st.sampled_from(sorted(rows)), max_size=20))
    delivered = data.draw(st.permutations([*sorted(rows), *again]))
    once, often = record(sorted(rows)), record(list(delivered))
    assert often.aligned(slices=once.slices, bins=once.bins) == once


def test_panes_add_up_in_any_order() -> None:
    parts = [counted([({"length": float(n)}, ("all", f"tenant={n % 2}"))]) for n in (1, 12, 25)]
    sums = [added(*order).aligned(slices=("all", "tenant=0", "tenant=1"), bins=parts[0].bins) for order in permutations(parts)]
    assert all(one == sums[0] for one in sums)
    assert sums[0].rows_by_slice == {"all": 3, "tenant=0": 1, "tenant=1": 2}


def test_adding_leaves_the_parts_alone() -> None:
    first, second = (counted([({"length": 1.0}, ("all",))]) for _ in range(2))
    added(first, second)
    assert first == second


def test_where_bins_changed_between_two_parts_the_later_part_counts() -> None:
    finer = Column(name="length", family=Family.INPUT, measure=Measure.NUMBER, edges=(5.0, 10.0, 20.0))
    old, new = counted([({"length": 1.0}, ("all",))]), counted([({"length": 7.0}, ("all",))], (finer, SHAPE))
    total = added(old, new)
    assert cell(total, "all", "length") == [0, 1, 0, 0, 0, 0]
    assert (total.rows_of("all"), cell(total, "all", "shape")[-1]) == (2, 2)


def test_columns_of_other_bins_align_to_zero() -> None:
    finer = Column(name="length", family=Family.INPUT, measure=Measure.NUMBER, edges=(5.0, 10.0, 20.0))
    found = counted([({"length": 1.0}, ("all",))]).aligned(slices=("nobody", "all"), bins=bins_of_columns((finer, REFUSAL)))
    assert found.of("length").sum() == 0
    assert found.of("refusal").sum(axis=1).tolist() == [0, 1]
    assert found.rows.tolist() == [0, 1]


def test_a_pane_comes_back_from_its_blob_as_it_was() -> None:
    pane = Pane(matrix=counted([({"length": 1.0, "shape": "list"}, ("all", "tenant=ü")), ({}, ("all",))]), over={"tenant=ü": 3})
    assert pane_from_blob(pane_to_blob(pane)) == pane


def test_a_pane_that_was_begun_before_a_column_came_stays_readable() -> None:
    old = counted([({}, ("all", "tenant=acme"))], (LENGTH,))
    back = pane_from_blob(pane_to_blob(Pane(matrix=added(old, counted([({}, ("all",))]))))).matrix
    assert back.rows_by_slice == {"all": 2, "tenant=acme": 1}
    assert sum(cell(back, "all", "length")) == 2
    assert sum(cell(back, "tenant=acme", "shape")) == 0


def test_an_empty_pane_has_a_blob_too() -> None:
    assert pane_from_blob(pane_to_blob(Pane())).matrix.slices == ()
