"""Counting rows into panes."""

from dataclasses import replace
from datetime import timedelta
from itertools import permutations

import numpy as np
import pytest

from flywheel.ids import WorkloadId
from flywheel.traffic.column import Column, Family, Measure
from flywheel.windows.pane import add, bin_of, count_rows, tally
from services.stores.traffic.tables import pane_from_blob, pane_to_blob
from tests.traffic_events import NOON

LENGTH = Column(name="length", family=Family.INPUT, measure=Measure.NUMBER, lines=(10.0, 20.0))
SHAPE = Column(name="shape", family=Family.INPUT, measure=Measure.NAME, names=("question", "list"))
REFUSAL = Column(name="refusal", family=Family.OUTPUT, measure=Measure.RATE, names=("no", "yes"), worse="yes")
COLUMNS = (LENGTH, SHAPE, REFUSAL)


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
    assert bin_of(column, value) == expected


def test_rows_are_counted_in_each_of_their_slices() -> None:
    counted = count_rows(
        workload=WorkloadId("support"),
        start=NOON,
        end=NOON + timedelta(minutes=5),
        rows=[({"length": 5.0, "shape": "list", "refusal": 0.0}, ("all", "tenant=acme")), ({"length": 15.0}, ("all",))],
        columns=COLUMNS,
    )
    assert counted.rows == {"all": 2, "tenant=acme": 1}
    assert counted.counts["all"]["length"].tolist() == [1, 1, 0, 0, 0]
    assert counted.counts["all"]["shape"].tolist() == [0, 1, 0, 1]
    assert counted.counts["tenant=acme"]["refusal"].tolist() == [1, 0, 0, 0]


def test_panes_add_up_in_any_order() -> None:
    parts = [tally(rows=[({"length": float(n)}, ("all", f"tenant={n % 2}"))], columns=COLUMNS) for n in (1, 12, 25)]
    sums = [add(*order) for order in permutations(parts)]
    for total in sums:
        assert total.rows == {"all": 3, "tenant=1": 2, "tenant=0": 1}
        assert total.counts["all"]["length"].tolist() == [1, 1, 1, 0, 0]


def test_adding_leaves_the_parts_alone() -> None:
    part = tally(rows=[({"length": 1.0}, ("all",))], columns=COLUMNS)
    add(part, part)
    assert part.counts["all"]["length"].tolist() == [1, 0, 0, 0, 0]


def test_a_pane_comes_back_from_its_blob_as_it_was() -> None:
    pane = tally(rows=[({"length": 1.0}, ("all", "tenant=ä")), ({"length": None}, ("all",))], columns=COLUMNS)
    back = pane_from_blob(pane_to_blob(pane))
    assert back.rows == pane.rows
    for name, columns in pane.counts.items():
        for column, counts in columns.items():
            np.testing.assert_array_equal(back.counts[name][column], counts)


def test_a_pane_that_was_begun_before_a_column_came_stays_readable() -> None:
    old = tally(rows=[({}, ("all", "tenant=acme"))], columns=(LENGTH,))
    new = tally(rows=[({}, ("all",))], columns=COLUMNS)
    back = pane_from_blob(pane_to_blob(add(old, new)))
    assert back.rows == {"all": 2, "tenant=acme": 1}
    assert back.counts["all"]["length"].sum() == 2
    assert back.counts["tenant=acme"]["shape"].sum() == 0


def test_a_pane_of_an_older_version_has_nothing_folded() -> None:
    pane = tally(rows=[({"length": 1.0}, ("all",))], columns=COLUMNS)
    assert pane_from_blob(pane_to_blob(pane)).over == {}
    assert pane_from_blob(pane_to_blob(replace(pane, over={"all": 3}))).over == {"all": 3}


def test_an_empty_pane_has_a_blob_too() -> None:
    assert pane_from_blob(pane_to_blob(add())).rows == {}
