"""The bounded sample."""

from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flywheel.errors import InvalidInput
from flywheel.ids import EventId
from flywheel.windows.sample import Sample, merged, rank, sample_of

ids = st.lists(st.integers(0, 200).map(lambda number: EventId(f"e{number}")), max_size=60)


@settings(deadline=None, max_examples=60)
@given(parts=st.lists(ids, min_size=1, max_size=4), k=st.integers(1, 30))
def test_samples_of_parts_that_overlap_merge_to_the_sample_of_the_whole(parts: list[list[EventId]], k: int) -> None:
    whole = sample_of([event_id for part in parts for event_id in part], k=k)
    samples = [sample_of(part, k=k) for part in parts]
    for order in permutations(samples):
        assert merged(*order) == whole
    assert merged(whole, *samples, *samples) == whole


def test_a_sample_keeps_the_smallest_ranks_and_each_id_once() -> None:
    names = [EventId(f"e{number}") for number in range(500)]
    kept = sample_of(names * 3, k=40)
    assert list(kept.ids) == sorted(names, key=rank)[:40]


def test_every_part_of_the_traffic_is_sampled_alike() -> None:
    names = [EventId(f"e{number}") for number in range(20_000)]
    early = sum(int(name[1:]) < 5_000 for name in sample_of(names, k=2_000).ids)
    assert 400 < early < 600  # 500 expected, five standard deviations


def test_samples_of_different_size_do_not_merge() -> None:
    with pytest.raises(InvalidInput, match="5 and of 6"):
        merged(Sample(k=5), Sample(k=6))
    with pytest.raises(InvalidInput, match="whole number from 1"):
        Sample(k=0)
