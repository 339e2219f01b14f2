"""Which slices a row belongs to, and how their number stays bounded.

In: a row's dimensions and the policy. Out: slice names: "all" and "<dimension>=<value>". Protected slices are never
folded away; a slice that has no room is counted under "<dimension>=(other)", so sums stay whole.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from flywheel.ids import EVERYTHING
from flywheel.plausible import check_text
from flywheel.windows.pane import SliceCounts, Tally, WindowCounts, add
from flywheel.windows.plausible_counts import check_rows
from flywheel.windows.top_slices import Held, TopSlices, offered

FOLDED = "(other)"


@dataclass(frozen=True, kw_only=True)
class SlicePolicy:
    """Declared dimensions, the slices that are always kept, and the room beside them."""

    dimensions: tuple[str, ...] = ()
    protected: tuple[str, ...] = ()  # e.g. "tenant=globex"
    top: int = 50

    @property
    def always(self) -> frozenset[str]:
        """Slices that have a place whatever comes."""
        return frozenset((EVERYTHING, *self.protected, *(f"{name}={FOLDED}" for name in self.dimensions)))


def slices_of(dimensions: Mapping[str, str], policy: SlicePolicy) -> tuple[str, ...]:
    """Everything, then one slice per declared dimension that the row has."""
    for name in policy.dimensions:
        if name in dimensions:
            check_text(dimensions[name], where=f"dimension {name}", empty=True)
    return (EVERYTHING, *(f"{name}={dimensions[name]}" for name in policy.dimensions if name in dimensions))


def folded_into(name: str) -> str:
    """Where a slice is counted that has no place of its own."""
    return f"{name.partition('=')[0]}={FOLDED}"


def summed(held: Tally, fresh: Tally, *, policy: SlicePolicy) -> Tally:
    """A pane and new rows of its time: their sum, in which the largest slices have a place and the others are folded.

    A newcomer takes the place of the smallest slice when the room is full (see ``top_slices``). What that one had counted goes to its
    dimension's rest, where the newcomer's earlier rows are, if there were any; ``Tally.over`` says how many these can be at most.
    """
    for rows in (held.rows, held.over, fresh.rows):
        check_rows(rows, where="pane")
    places = TopSlices(
        held={name: Held(rows=rows + held.over.get(name, 0), over=held.over.get(name, 0)) for name, rows in held.rows.items()}
    )
    after = offered(places, fresh.rows, room=policy.top, always=policy.always).held
    over = {name: place.over for name, place in after.items() if place.over}
    parts = [_folded(part, [name for name in part.rows if name not in after and name not in policy.always]) for part in (held, fresh)]
    total = add(*parts)
    return Tally(counts=total.counts, rows=total.rows, over=over)


def capped(window: WindowCounts, *, policy: SlicePolicy) -> WindowCounts:
    """The window with its ``top`` largest slices; each of its panes may have held others."""
    check_rows(window.rows, where=f"window of {window.workload}")
    always = policy.always
    by_size = sorted((name for name in window.rows if name not in always), key=lambda name: (-window.rows[name], name))
    kept = _folded(Tally(counts=window.counts, rows=window.rows), by_size[policy.top :])
    return WindowCounts(workload=window.workload, start=window.start, end=window.end, counts=kept.counts, rows=kept.rows)


def _folded(part: Tally, names: Collection[str]) -> Tally:
    """The same sums, with these slices counted in their dimension's rest."""
    if not names:
        return part
    out = set(names)
    renamed = [_only(part, [name for name in part.counts if name not in out])]
    for name in sorted(out):
        counts: SliceCounts = {folded_into(name): part.counts[name]} if name in part.counts else {}
        renamed.append(Tally(counts=counts, rows={folded_into(name): _rows(part, name)}))
    return add(*renamed)


def _only(part: Tally, names: Collection[str]) -> Tally:
    return Tally(counts={name: part.counts[name] for name in names}, rows={name: _rows(part, name) for name in names})


def _rows(part: Tally, name: str) -> int:
    return part.rows.get(name, 0)
