from flywheel.corrections import split
from flywheel.corrections.split import RelatedCorrection
from tests.learning import ROUTER


def side(
    entity: str = "e", *, related: tuple[RelatedCorrection, ...] = (), golden: bool = False, share: float = 0.2
) -> split.SplitDecision:
    return split.decide(workload=ROUTER, entity=entity, related=related, golden=golden, share=share)


def test_the_held_out_share_is_kept_over_many_entities() -> None:
    held_out = sum(side(f"entity-{number}").held_out for number in range(2_000))
    assert 330 < held_out < 470


def test_the_same_entity_falls_on_the_same_side_every_time() -> None:
    assert len({side("function=x").held_out for _ in range(5)}) == 1


def test_held_out_wins_over_trained_and_says_how_many_conflict() -> None:
    related = (RelatedCorrection(entity="a", held_out=False), RelatedCorrection(entity="b", held_out=True))
    decided = side(related=related, share=0.0)
    assert decided.held_out
    assert decided.conflicts == 1


def test_golden_wins_over_everything() -> None:
    assert side(related=(RelatedCorrection(entity="a", held_out=False),), golden=True, share=0.0).held_out


def test_a_relative_that_trains_keeps_it_in_training() -> None:
    assert not side(related=(RelatedCorrection(entity="a", held_out=False),), share=1.0).held_out
