"""Traffic as counted panes reads as the record reads it: the same sums, the same marks of what changed."""

from datetime import timedelta

import pytest

from flywheel.ids import EVERYTHING
from flywheel.traffic.features import COLUMNS
from flywheel.windows.counts import bins_of_columns, count_rows
from tests.fakes.watching import CountedTraffic, TrafficInMemory
from tests.watching import NOON, ROUTER, recorded

HOUR = timedelta(hours=1)
SLICES = ("tenant=acme", "tenant=globex", "tenant=idle")


def traffic() -> tuple[CountedTraffic, TrafficInMemory]:
    """Three hours of rows, and one row of the first hour that comes last."""
    counted, rows = CountedTraffic(slices=SLICES), TrafficInMemory()
    for number, minute in enumerate((5, 50, 65, 70, 130, 10)):
        row = recorded(
            number,
            at=NOON + timedelta(minutes=minute),
            features={"prompt_chars": 10.0 + number, "refusal": 0.0},
            tenant="acme" if number % 2 else "globex",
        )
        rows.held.append(row)
        pane = NOON + minute // 60 * HOUR
        one = count_rows(
            values={column.name: [row.features.get(column.name)] for column in COLUMNS},
            slices=[[f"tenant={row.inference.dimensions['tenant']}"]],
            columns=COLUMNS,
        ).aligned(slices=SLICES, bins=bins_of_columns(COLUMNS))
        counted.add(pane, rows=one.rows, counts=one.counts)
    return counted, rows


@pytest.mark.parametrize(("first", "last"), [(0, 1), (0, 2), (1, 3), (0, 4), (4, 5)])
def test_the_sum_of_panes_is_that_of_their_rows(first: int, last: int) -> None:
    counted, rows = traffic()
    mine, theirs = (held.window(workload=ROUTER, start=NOON + first * HOUR, end=NOON + last * HOUR) for held in (counted, rows))
    assert set(mine.matrix.slices) == set(theirs.matrix.slices)
    assert mine.matrix == theirs.matrix.aligned(slices=mine.matrix.slices, bins=mine.matrix.bins)
    assert not mine.matrix.slices or EVERYTHING in mine.matrix.slices


def test_a_late_row_marks_its_own_pane_as_changed() -> None:
    counted, _ = traffic()
    assert counted.counts(ROUTER).recorded == 6
    assert counted.changes(workload=ROUTER, start=NOON, end=NOON + 3 * HOUR, after=4) == {NOON: 6, NOON + 2 * HOUR: 5}
    assert counted.changes(workload=ROUTER, start=NOON + HOUR, end=NOON + 2 * HOUR, after=-1) == {NOON + HOUR: 4}


def test_forgotten_panes_hold_nothing() -> None:
    counted, _ = traffic()
    counted.forget(NOON + HOUR)
    assert counted.window(workload=ROUTER, start=NOON, end=NOON + HOUR).matrix.slices == ()
    assert counted.window(workload=ROUTER, start=NOON, end=NOON + 2 * HOUR).rows == 2
