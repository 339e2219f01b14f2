"""Do the columns of these slices drift?

In: a table of the window's counts, a reference laid out for the pass, limits, the time. Out: a status for every cell at once, as
arrays; and verdicts in words for the cells that one asks for. New and vanished slices are ``judged_shares``'.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from flywheel.drift.evidence import moved_most, shown_all, taken_together, widest_gap
from flywheel.drift.limits import AT_ONCE, Limits, tempered
from flywheel.drift.reference import Maturity, Reference
from flywheel.drift.stated import EFFECTS, METHODS, DriftStatus, DriftVerdict
from flywheel.drift.statistics import ks_p_all
from flywheel.drift.window_pass import Measures, Pinned, Places, measure, other_effects, totals
from flywheel.ids import WorkloadId
from flywheel.traffic.column import Measure
from flywheel.windows.pane import Counts, Tally
from flywheel.windows.table import CountTable

NO_ROWS, NO_VALUES, NO_REFERENCE, OTHER_GRID, UNSEEN_HOURS, TOO_FEW, STILL_LEARNING, SAME, MOVED = range(9)
"""What was found of a cell, in the order in which it is asked."""
STATUS = (
    DriftStatus.NO_DATA,
    DriftStatus.NO_DATA,
    DriftStatus.LEARNING,
    DriftStatus.LEARNING,
    DriftStatus.LEARNING,
    DriftStatus.INSUFFICIENT_DATA,
    DriftStatus.LEARNING,
    DriftStatus.OK,
    DriftStatus.DRIFTING,
)
UNSEEN = "the reference holds no rows of such hours yet: a weekday's for a weekday, a weekend's for a weekend"
ROUNDING = 1e-9  # two ways to one p-value
Cells = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Judged:
    """Every cell of a window: [slices, columns] each. ``found`` is one of the constants above, ``STATUS[found]`` its status."""

    window: CountTable
    pinned: Pinned | None
    places: Places
    found: NDArray[np.int8]
    measures: Measures
    p: NDArray[np.float64]  # after the measured spread
    limits: Limits

    @property
    def drifting(self) -> Cells:
        moved: Cells = self.found == MOVED
        return moved


def judge_table(*, window: CountTable, pinned: Pinned | None, limits: Limits) -> Judged:
    """No Python runs per cell. Without a reference everything that has data is learning."""
    if pinned is None:
        shape = (len(window.slices), len(window.columns))
        places = np.full(len(window.slices), -1, dtype=np.intp)
        values = totals(window)
        measures = Measures(values=values, values_before=np.zeros(shape, dtype=np.int64), p=np.ones(shape), effect=np.zeros(shape))
        held, learning = np.zeros(len(window.columns), dtype=bool), True
    else:
        where = {name: at for at, name in enumerate(pinned.table.slices)}
        places = np.array([where.get(name, -1) for name in window.slices], dtype=np.intp)
        measures = measure(window=window, pinned=pinned, places=places)
        held, learning = pinned.held, pinned.reference.maturity is Maturity.LEARNING
    p = tempered(measures.p, measures.values, columns=window.columns, limits=limits)
    moved = (p < limits.p_below) & (measures.effect >= limits.floor)
    found = np.where(moved, MOVED, SAME)
    if learning:
        found[:] = STILL_LEARNING
    few = (measures.values < limits.minimum_rows) | (measures.values_before < limits.minimum_before)
    found[few] = TOO_FEW
    if pinned is not None and not pinned.table.rows.any():
        found[:] = UNSEEN_HOURS  # a reference holds rows, so it is its like hours that do not
    found[:, ~held] = OTHER_GRID if pinned is not None else NO_REFERENCE
    found[measures.values == 0] = NO_VALUES
    found[window.rows == 0] = NO_ROWS
    return Judged(
        window=window,
        pinned=pinned,
        places=places,
        found=found.astype(np.int8),
        measures=measures,
        p=p,
        limits=limits,
    )


def in_words(
    judged: Judged,
    *,
    workload: WorkloadId,
    start: datetime,
    end: datetime,
    now: datetime,
    cells: Cells | None = None,
    compared_with: str = "",
) -> tuple[DriftVerdict, ...]:
    """The verdicts of all cells, or of ``cells`` [slices, columns], slice by slice, each with its reason and its evidence."""
    wanted = np.ones(judged.found.shape, dtype=bool) if cells is None else cells
    if not wanted.all():
        slices = np.flatnonzero(wanted.any(axis=1))
        judged, wanted = _only(judged, slices), wanted[slices]
    if not wanted.any():
        return ()
    known = about(judged.pinned.reference, now) if judged.pinned is not None else {}
    known |= overlap_of(judged.pinned.reference, start=start, end=end) if judged.pinned is not None else {}
    if known and compared_with:
        known["compared_with"] = compared_with
    parts = _Parts.of(judged)
    return tuple(
        DriftVerdict(
            workload=workload,
            window_start=start,
            window_end=end,
            **parts.cell(judged, at, column_at, known),  # type: ignore[arg-type]
        )
        for at, column_at in _places(wanted)
    )


def compared_with(like: Tally | None) -> str:
    """In words, for a verdict's evidence."""
    if like is None:
        return "the whole reference"
    return "like hours of the reference" if like.rows else "nothing: the reference holds no like hours"


def about(reference: Reference, now: datetime) -> dict[str, object]:
    """Which reference a verdict rests on, for its evidence."""
    return {
        "reference": reference.id,
        "reference_maturity": reference.maturity.value,
        "reference_age_hours": round((now - reference.pinned_at).total_seconds() / 3600, 3),
        "reference_from": reference.start.isoformat(),
        "reference_to": reference.end.isoformat(),
    }


def overlap_of(reference: Reference, *, start: datetime, end: datetime) -> dict[str, object]:
    """Which part of the window lies in the period that it is compared with: those rows stand on both sides and hide a change."""
    both = (min(end, reference.end) - max(start, reference.start)) / (end - start)
    return {"part_in_reference": round(both, 3)} if both > 0 else {}


def overlap_in_words(known: dict[str, object]) -> str:
    """What a reason adds; empty where window and reference lie apart."""
    part = known.get("part_in_reference")
    return f"; {part:.0%} of the window's time lies in the reference itself, which hides a change" if isinstance(part, float) else ""


@dataclass(frozen=True, kw_only=True)
class _Parts:
    """Everything a verdict says, read out of the arrays once: reading numpy cell by cell costs ten times as much."""

    shown: list[list[dict[str, object]]]  # by column, by slice
    shown_before: list[list[dict[str, object]]]
    n: list[list[int]]
    m: list[list[int]]
    p: list[list[float]]
    p_of_rows: list[list[float]]  # as if rows were independent
    p_of_shape: list[list[float]]  # twice the KS p-value of numbers, on the same ground
    minimum_rows: list[list[int]]
    minimum_before: int
    effect: list[list[float]]
    p_below: list[list[float]]
    floor: list[list[float]]
    rows: list[int]
    wasserstein: list[list[float]]
    jensen_shannon: list[list[float]]

    @classmethod
    def of(cls, judged: Judged) -> "_Parts":
        window, pinned = judged.window, judged.pinned
        shown = [shown_all(column, window.counts[column.name]) for column in window.columns]
        if pinned is None:
            before: list[list[dict[str, object]]] = [[{} for _ in window.slices] for _ in window.columns]
            moved = apart = np.full(judged.found.shape, np.nan)
        else:
            before = [shown_all(column, _aligned(pinned.table.counts[column.name], judged.places)) for column in window.columns]
            moved, apart = other_effects(window=window, pinned=pinned, places=judged.places)
        return cls(
            shown=shown,
            shown_before=before,
            n=judged.measures.values.tolist(),
            m=judged.measures.values_before.tolist(),
            p=judged.p.tolist(),
            p_of_rows=judged.measures.p.tolist(),
            p_of_shape=(2 * ks_p_all(judged.measures.effect, judged.measures.values, judged.measures.values_before)).tolist(),
            minimum_rows=judged.limits.minimum_rows.tolist(),
            minimum_before=judged.limits.minimum_before,
            effect=judged.measures.effect.tolist(),
            p_below=judged.limits.p_below.tolist(),
            floor=judged.limits.floor.tolist(),
            rows=window.rows.tolist(),
            wasserstein=moved.tolist(),
            jensen_shannon=apart.tolist(),
        )

    def cell(self, judged: Judged, at: int, column_at: int, known: dict[str, object]) -> dict[str, object]:
        column, found = judged.window.columns[column_at], int(judged.found[at, column_at])
        measured = found in (SAME, MOVED, STILL_LEARNING) and judged.pinned is not None
        evidence: dict[str, object] = {"rows": self.rows[at], **self.shown[column_at][at]}
        evidence |= {f"reference_{key}": value for key, value in self.shown_before[column_at][at].items()}
        if measured:
            evidence |= {
                "effect_is": EFFECTS[column.measure],
                "limits": judged.limits.whence[column_at],
                "family": judged.limits.families[at],
            }
            spread = judged.limits.spreads[column_at]
            if spread != AT_ONCE:
                evidence["spread"] = round(float(spread.at(judged.measures.values[at, column_at])), 3)
                evidence["p_if_rows_were_independent"] = self.p_of_rows[at][column_at]
            if column.measure is not Measure.RATE:
                evidence["jensen_shannon"] = round(self.jensen_shannon[at][column_at], 4)
            if column.measure is Measure.NUMBER:
                evidence["wasserstein"] = round(self.wasserstein[at][column_at], 4)
                by_shape = self.p_of_rows[at][column_at] >= min(1.0, self.p_of_shape[at][column_at]) * (1 - ROUNDING)
                evidence["p_from"] = "shape (Kolmogorov-Smirnov)" if by_shape else "level (rank sum)"
            if column.measure is Measure.RATE:
                evidence["counts_as_worse"] = column.worse or "either"
            if column.first_of:
                evidence["first_of"] = column.first_of
        if found == MOVED:
            evidence |= _difference(judged, at, column_at)
        return {
            "kind": column.family,
            "slice": judged.window.slices[at],
            "column": column.name,
            "status": STATUS[found],
            "reason": self._reason(found, at, column_at) + (overlap_in_words(known) if measured else ""),
            "n": self.n[at][column_at],
            "n_reference": self.m[at][column_at],
            "method": METHODS[column.measure],
            "score": self.p[at][column_at] if measured else None,
            "effect": self.effect[at][column_at] if measured else None,
            "threshold": self.p_below[at][column_at] if measured else None,
            "effect_floor": self.floor[at][column_at] if measured else None,
            "evidence": evidence | known,
        }

    def _reason(self, found: int, at: int, column_at: int) -> str:
        if found == NO_ROWS:
            return "no rows in this window"
        if found == NO_VALUES:
            return f"none of the {self.rows[at]} rows has a value"
        if found == NO_REFERENCE:
            return "there is no reference yet; one is pinned after a whole day, or by a person"
        if found == OTHER_GRID:
            return "the reference does not hold this column on its present grid; pin a new one"
        if found == UNSEEN_HOURS:
            return UNSEEN
        if found == TOO_FEW:
            return (
                f"{self.n[at][column_at]} values against {self.m[at][column_at]}: under {self.minimum_rows[at][column_at]} "
                f"(in the reference {self.minimum_before}) are not judged"
            )
        said = measured_in_words(
            p=self.p[at][column_at],
            p_below=self.p_below[at][column_at],
            effect=self.effect[at][column_at],
            floor=self.floor[at][column_at],
        )
        if found == STILL_LEARNING:
            return f"{said}; the reference has seen under one whole day and nobody vouches for it"
        return said


def measured_in_words(*, p: float, p_below: float, effect: float, floor: float) -> str:
    """Both numbers with their limits, and which of the two decided."""
    said = f"p {p:.2g} (drifts under {p_below:.2g}), effect {effect:.3f} (from {floor:.3g})"
    if p < p_below and effect < floor:
        return f"{said}: surely there, and too small to matter"
    if p >= p_below and effect >= floor:
        return f"{said}: as large a change comes by chance"
    return said if p < p_below else f"{said}: neither sure nor large"


def _difference(judged: Judged, at: int, column_at: int) -> dict[str, object]:
    """Where now and before differ most; for drifting cells alone, of which there are few."""
    assert judged.pinned is not None  # nothing drifts without a reference
    column = judged.window.columns[column_at]
    now, before = judged.window.counts[column.name][at], judged.pinned.table.counts[column.name][judged.places[at]]
    if column.measure is Measure.NAME:
        return {"moved_most": moved_most(column, now, before), "taken_together": taken_together(column, now, before)}
    if column.measure is Measure.RATE:
        return {"moved_most": moved_most(column, now, before)}
    block = next(block for block in judged.pinned.blocks if block.measure is Measure.NUMBER)
    assert block.starts is not None  # what a block of numbers always has
    starts = block.starts[judged.places[at], int(np.flatnonzero(block.at == column_at)[0])].tolist()
    return {
        "moved_most": moved_most(column, now, before, starts=starts),
        "widest_gap": widest_gap(column, now, before, starts=starts),
    }


def _only(judged: Judged, slices: Places) -> Judged:
    """These slices of it."""
    window, measures, limits = judged.window, judged.measures, judged.limits
    return replace(
        judged,
        window=CountTable(
            slices=tuple(window.slices[at] for at in slices.tolist()),
            columns=window.columns,
            counts={name: counts[slices] for name, counts in window.counts.items()},
            rows=window.rows[slices],
        ),
        places=judged.places[slices],
        found=judged.found[slices],
        measures=Measures(
            values=measures.values[slices],
            values_before=measures.values_before[slices],
            p=measures.p[slices],
            effect=measures.effect[slices],
        ),
        p=judged.p[slices],
        limits=replace(
            limits,
            p_below=limits.p_below[slices],
            floor=limits.floor[slices],
            minimum_rows=limits.minimum_rows[slices],
            families=tuple(limits.families[at] for at in slices.tolist()),
        ),
    )


def _aligned(counts: Counts, places: Places) -> Counts:
    return np.where(places[:, None] >= 0, counts[places], 0)


def _places(cells: Cells) -> Iterable[tuple[int, int]]:
    return ((int(at), int(column_at)) for at, column_at in np.argwhere(cells))
