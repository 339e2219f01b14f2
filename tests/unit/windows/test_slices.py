"""How the number of slices stays bounded while sums stay whole."""

from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from flywheel.ids import EVERYTHING
from flywheel.traffic.column import Column, Family, Measure
from flywheel.windows.counts import CountMatrix, added, count_rows
from flywheel.windows.slices import Pane, SlicePolicy, capped, folded_into, slices_of, summed

LENGTH = Column(name="length", family=Family.INPUT, measure=Measure.NUMBER, edges=(10.0, 20.0))
POLICY = SlicePolicy(dimensions=("tenant",), protected=("tenant=z",), top=2)
tenants = st.sampled_from("abcdefghz")
batches = st.lists(st.lists(tenants, min_size=1, max_size=12), min_size=1, max_size=8)


def batch(names: list[str] | str, policy: SlicePolicy = POLICY) -> CountMatrix:
    slices = [slices_of({"tenant": name, "undeclared": "x"}, policy) for name in names]
    return count_rows(values={"length": [15.0] * len(names)}, slices=slices, columns=(LENGTH,))


def pane(held: list[list[str]], policy: SlicePolicy = POLICY) -> Pane:
    total = Pane()
    for names in held:
        total = summed(total, batch(names, policy), policy=policy)
    return total


def test_what_has_no_room_is_counted_in_the_rest_of_its_dimension() -> None:
    held = pane([["a"] * 5 + ["b"] * 3 + ["z"], ["c"]])
    assert held.matrix.rows_by_slice == {"all": 10, "tenant=a": 5, "tenant=c": 1, "tenant=z": 1, "tenant=(other)": 3}
    assert held.over == {"tenant=c": 3}
    assert held.matrix.of("length")[held.matrix.slices.index("tenant=(other)")].tolist() == [0, 3, 0, 0, 0]


def test_a_slice_that_has_a_place_is_counted_before_newcomers_are_placed() -> None:
    assert pane([["a", "b"], ["b", "c"]]).matrix.rows_of("tenant=b") == 2


@settings(deadline=None, max_examples=60)
@given(held=batches)
def test_sums_stay_whole_whatever_is_folded(held: list[list[str]]) -> None:
    total, n = pane(held).matrix, sum(map(len, held))
    whole = total.slices.index(EVERYTHING)
    assert total.rows[whole] == np.delete(total.rows, whole).sum() == n
    assert np.delete(total.of("length"), whole, axis=0).sum() == total.of("length")[whole].sum() == n
    assert len([name for name in total.slices if name not in POLICY.always]) <= POLICY.top


@settings(deadline=None, max_examples=60)
@given(held=batches)
def test_a_protected_slice_is_never_folded(held: list[list[str]]) -> None:
    assert pane(held).matrix.rows_of("tenant=z") == sum(names.count("z") for names in held)


@settings(deadline=None, max_examples=80)
@given(held=batches, room=st.integers(1, 6))
def test_counts_are_never_too_low_and_every_frequent_slice_has_a_place(held: list[list[str]], room: int) -> None:
    top, truth = pane(held, SlicePolicy(dimensions=("tenant",), top=room)), Counter(f"tenant={name}" for names in held for name in names)
    rows = {name: number for name, number in top.matrix.rows_by_slice.items() if name in truth}
    for name, number in rows.items():
        assert number <= truth[name] <= number + top.over.get(name, 0)
    assert len(rows) <= room
    assert {name for name, number in truth.items() if number * room > sum(truth.values())} <= set(rows)


@settings(deadline=None, max_examples=40)
@given(held=batches)
def test_a_batch_gives_the_same_places_in_any_order_of_its_rows(held: list[list[str]]) -> None:
    one, other = pane(held), pane([list(reversed(names)) for names in held])
    assert one.matrix.rows_by_slice == other.matrix.rows_by_slice
    assert one.over == other.over


def test_a_window_keeps_its_largest_slices_and_folds_the_rest() -> None:
    panes = [batch("aaab"), batch("ccz"), batch("cd")]
    kept = capped(added(*panes), policy=POLICY)
    assert kept.rows_by_slice == {"all": 9, "tenant=a": 3, "tenant=c": 3, "tenant=z": 1, "tenant=(other)": 2}
    assert kept.of("length")[kept.slices.index("tenant=(other)")].sum() == 2


def test_a_slice_without_a_value_has_a_rest_too() -> None:
    assert folded_into("tenant=a=b") == "tenant=(other)"
