"""How the number of slices stays bounded while sums stay whole."""

from collections import Counter
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flywheel.errors import InvalidInput
from flywheel.ids import EVERYTHING, WorkloadId
from flywheel.traffic.column import Column, Family, Measure
from flywheel.windows.pane import Tally, tally, window_of
from flywheel.windows.slices import SlicePolicy, capped, folded_into, slices_of, summed
from flywheel.windows.top_slices import TopSlices, offered
from tests.traffic_events import NOON

LENGTH = Column(name="length", family=Family.INPUT, measure=Measure.NUMBER, lines=(10.0, 20.0))
POLICY = SlicePolicy(dimensions=("tenant",), protected=("tenant=z",), top=2)
NOTHING = Tally(counts={}, rows={})
tenants = st.sampled_from("abcdefghz")
batches = st.lists(st.lists(tenants, min_size=1, max_size=12), min_size=1, max_size=8)


def batch(names: list[str] | str, policy: SlicePolicy = POLICY) -> Tally:
    return tally(rows=[({"length": 15.0}, slices_of({"tenant": name, "undeclared": "x"}, policy)) for name in names], columns=(LENGTH,))


def pane(held: list[list[str]], policy: SlicePolicy = POLICY) -> Tally:
    total = NOTHING
    for names in held:
        total = summed(total, batch(names, policy), policy=policy)
    return total


def test_what_has_no_room_is_counted_in_the_rest_of_its_dimension() -> None:
    held = pane([["a"] * 5 + ["b"] * 3 + ["z"], ["c"]])
    assert held.rows == {"all": 10, "tenant=a": 5, "tenant=c": 1, "tenant=z": 1, "tenant=(other)": 3}
    assert held.over == {"tenant=c": 3}
    assert held.counts["tenant=(other)"]["length"].tolist() == [0, 3, 0, 0, 0]


def test_a_slice_that_has_a_place_is_counted_before_newcomers_are_placed() -> None:
    assert pane([["a", "b"], ["b", "c"]]).rows["tenant=b"] == 2


@settings(deadline=None, max_examples=60)
@given(held=batches)
def test_sums_stay_whole_whatever_is_folded(held: list[list[str]]) -> None:
    total, n = pane(held), sum(map(len, held))
    apart = [name for name in total.rows if name != EVERYTHING]
    assert total.rows[EVERYTHING] == sum(total.rows[name] for name in apart) == n
    assert sum(int(total.counts[name]["length"].sum()) for name in apart) == int(total.counts[EVERYTHING]["length"].sum()) == n
    assert len([name for name in apart if name not in POLICY.always]) <= POLICY.top


@settings(deadline=None, max_examples=60)
@given(held=batches)
def test_a_protected_slice_is_never_folded(held: list[list[str]]) -> None:
    assert pane(held).rows.get("tenant=z", 0) == sum(names.count("z") for names in held)


@settings(deadline=None, max_examples=80)
@given(held=batches, room=st.integers(1, 6))
def test_counts_are_never_too_low_and_every_frequent_slice_has_a_place(held: list[list[str]], room: int) -> None:
    top, truth = TopSlices(), Counter(name for names in held for name in names)
    for names in held:
        top = offered(top, Counter(names), room=room)
    for name, place in top.held.items():
        assert place.rows - place.over <= truth[name] <= place.rows
    n = sum(truth.values())
    assert len(top.held) <= room
    assert {name for name, rows in truth.items() if rows * room > n} <= set(top.held)


@settings(deadline=None, max_examples=40)
@given(held=batches)
def test_a_batch_gives_the_same_places_in_any_order_of_its_rows(held: list[list[str]]) -> None:
    assert pane(held).rows == pane([list(reversed(names)) for names in held]).rows


def test_a_window_keeps_its_largest_slices_and_folds_the_rest() -> None:
    panes = [batch("aaab"), batch("ccz"), batch("cd")]
    window = window_of(workload=WorkloadId("router"), start=NOON, end=NOON + timedelta(hours=1), tallies=panes)
    kept = capped(window, policy=POLICY)
    assert kept.rows == {"all": 9, "tenant=a": 3, "tenant=c": 3, "tenant=z": 1, "tenant=(other)": 2}
    assert kept.counts["tenant=(other)"]["length"].sum() == 2


def test_a_slice_without_a_value_has_a_rest_too() -> None:
    assert folded_into("tenant=a=b") == "tenant=(other)"


def test_less_than_no_rows_are_refused() -> None:
    with pytest.raises(InvalidInput, match=r"slice 'a': must be a whole number from 0 .* \(got -1\)"):
        offered(TopSlices(), {"a": -1}, room=3)
