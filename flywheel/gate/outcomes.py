"""The same items, asked of every arm: lined up by their ids.

In: each arm's outcomes, in any order. Out: items and entities, and each arm's results in the items' order. Judging is not done here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from flywheel.errors import InvalidInput
from flywheel.gate.stated import only
from flywheel.plausible import check_text


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One arm's answer to one item, graded."""

    item: str
    entity: str
    right: bool

    def __post_init__(self) -> None:
        check_text(self.item, where="gate.items.item", empty=True)
        check_text(self.entity, where="gate.items.entity", empty=True)
        only((self.right,), (True, False), where=f"gate.items.{self.item}", said="an answer is right or wrong", remedy="Grade it.")


@dataclass(frozen=True, kw_only=True)
class LinedUp:
    """``right[arm][i]`` belongs to ``items[i]``."""

    items: tuple[str, ...]
    entities: tuple[str, ...]
    right: Mapping[str, tuple[bool, ...]]


def line_up(arms: Mapping[str, Sequence[Outcome]]) -> LinedUp:
    """InvalidInput names the item: answered twice by one arm, asked of one arm only, or of another entity in another arm."""
    by_arm = {arm: _once(arm, outcomes) for arm, outcomes in arms.items()}
    if not by_arm:
        raise InvalidInput("there is no arm", where="gate.arms", remedy="Ask the challenger and at least one baseline.")
    first_arm, first = next(iter(by_arm.items()))
    for arm, found in by_arm.items():
        odd = sorted(first.keys() ^ found.keys())
        if odd:
            missed = arm if odd[0] in first else first_arm
            raise InvalidInput(
                f"the arms were asked different items: the {missed} arm was not asked this one ({len(odd)} such items)",
                where="gate.items",
                value=odd[0],
                remedy="Ask every arm every item of the axis.",
            )
        for item, outcome in found.items():
            if outcome.entity != first[item].entity:
                raise InvalidInput(
                    f"the item belongs to {first[item].entity!r} in the {first_arm} arm and to {outcome.entity!r} in the {arm} arm",
                    where="gate.items",
                    value=item,
                    remedy="Take the entity from the case.",
                )
    items = tuple(sorted(first))
    return LinedUp(
        items=items,
        entities=tuple(first[item].entity for item in items),
        right={arm: tuple(found[item].right for item in items) for arm, found in by_arm.items()},
    )


def _once(arm: str, outcomes: Sequence[Outcome]) -> Mapping[str, Outcome]:
    found: dict[str, Outcome] = {}
    for outcome in outcomes:
        if outcome.item in found:
            raise InvalidInput(
                f"an item was answered twice by the {arm} arm",
                where="gate.items",
                value=outcome.item,
                remedy="Keep one answer an item: the first.",
            )
        found[outcome.item] = outcome
    return found
