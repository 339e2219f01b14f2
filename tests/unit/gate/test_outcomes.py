"""The same items for every arm, or a named error."""

import pytest

from flywheel.errors import InvalidInput
from flywheel.gate.outcomes import Outcome, line_up


def answers(*items: str, entity: str = "", right: bool = True) -> list[Outcome]:
    return [Outcome(item=item, entity=entity or f"of {item}", right=right) for item in items]


def test_arms_are_lined_up_by_item_whatever_their_order() -> None:
    mixed = [Outcome(item="b", entity="of b", right=False), Outcome(item="a", entity="of a", right=True)]
    found = line_up({"champion": answers("a", "b"), "challenger": mixed})
    assert (found.items, found.entities) == (("a", "b"), ("of a", "of b"))
    assert found.right == {"champion": (True, True), "challenger": (True, False)}


def test_an_item_answered_twice_is_named_with_its_arm() -> None:
    with pytest.raises(InvalidInput, match=r"twice by the challenger arm.*'golden-7'"):
        line_up({"champion": answers("golden-7"), "challenger": answers("golden-7", "golden-7")})


@pytest.mark.parametrize(("champion", "challenger", "missed"), [(("a", "b"), ("a",), "challenger"), (("a",), ("a", "b"), "champion")])
def test_an_item_that_one_arm_was_not_asked_is_named_with_that_arm(champion: list[str], challenger: list[str], missed: str) -> None:
    with pytest.raises(InvalidInput, match=f"the {missed} arm was not asked.*'b'"):
        line_up({"champion": answers(*champion), "challenger": answers(*challenger)})


def test_an_item_of_two_entities_is_named() -> None:
    with pytest.raises(InvalidInput, match=r"'acme'.*'globex'.*'a'"):
        line_up({"champion": answers("a", entity="acme"), "challenger": answers("a", entity="globex")})


def test_no_arm_is_an_error_and_no_item_is_none() -> None:
    with pytest.raises(InvalidInput, match="no arm"):
        line_up({})
    assert line_up({"champion": [], "challenger": []}).items == ()
