"""Does a correction contradict or repeat one that was accepted before?

In: the corrected answer and the accepted correction with the same prompt. Out: new, same, or contradicts. Near-duplicate prompts with
different answers are not compared here.
"""

from dataclasses import dataclass
from enum import StrEnum

from flywheel import comparison
from flywheel.comparison import ComparisonPolicy
from flywheel.ids import CorrectionId


class Relation(StrEnum):
    """How the new correction relates to the accepted ones."""

    NEW = "new"
    SAME = "same"
    CONTRADICTS = "contradicts"


@dataclass(frozen=True, kw_only=True)
class RelationToAccepted:
    """``other`` is the accepted correction with the same prompt."""

    relation: Relation
    reason: str
    other: CorrectionId | None = None


def relate(*, answer: str, accepted: tuple[CorrectionId, str] | None, policy: ComparisonPolicy) -> RelationToAccepted:
    """``accepted``: id and answer of the accepted correction of the same prompt; None when there is none."""
    if accepted is None:
        return RelationToAccepted(relation=Relation.NEW, reason="no accepted correction has this prompt")
    other, known_answer = accepted
    if comparison.compare(answer, known_answer, policy.of_fixes).same:
        return RelationToAccepted(relation=Relation.SAME, reason=f"{other} was accepted with the same prompt and answer", other=other)
    return RelationToAccepted(
        relation=Relation.CONTRADICTS,
        reason=f"{other} was accepted with the same prompt and another answer: a person must decide",
        other=other,
    )
