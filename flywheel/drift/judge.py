"""Does this window drift? The one path by which counts are judged: in the daemon, in calibration, with late rows and in benchmarks.

In: the count matrix of a window, that of a reference, thresholds. Out: arrays [slices, columns] with p-values, effects and a state for
every cell. ``judge_counts`` makes the decision; ``judge_window`` selects the part of the reference and assigns a state to every cell. No
Python loop over cells. Does not format verdicts: ``evidence`` does, for the stored cells.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from flywheel.drift.bin_edges import BinEdges, edges_of, in_test_bins
from flywheel.drift.cell_state import CellState
from flywheel.drift.hysteresis import Clearing
from flywheel.drift.reference import Maturity, Reference, on_other_bins
from flywheel.drift.seasonal_reference import HOURS_A_DAY, SeasonalReference, same_hours, times_seen
from flywheel.drift.slice_shares import SliceRows, share_counts, slice_rows
from flywheel.drift.tests import Numbers, compare, effect_of, p_value, z_score
from flywheel.drift.thresholds import HOUR, SHARE_COLUMN, DriftPolicy, ThresholdTable, threshold_table
from flywheel.drift.vanished_slices import set_share_states, silent_as_before
from flywheel.ids import EVERYTHING
from flywheel.traffic.column import Column, Measure
from flywheel.windows.counts import CountMatrix, Counts, WindowCounts, bins_of_columns
from flywheel.windows.pane import EPOCH

DAY = timedelta(days=1)
Cells = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class JudgedCounts:
    """Counts, p-value, z-score and effect of every cell; arrays [..., slices, columns]."""

    n: Counts  # rows of the window that have a value
    m: Counts  # of the reference
    p: Numbers  # as if rows were independent
    z: Numbers  # dispersion-adjusted
    effect: Numbers
    enough_rows: Cells
    exceeded: Cells


def judge_counts(
    *, window: CountMatrix, reference: CountMatrix, columns: Sequence[Column], table: ThresholdTable, only_large: bool = False
) -> JudgedCounts:
    """Compares every cell of two matrices in test bins (``bin_edges.in_test_bins``). An hour axis may come first.

    ``only_large``: tests only cells with enough rows and at least the minimum effect, and leaves the others at p 1 and z 0. Calibration
    uses this option, because few of its cells pass.
    """
    shape = (*window.rows.shape, len(columns))
    n, m = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    p, effect = np.ones(shape), np.zeros(shape)
    one_sided = _one_sided(columns)
    for measure in Measure:
        at = np.array([number for number, column in enumerate(columns) if column.measure is measure], dtype=np.intp)
        if not at.size:
            continue
        counts, reference_counts = (_packed(matrix, [columns[one].name for one in at]) for matrix in (window, reference))
        n[..., at], m[..., at] = counts.sum(axis=-1), reference_counts.sum(axis=-1)
        if not only_large:
            p[..., at], effect[..., at] = compare(measure, counts, reference_counts, one_sided=one_sided[at])
            continue
        cells = np.nonzero(_enough_rows(n, m, table)[..., at])
        sides = one_sided[at][cells[-1]]
        found = effect_of(measure, counts[cells], reference_counts[cells], one_sided=sides)
        large = found >= np.broadcast_to(table.minimum_effect, shape)[..., at][cells]
        cells = tuple(axis[large] for axis in cells)
        target = (*cells[:-1], at[cells[-1]])
        p[target], effect[target] = compare(measure, counts[cells], reference_counts[cells], one_sided=sides[large])
    z = z_score(p, one_sided=one_sided) / table.deviation(n)
    if only_large:
        z = np.where(p < 1, z, 0.0)
    enough = _enough_rows(n, m, table)
    return JudgedCounts(n=n, m=m, p=p, z=z, effect=effect, enough_rows=enough, exceeded=enough & exceeds(z=z, effect=effect, table=table))


def exceeds(*, z: Numbers, effect: Numbers, table: ThresholdTable) -> Cells:
    """True where the z-score exceeds its threshold and the effect reaches its minimum."""
    found: Cells = (z > table.z) & (effect >= table.minimum_effect)
    return found


@dataclass(frozen=True, kw_only=True)
class PreparedReference:
    """A reference with its bin edges and test bins, computed once and used for every window."""

    reference: Reference
    columns: tuple[Column, ...]
    known: NDArray[np.bool_]  # [columns]: False for a column that the reference does not count, or counts on other bins
    edges: BinEdges
    counts: CountMatrix  # fine bins
    tested: CountMatrix  # test bins
    seasonal: CountMatrix | None  # [2, 24, ...], fine bins
    seasonal_tested: CountMatrix | None

    @cached_property
    def seen(self) -> Counts:
        """[2, 24]: how often its period contains each hour of weekdays and of weekends, over its whole days."""
        first, hours = whole_hours(self.reference.start, self.reference.end)
        return times_seen(first_hour=first, hours=hours)

    def by_hour(self, window: WindowCounts) -> tuple[int, int] | None:
        """(last hour since the epoch, length in hours), or None if the window is compared with all hours together. Its start is rounded
        down to the hour."""
        length = max(HOUR, window.end - window.start)
        if self.seasonal is None or length % HOUR:
            return None
        return (window.start - EPOCH) // HOUR + length // HOUR - 1, length // HOUR

    def compared_with(self, window: WindowCounts, *, fine: bool = False) -> CountMatrix:
        """The part of the reference that this window is compared with, on the window's slices, in fine bins or in test bins."""
        pooled, seasonal = (self.counts, self.seasonal) if fine else (self.tested, self.seasonal_tested)
        hours = self.by_hour(window)
        if hours is None or seasonal is None:
            return pooled.aligned(slices=window.matrix.slices, bins=pooled.bins)
        seasonal = seasonal.aligned(slices=window.matrix.slices, bins=seasonal.bins)
        counts, rows = (
            same_hours(held, first_hour=hours[0], hours=1, length=hours[1], seen=self.seen)[0] for held in (seasonal.counts, seasonal.rows)
        )
        return CountMatrix(slices=seasonal.slices, bins=seasonal.bins, counts=counts, rows=rows)


def whole_hours(start: datetime, end: datetime) -> tuple[int, int]:
    """First hour of a period since the epoch, and the hours of its whole days. The start is rounded down to the full hour."""
    first = (start - EPOCH) // HOUR
    return first, (end - EPOCH - first * HOUR) // DAY * HOURS_A_DAY


def prepare_reference(reference: Reference, columns: Sequence[Column], *, seasonal: SeasonalReference | None = None) -> PreparedReference:
    """``columns`` may contain ``SHARE_COLUMN``. The bin edges depend on all hours, also if windows are compared by the hour."""
    other = on_other_bins(reference, columns)
    held = {name for name, _ in reference.counts.bins if name not in other} | {SHARE_COLUMN.name}
    slices = (EVERYTHING, *sorted(name for name in reference.counts.slices if name != EVERYTHING))
    kept, bins = [pair for pair in reference.counts.bins if pair[0] in held], bins_of_columns(columns)
    counts = reference.counts.aligned(slices=slices, bins=kept).aligned(slices=slices, bins=bins)
    edges = edges_of(counts, columns)
    by_hour = seasonal.stacked(slices=slices, bins=bins) if seasonal is not None else None
    return PreparedReference(
        reference=reference,
        columns=tuple(columns),
        known=np.array([column.name in held for column in columns], dtype=bool),
        edges=edges,
        counts=counts,
        tested=in_test_bins(counts, columns, edges),
        seasonal=by_hour,
        seasonal_tested=in_test_bins(by_hour, columns, edges) if by_hour is not None else None,
    )


@dataclass(frozen=True, kw_only=True)
class JudgedWindow:
    """Every cell of a window: [slices, columns] each. ``state`` contains values of ``CellState``."""

    window: WindowCounts  # on these slices and columns
    columns: tuple[Column, ...]
    reference: PreparedReference | None
    slice_index: NDArray[np.intp]  # index of each slice in the reference; -1 if absent
    tested: CountMatrix  # the window in test bins
    before: CountMatrix  # the part of the reference that it is compared with, in test bins
    cells: JudgedCounts
    state: NDArray[np.int8]
    reported: Cells  # cells that get a verdict; a new or vanished slice gets one for its share column only
    share_rows: SliceRows  # expected rows, and rows in "(other)" that may belong to a slice
    table: ThresholdTable
    protected: frozenset[str]

    @cached_property
    def overdispersed(self) -> Cells:
        """[columns]: True where the dispersion is not that of independent rows."""
        return np.asarray((self.table.dispersion_base != 1.0) | (self.table.dispersion_slope != 0.0))

    @cached_property
    def adjusted_p(self) -> Numbers:
        """Dispersion-adjusted p-values, [slices, columns]."""
        return np.where(self.overdispersed, p_value(self.cells.z, one_sided=_one_sided(self.columns)), self.cells.p)

    @cached_property
    def p_threshold(self) -> Numbers:
        return p_value(self.table.z, one_sided=_one_sided(self.columns))

    @property
    def worth_keeping(self) -> Cells:
        """The cells of a longer window that are stored: all traffic, protected slices, drifted cells, and cells inside the hysteresis
        band. Without the last, an incident would end when its series falls just below its threshold."""
        always = np.array([name == EVERYTHING or name in self.protected for name in self.window.matrix.slices])
        drifted = np.isin(self.state, (CellState.DRIFTED, CellState.NEW, CellState.VANISHED))
        cells, band = self.cells, Clearing()
        significant, large = cells.z >= band.z * self.table.z, cells.effect >= band.effect * self.table.minimum_effect
        not_cleared = (self.state == CellState.SAME) & significant & large
        return np.asarray(self.reported & (drifted | not_cleared | always[:, None]))


def judge_window(
    *, window: WindowCounts, reference: PreparedReference | None, columns: Sequence[Column], policy: DriftPolicy
) -> JudgedWindow:
    """Every slice of the window, of the reference and of the protected list gets a state. No slice counts as healthy without being judged.

    ``columns`` are those of the reference. Without a reference, every cell that has data gets the state NO_REFERENCE.
    """
    slices, bins = _slices(window, reference, policy), bins_of_columns(columns)
    matrix = window.matrix.aligned(slices=slices, bins=bins)
    on_slices = replace(window, matrix=matrix)
    if reference is None:
        slice_index = np.full(len(slices), -1, dtype=np.intp)
        nothing = CountMatrix(slices=slices, bins=bins, counts=np.zeros_like(matrix.counts), rows=np.zeros_like(matrix.rows))
        edges = edges_of(nothing, columns)
        now, before = in_test_bins(matrix, columns, edges), in_test_bins(nothing, columns, edges)
        thresholds, shared = None, np.zeros(len(slices), dtype=bool)
    else:
        index = {name: at for at, name in enumerate(reference.counts.slices)}
        slice_index = np.array([index.get(name, -1) for name in slices], dtype=np.intp)
        before = reference.compared_with(on_slices)
        now = in_test_bins(matrix, columns, reference.edges, slices=slice_index)
        thresholds, shared = (
            reference.reference.thresholds,
            (slice_index >= 0) & (matrix.rows > 0) & (reference.counts.rows[slice_index] > 0),
        )
    now, before = _with_shares(now, before, protected=policy.protected)
    table = threshold_table(policy=policy, calibrated=thresholds, length=window.end - window.start, slices=slices, columns=columns)
    share_rows = slice_rows(matrix.rows, before.rows, slices=slices, protected=policy.protected)
    cells = judge_counts(window=now, reference=before, columns=columns, table=table)
    is_all_traffic = np.array([name == EVERYTHING for name in slices])
    of_shares = np.array([column.name == SHARE_COLUMN.name for column in columns])
    silences = thresholds.silences if thresholds is not None else {}
    silent = silent_as_before(slices, silences=silences, hours=(window.end - window.start) / HOUR)
    return JudgedWindow(
        window=on_slices,
        columns=tuple(columns),
        reference=reference,
        slice_index=slice_index,
        tested=now,
        before=before,
        cells=cells,
        state=_states(matrix, before, cells, reference, table, share_rows, silent=silent),
        reported=np.where(of_shares, ~is_all_traffic[:, None], (shared | is_all_traffic)[:, None]),
        share_rows=share_rows,
        table=table,
        protected=frozenset(policy.protected),
    )


def _slices(window: WindowCounts, reference: PreparedReference | None, policy: DriftPolicy) -> tuple[str, ...]:
    named = {*window.matrix.slices, *(reference.counts.slices if reference is not None else ()), *policy.protected}
    return (EVERYTHING, *sorted(named - {EVERYTHING}))


def _with_shares(now: CountMatrix, before: CountMatrix, *, protected: Sequence[str]) -> tuple[CountMatrix, CountMatrix]:
    """The same matrices with the counts of the share column filled in, if they have it."""
    if SHARE_COLUMN.name not in {name for name, _ in now.bins}:
        return now, before
    found = []
    pairs = share_counts(now.rows, before.rows, slices=now.slices, protected=protected)
    for matrix, pair in zip((now, before), pairs, strict=True):
        filled = CountMatrix(slices=matrix.slices, bins=matrix.bins, counts=matrix.counts.copy(), rows=matrix.rows)
        filled.of(SHARE_COLUMN.name)[...] = pair
        found.append(filled)
    return found[0], found[1]


def _states(
    window: CountMatrix,
    before: CountMatrix,
    cells: JudgedCounts,
    reference: PreparedReference | None,
    table: ThresholdTable,
    share_rows: SliceRows,
    *,
    silent: Cells,
) -> NDArray[np.int8]:
    """[slices, columns]. Assigns from the lowest priority to the highest."""
    of_shares = np.array([name == SHARE_COLUMN.name for name, _ in window.bins])
    state = np.where(cells.exceeded, CellState.DRIFTED, CellState.SAME).astype(np.int8)
    if reference is None:
        state[:] = CellState.NO_REFERENCE
    else:
        if reference.reference.maturity is Maturity.LEARNING:
            state[:] = CellState.LEARNING
        state[~cells.enough_rows] = CellState.TOO_FEW
        for at in np.flatnonzero(of_shares):
            significant = cells.z[:, at] > table.z[:, at]
            set_share_states(
                state[:, at], gone=window.rows == 0, unknown=before.rows == 0, significant=significant, silent=silent, rows=share_rows
            )
        if not before.rows.any():
            state[:] = CellState.UNSEEN_HOURS  # the reference has rows, but none in the hours of this window
        state[:, ~reference.known] = CellState.OTHER_BINS
    state[(cells.n == 0) & ~of_shares] = CellState.NO_VALUES
    all_rows = window.rows[window.slices.index(EVERYTHING)]
    state[np.where(of_shares, all_rows == 0, (window.rows == 0)[:, None])] = CellState.NO_ROWS
    return state


def _one_sided(columns: Sequence[Column]) -> Cells:
    return np.array([bool(column.worse) for column in columns])


def _enough_rows(n: Counts, m: Counts, table: ThresholdTable) -> Cells:
    found: Cells = (n >= np.maximum(1, table.minimum_rows)) & (m >= np.maximum(1, table.minimum_reference_rows))
    return found


def _packed(matrix: CountMatrix, columns: Sequence[str]) -> Counts:
    """[..., slices, columns, largest number of bins], padded with zeros."""
    parts = [matrix.of(name) for name in columns]
    packed = np.zeros((*matrix.rows.shape, len(columns), max(part.shape[-1] for part in parts)), dtype=matrix.counts.dtype)
    for at, part in enumerate(parts):
        packed[..., at, : part.shape[-1]] = part
    return packed
