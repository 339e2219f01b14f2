"""The bounded sample: the rows with the smallest hash of their event id."""

from flywheel.ids import EventId
from flywheel.windows.sample import rank


def test_every_part_of_the_traffic_is_sampled_alike() -> None:
    names = [EventId(f"e{number}") for number in range(20_000)]
    early = sum(int(name[1:]) < 5_000 for name in sorted(names, key=rank)[:2_000])
    assert 400 < early < 600  # 500 expected, five standard deviations


def test_a_rank_depends_on_the_id_alone() -> None:
    assert rank(EventId("e1")) == rank(EventId("e1")) != rank(EventId("e2"))
    assert 0 <= rank(EventId("")) < 2**63
