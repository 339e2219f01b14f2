"""Is this accepted correction held out, or may it be trained on?

In: its entity, the accepted corrections of that entity and its near-duplicates, the share to hold out. Out: a SplitDecision, made once,
at acceptance. A correction with a held-out or golden near-duplicate is held out too.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from flywheel.ids import WorkloadId, unit_interval


@dataclass(frozen=True, kw_only=True)
class RelatedCorrection:
    """An accepted correction of the same entity, or with a near-duplicate prompt."""

    entity: str
    held_out: bool


@dataclass(frozen=True, kw_only=True)
class SplitDecision:
    """``conflicts`` counts related corrections that were trained on before; curation drops them."""

    held_out: bool
    reason: str
    conflicts: int = 0


def decide(*, workload: WorkloadId, entity: str, related: Sequence[RelatedCorrection], golden: bool, share: float) -> SplitDecision:
    """``golden``: the golden set has this entity or a near-duplicate of the prompt."""
    trained = sum(not one.held_out for one in related)
    if golden:
        return SplitDecision(held_out=True, reason="the golden set has this entity or a near-duplicate of the prompt", conflicts=trained)
    if any(one.held_out for one in related):
        return SplitDecision(held_out=True, reason="its entity or a near-duplicate is held out", conflicts=trained)
    if trained:
        return SplitDecision(held_out=False, reason="its entity or a near-duplicate is trained on")
    drawn = unit_interval("split", workload, entity)
    if drawn < share:
        return SplitDecision(held_out=True, reason=f"the hash of its entity, {drawn:.3f}, is below the held-out share {share:g}")
    return SplitDecision(held_out=False, reason=f"the hash of its entity, {drawn:.3f}, is not below the held-out share {share:g}")
