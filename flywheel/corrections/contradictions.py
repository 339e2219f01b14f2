"""Does a new fix contradict, or repeat, one that was accepted before?

In: the keys of the new fix and of the accepted one with the same prompt. Out: same, other, or new. Near-same prompts with
other answers are concept drift and are not judged here.
"""

from dataclasses import dataclass
from enum import StrEnum

from flywheel.ids import CorrectionId


class Relation(StrEnum):
    """What the new fix is to the accepted ones."""

    NEW = "new"
    SAME = "same"
    CONTRADICTS = "contradicts"


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """``other`` names the accepted correction that decided it."""

    relation: Relation
    reason: str
    other: CorrectionId | None = None


def compare(*, answer_key: str, accepted: tuple[CorrectionId, str] | None) -> Comparison:
    """``accepted`` is id and answer key of the accepted fix of the same prompt, if there is one."""
    if accepted is None:
        return Comparison(relation=Relation.NEW, reason="no accepted fix has this prompt")
    other, known_answer = accepted
    if answer_key == known_answer:
        return Comparison(relation=Relation.SAME, reason=f"{other} was accepted with the same prompt and answer", other=other)
    return Comparison(
        relation=Relation.CONTRADICTS,
        reason=f"{other} was accepted with the same prompt and another answer: a person must decide",
        other=other,
    )
