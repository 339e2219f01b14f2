"""Must a person review this correction before it is accepted?

In: the correction and the sources trusted by configuration. Out: yes or no with the reason. The author's name in an event is not
verified, so only the source decides.
"""

from collections.abc import Collection
from dataclasses import dataclass

from flywheel.corrections.correction import Correction, CorrectionKind


@dataclass(frozen=True, kw_only=True)
class ReviewDecision:
    """``needed``: the correction waits for a person."""

    needed: bool
    reason: str


def decide(*, correction: Correction, trusted_sources: Collection[str]) -> ReviewDecision:
    """Only an edit from a trusted source is accepted without review."""
    if correction.kind is not CorrectionKind.EDIT or correction.corrected is None:
        return ReviewDecision(needed=True, reason=f"a {correction.kind} has no correct answer: a person must write one")
    if correction.supersedes:
        return ReviewDecision(needed=True, reason=f"it replaces {correction.supersedes}: a person must confirm")
    if correction.source not in trusted_sources:
        return ReviewDecision(needed=True, reason=f"the source {correction.source} is not trusted by configuration")
    return ReviewDecision(needed=False, reason=f"the source {correction.source} is trusted by configuration")
