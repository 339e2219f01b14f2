"""Is this accepted fix held out, or may it be trained on?

In: its entity, what is known of that entity and of its near-duplicates, the share to hold out. Out: the side, decided once
and for ever at acceptance. Held-out and golden win over training: one of them among its neighbours holds the fix out.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from flywheel.ids import WorkloadId, unit_interval


@dataclass(frozen=True, kw_only=True)
class Relative:
    """An accepted fix of the same entity, or one that asks nearly the same."""

    entity: str
    held_out: bool


@dataclass(frozen=True, kw_only=True)
class Side:
    """``conflicts`` counts relatives that were trained on before; curation drops them."""

    held_out: bool
    reason: str
    conflicts: int = 0


def decide(*, workload: WorkloadId, entity: str, relatives: Sequence[Relative], golden: bool, share: float) -> Side:
    """``golden``: the golden set holds this entity or a near-duplicate of the prompt."""
    trained = sum(not relative.held_out for relative in relatives)
    if golden:
        return Side(held_out=True, reason="the golden set holds this entity or nearly this prompt", conflicts=trained)
    if any(relative.held_out for relative in relatives):
        return Side(held_out=True, reason="its entity or a near-duplicate is held out", conflicts=trained)
    if trained:
        return Side(held_out=False, reason="its entity or a near-duplicate is trained on")
    drawn = unit_interval("split", workload, entity)
    if drawn < share:
        return Side(held_out=True, reason=f"the hash of its entity, {drawn:.3f}, is below the held-out share {share:g}")
    return Side(held_out=False, reason=f"the hash of its entity, {drawn:.3f}, is not below the held-out share {share:g}")
