"""Which slices a row belongs to, and how their number stays bounded.

In: a row's dimensions and the policy. Out: slice names: "all" and "<dimension>=<value>". Protected slices are never
folded away; a value that comes after the room is used up is counted under "<dimension>=(other)", so sums stay whole.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from flywheel.ids import EVERYTHING
from flywheel.windows.pane import SliceCounts, Tally, add

FOLDED = "(other)"


@dataclass(frozen=True, kw_only=True)
class SlicePolicy:
    """Declared dimensions, the slices that are always kept, and the room beside them."""

    dimensions: tuple[str, ...] = ()
    protected: tuple[str, ...] = ()  # e.g. "tenant=globex"
    top: int = 50


def slices_of(dimensions: Mapping[str, str], policy: SlicePolicy) -> tuple[str, ...]:
    """Everything, then one slice per declared dimension that the row has."""
    return (EVERYTHING, *(f"{name}={dimensions[name]}" for name in policy.dimensions if name in dimensions))


def bounded(fresh: Tally, *, known: Collection[str], policy: SlicePolicy) -> Tally:
    """The fresh counts, with slices for which a pane that holds ``known`` has no room folded into their dimension's rest."""
    always = {EVERYTHING, *policy.protected, *(f"{name}={FOLDED}" for name in policy.dimensions)}
    room = policy.top - len(set(known) - always)
    renamed: list[Tally] = []
    for name in sorted(fresh.counts):
        kept = name
        if name not in always and name not in known:
            if room > 0:
                room -= 1
            else:
                kept = f"{name.partition('=')[0]}={FOLDED}"
        counts: SliceCounts = {kept: fresh.counts[name]}
        renamed.append(Tally(counts=counts, rows={kept: fresh.rows.get(name, 0)}))
    return add(*renamed)
