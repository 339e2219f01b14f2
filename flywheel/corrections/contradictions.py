"""Does a correction contradict or repeat one that was accepted before?

In: the answer's key and the accepted correction with the same prompt. Out: new, same, or contradicts. Near-duplicate prompts with
different answers are not compared here.
"""

from dataclasses import dataclass
from enum import StrEnum

from flywheel.ids import CorrectionId


class Relation(StrEnum):
    """How the new correction relates to the accepted ones."""

    NEW = "new"
    SAME = "same"
    CONTRADICTS = "contradicts"


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """``other`` is the accepted correction with the same prompt."""

    relation: Relation
    reason: str
    other: CorrectionId | None = None


def compare(*, answer_key: str, accepted: tuple[CorrectionId, str] | None) -> Comparison:
    """``accepted``: id and answer key of the accepted correction of the same prompt; None when there is none."""
    if accepted is None:
        return Comparison(relation=Relation.NEW, reason="no accepted correction has this prompt")
    other, known_answer = accepted
    if answer_key == known_answer:
        return Comparison(relation=Relation.SAME, reason=f"{other} was accepted with the same prompt and answer", other=other)
    return Comparison(
        relation=Relation.CONTRADICTS,
        reason=f"{other} was accepted with the same prompt and another answer: a person must decide",
        other=other,
    )
