"""Test bins: the fine bins of the counts merged into a few bins with about equal reference counts.

In: a reference's counts on the fine bins. Out: the first fine bin of each coarse bin. The edges depend only on the reference, so that an
outlier in a window cannot change them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flywheel.traffic.column import Column, Measure
from flywheel.windows.counts import CountMatrix, Counts, values_of

COARSE_BINS = 20


def bin_starts(reference: Counts, *, bins: int = COARSE_BINS) -> NDArray[np.intp]:
    """[..., fine bins] -> [..., largest number of coarse bins]: the first fine bin of each coarse bin; 0 for the first.

    Coarse bins have about equal shares of the reference. A fine bin with more than such a share is a coarse bin by itself. The fine bins
    below all reference rows are one coarse bin, and those above another, so that new values have their own bin. Rows with fewer coarse bins
    are padded with the number of fine bins, which gives bins without rows.
    """
    fine = reference.shape[-1]
    total = reference.sum(axis=-1, keepdims=True)
    below = np.cumsum(reference, axis=-1) - reference  # rows below the start of each fine bin
    seen = reference > 0
    starts_here = np.zeros((*reference.shape[:-1], fine + 1), dtype=bool)  # the extra last entry takes marks that have no bin
    wanted = np.arange(1, bins) * total[..., None, :] / bins  # [..., 1, bins - 1]
    at = (below[..., :, None] < wanted).sum(axis=-2)  # [..., bins - 1]: the first start with so many rows below it; ``fine``: none
    np.put_along_axis(starts_here, np.where(total > 0, at, fine), True, axis=-1)  # without rows: only the first edge
    lowest = np.where(seen.any(axis=-1), seen.argmax(axis=-1), 0)
    above = np.where(seen.any(axis=-1), fine - seen[..., ::-1].argmax(axis=-1), 0)
    np.put_along_axis(starts_here, np.stack([lowest, above], axis=-1), True, axis=-1)
    first = starts_here[..., :fine]
    heavy = seen & (reference * bins >= total)
    first |= heavy
    first[..., 1:] |= heavy[..., :-1]
    first[..., 0] = True
    number = first.sum(axis=-1)
    widest = int(number.max(initial=1))
    order = np.argsort(~first, axis=-1, kind="stable")[..., :widest]
    return np.where(np.arange(widest) < number[..., None], order, fine)


def coarsened(fine: Counts, starts: NDArray[np.intp]) -> Counts:
    """[..., fine bins] and [..., coarse bins] -> [..., coarse bins]: the sums of the fine bins of each coarse bin."""
    below = np.zeros((*fine.shape[:-1], fine.shape[-1] + 1), dtype=np.int64)
    np.cumsum(fine, axis=-1, out=below[..., 1:])
    at_starts = np.take_along_axis(below, np.broadcast_to(starts, (*fine.shape[:-1], starts.shape[-1])), axis=-1)
    return np.diff(at_starts, axis=-1, append=below[..., -1:])


@dataclass(frozen=True, kw_only=True)
class BinEdges:
    """First fine bins of the test bins, for each slice and number column of a reference."""

    starts: NDArray[np.intp]  # [slices, number columns, coarse bins]
    fine: int  # the start of a padding bin

    def of(self, column: Column, columns: Sequence[Column], slice_at: int) -> list[int]:
        """The first fine bins of the test bins of one slice's number column."""
        return [start for start in self._starts_of(column, columns)[slice_at].tolist() if start <= len(column.edges)]

    def steps_of(self, column: Column, columns: Sequence[Column], slices: NDArray[np.intp]) -> NDArray[np.intp]:
        """[slices]: number of test bins of a number column minus 1; at least 1."""
        return np.asarray(np.maximum(1, (self._starts_of(column, columns)[slices] < self.fine).sum(axis=-1) - 1))

    def _starts_of(self, column: Column, columns: Sequence[Column]) -> NDArray[np.intp]:
        return self.starts[:, [one.name for one in columns if one.measure is Measure.NUMBER].index(column.name)]


def edges_of(reference: CountMatrix, columns: Sequence[Column]) -> BinEdges:
    """``reference`` is on ``columns``."""
    packed = _packed_numbers(reference, columns)
    return BinEdges(starts=bin_starts(packed), fine=packed.shape[-1])


def in_test_bins(matrix: CountMatrix, columns: Sequence[Column], edges: BinEdges, *, slices: NDArray[np.intp] | None = None) -> CountMatrix:
    """The counts without MISSING in test bins: NUMBER on the reference's edges, NAME unchanged, RATE as [misses, hits].

    ``slices``: index of each slice of the matrix in ``edges``; None: the same slices. A hit is the worse value of a rate, else "yes".
    """
    starts = edges.starts if slices is None else edges.starts[slices]
    numbers = coarsened(_packed_numbers(matrix, columns), starts)  # [..., slices, number columns, coarse bins]
    parts, number_at = [], 0
    for column in columns:
        values = values_of(column, matrix.of(column.name))
        if column.measure is Measure.NUMBER:
            parts.append(numbers[..., number_at, :])
            number_at += 1
        elif column.measure is Measure.RATE and column.worse == "no":
            parts.append(values[..., ::-1])
        else:
            parts.append(values)
    bins = tuple((column.name, part.shape[-1]) for column, part in zip(columns, parts, strict=True))
    return CountMatrix(slices=matrix.slices, bins=bins, counts=np.concatenate(parts, axis=-1), rows=matrix.rows)


def _packed_numbers(matrix: CountMatrix, columns: Sequence[Column]) -> Counts:
    """[..., slices, number columns, largest number of fine bins]: counts without MISSING, padded with zeros."""
    numbers = [column for column in columns if column.measure is Measure.NUMBER]
    widest = max((len(column.edges) + 1 for column in numbers), default=1)
    packed = np.zeros((*matrix.rows.shape, len(numbers), widest), dtype=np.int64)
    for at, column in enumerate(numbers):
        packed[..., at, : len(column.edges) + 1] = values_of(column, matrix.of(column.name))
    return packed
