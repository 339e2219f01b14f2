"""Every column of every slice of a window, measured in one go.

In: a table of the window's counts, and a reference that was laid out for this once. Out: arrays [slices, columns] of p-values
and effects. What they mean is said in ``verdict``. The work is one pass over arrays per kind of column, so its cost grows with
slices x columns x bins and not with the traffic.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flywheel.drift.edges import coarsened_all, starts_all
from flywheel.drift.reference import Reference, grid_of, grids_of
from flywheel.drift.statistics import chi_square_all, jensen_shannon_all, mid_p_all, number_all, wasserstein_all
from flywheel.errors import InvalidInput
from flywheel.ids import EVERYTHING
from flywheel.traffic.column import Column, Measure
from flywheel.windows.pane import Counts, Tally
from flywheel.windows.table import CountTable, table_of

Numbers = NDArray[np.float64]
Places = NDArray[np.intp]


@dataclass(frozen=True, kw_only=True)
class Block:
    """The columns of one measure: where they stand among all columns, and what was pinned of them."""

    measure: Measure
    at: Places  # [columns of this measure]
    columns: tuple[Column, ...]
    counts: Counts  # [reference slices, columns of this measure, bins], coarse where ``starts`` says how
    starts: Places | None  # NUMBER: [reference slices, columns of this measure, bins]


@dataclass(frozen=True, kw_only=True)
class Pinned:
    """A reference laid out for the pass: edges, coarse counts, totals. Made once, used for every window."""

    reference: Reference
    columns: tuple[Column, ...]
    held: NDArray[np.bool_]  # [columns]: does the reference know the column?
    table: CountTable
    values: Counts  # [reference slices, columns]: rows that have a value
    blocks: tuple[Block, ...]


@dataclass(frozen=True, kw_only=True)
class Measures:
    """[slices, columns] each; p 1 and effect 0 where one side has no values."""

    values: Counts  # rows of the window that have a value
    values_before: Counts
    p: Numbers
    effect: Numbers  # NUMBER: KS distance; NAME: total variation; RATE: difference of rates


def lay_out(reference: Reference, columns: Sequence[Column], *, like: Tally | None = None) -> Pinned:
    """Checks the reference's counts and computes all that depends on it alone. ``like``: the part of the reference that a window is
    compared with, where that is not all of it; the edges stay those of the whole.

    Raises InvalidInput, naming slice, column and value, for counts that do not fit the columns (a reference of another schema).
    """
    counts = reference.counts
    _check_grids(reference, columns)
    names = (EVERYTHING, *sorted(name for name in counts.rows if name != EVERYTHING))
    whole = table_of(counts, slices=names, columns=columns, where=f"reference {reference.id}")
    table = whole if like is None else table_of(like, slices=names, columns=columns, where=f"reference {reference.id}, like hours")
    known = {column for held in counts.counts.values() for column in held}
    return Pinned(
        reference=reference,
        columns=tuple(columns),
        held=np.array([column.name in known for column in columns], dtype=bool),
        table=table,
        values=totals(table),
        blocks=tuple(_block(measure, table, whole) for measure in Measure if any(column.measure is measure for column in columns)),
    )


def measure(*, window: CountTable, pinned: Pinned, places: Places) -> Measures:
    """``places`` [slices]: where each slice of the window stands in the reference's table; -1 where it does not.

    The window's columns must be the reference's, in the same order.
    """
    values = totals(window)
    known = places >= 0
    before = np.where(known[:, None], pinned.values[places], 0)
    p, effect = np.ones(values.shape), np.zeros(values.shape)
    for block in pinned.blocks:
        pair = _pair(block, window, places, known)
        p[:, block.at], effect[:, block.at] = _tested(block, *pair)
    return Measures(values=values, values_before=before, p=p, effect=effect)


def other_effects(*, window: CountTable, pinned: Pinned, places: Places) -> tuple[Numbers, Numbers]:
    """[slices, columns] each: the Wasserstein distance over the reference's own bins (NUMBER; 1 is from the lowest bin to the highest, and
    each bin holds about the same part of the reference), and the Jensen-Shannon distance (NUMBER and NAME). NaN where there is none."""
    moved, apart = np.full((2, len(window.slices), len(pinned.columns)), np.nan)
    known = places >= 0
    for block in pinned.blocks:
        if block.measure is Measure.RATE:
            continue
        now, before = _pair(block, window, places, known)
        apart[:, block.at] = jensen_shannon_all(now, before)
        if block.measure is Measure.NUMBER:
            assert block.starts is not None  # what a block of numbers always has
            ways = np.maximum(1, (block.starts[places] < _fine_bins(block)).sum(axis=-1, keepdims=True) - 1)
            moved[:, block.at] = wasserstein_all(now, before, widths=1 / ways)
    return moved, apart


def side_of(column: Column) -> int:
    """RATE: the bin whose share is the rate that is tested: the worse one, else "yes"."""
    return column.names.index(column.worse) if column.worse else 1


def values_of(column: Column, counts: Counts) -> Counts:
    """[..., bins] without MISSING; a name nobody knows is a value, an unreadable number or rate is not."""
    return counts[..., :-1] if column.measure is Measure.NAME else counts[..., :-2]


def totals(table: CountTable) -> Counts:
    """[slices, columns]: rows that have a value."""
    if not table.columns:
        return np.zeros((len(table.slices), 0), dtype=np.int64)
    return np.stack([values_of(column, table.counts[column.name]).sum(axis=1) for column in table.columns], axis=1)


def _check_grids(reference: Reference, columns: Sequence[Column]) -> None:
    pinned_on = grids_of(reference)
    for column in columns:
        if column.name in pinned_on and pinned_on[column.name] != grid_of(column):
            raise InvalidInput(
                "the reference was pinned on other edges than the column has now",
                where=f"reference {reference.id}, column {column.name}",
                value=pinned_on[column.name],
                remedy="Pin a new reference (`flywheel reference pin`), or leave the column out (`on_these_grids`) and say so.",
            )


def _block(measure: Measure, table: CountTable, whole: CountTable) -> Block:
    at = np.array([place for place, column in enumerate(table.columns) if column.measure is measure], dtype=np.intp)
    columns = tuple(column for column in table.columns if column.measure is measure)
    fine = _packed(columns, table)
    if measure is not Measure.NUMBER:
        return Block(measure=measure, at=at, columns=columns, counts=fine, starts=None)
    starts = starts_all(_packed(columns, whole))
    return Block(measure=measure, at=at, columns=columns, counts=coarsened_all(fine, starts), starts=starts)


def _packed(columns: Sequence[Column], table: CountTable) -> Counts:
    """[slices, columns, most bins of any]: the values, filled up with bins that hold nothing."""
    parts = [values_of(column, table.counts[column.name]) for column in columns]
    packed = np.zeros((len(table.slices), len(columns), max(part.shape[1] for part in parts)), dtype=np.int64)
    for place, part in enumerate(parts):
        packed[:, place, : part.shape[1]] = part
    return packed


def _pair(block: Block, window: CountTable, places: Places, known: NDArray[np.bool_]) -> tuple[Counts, Counts]:
    """[slices, columns of the block, bins] of now and of before; slices the reference does not know have no counts before."""
    now = _packed(block.columns, window)
    before = np.where(known[:, None, None], block.counts[places], 0)
    if block.starts is not None:
        now = coarsened_all(now, block.starts[places])
    return now, before


def _tested(block: Block, now: Counts, before: Counts) -> tuple[Numbers, Numbers]:
    if block.measure is Measure.NUMBER:
        return number_all(now, before)
    if block.measure is Measure.NAME:
        return chi_square_all(now, before)
    sides = np.array([side_of(column) for column in block.columns], dtype=np.intp)[None, :, None]
    hits, hits_before = (np.take_along_axis(counts, sides, axis=-1)[..., 0] for counts in (now, before))
    one_sided = np.array([bool(column.worse) for column in block.columns])[None, :]
    return mid_p_all(hits, now.sum(axis=-1), hits_before, before.sum(axis=-1), one_sided=np.broadcast_to(one_sided, hits.shape))


def _fine_bins(block: Block) -> int:
    return max(len(column.lines) + 1 for column in block.columns)
