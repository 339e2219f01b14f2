"""Verdicts in words, and what a person needs to see to believe them: the traffic now and before, and where the two differ most.

In: a judged window, and the cells that are kept. Out: one ``DriftVerdict`` a cell, with its reason and its evidence as JSON values
under plain names. Deciding is not done here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np

from flywheel.drift.bin_edges import BinEdges
from flywheel.drift.judge import STATUS_OF, VANISHED_FROM, Cells, CellState, JudgedWindow
from flywheel.drift.reference import Reference
from flywheel.drift.slice_shares import expected_rows
from flywheel.drift.tests import jensen_shannon, ks_p_value, p_value, rare_categories, wasserstein
from flywheel.drift.thresholds import INDEPENDENT_ROWS, SHARE_COLUMN, SHARES, p_thresholds
from flywheel.drift.verdict import DriftComparison, DriftVerdict
from flywheel.ids import EVERYTHING
from flywheel.traffic.column import Column, Measure
from flywheel.windows.counts import CountMatrix, Counts, values_of
from flywheel.windows.slices import folded_into

METHODS: Mapping[Measure, str] = {Measure.NUMBER: "binned_ks", Measure.NAME: "chi2", Measure.RATE: "mid_p"}
EFFECTS: Mapping[Measure, str] = {
    Measure.NUMBER: "greatest distance between the two cumulative shares",
    Measure.NAME: "total variation between the shares",
    Measure.RATE: "difference of the rates",
}
LARGEST_CHANGES = 4
"""How many bins a drifting column shows."""
ROUNDING = 1e-9  # two ways to one p-value
COMPARED = (CellState.SAME, CellState.DRIFTED, CellState.LEARNING)
Facts = dict[str, object]


def verdicts(judged: JudgedWindow, *, now: datetime, cells: Cells | None = None) -> tuple[DriftVerdict, ...]:
    """The verdicts of all stated cells, or of those among ``cells`` [slices, columns], slice by slice."""
    wanted = judged.stated if cells is None else judged.stated & cells
    at = np.flatnonzero(wanted.any(axis=1))
    if not at.size:
        return ()
    shown = _Shown.of(judged, at)
    about = _about(judged, now)
    return tuple(_verdict(shown, int(row), int(column), about) for row, column in np.argwhere(wanted[at]))


@dataclass(frozen=True, kw_only=True)
class _Shown:
    """What the verdicts of some slices state, read out of the arrays once: reading numpy cell by cell takes ten times as long.

    Lists are [slices shown][columns], unless they say otherwise.
    """

    judged: JudgedWindow
    window: CountMatrix  # fine bins, the slices shown
    before: CountMatrix | None  # what they were compared with, fine bins
    at: Counts  # where the slices shown stand in the judged window
    now_by_column: list[list[Facts]]  # [columns][slices shown]
    before_by_column: list[list[Facts]]
    n: list[list[int]]
    m: list[list[int]]
    score: list[list[float]]
    threshold: list[list[float]]
    distances: Mapping[int, tuple[list[float], list[float], list[float]]]  # number and name columns: Jensen-Shannon, Wasserstein, shape's p

    @classmethod
    def of(cls, judged: JudgedWindow, at: Counts) -> "_Shown":
        slices = [judged.window.matrix.slices[place] for place in at.tolist()]
        window = judged.window.matrix.aligned(slices=slices, bins=judged.window.matrix.bins)
        before = None
        if judged.reference is not None:
            before = judged.reference.compared_with(replace(judged.window, matrix=window), fine=True)
        cells, columns = judged.cells, judged.columns
        one_sided = np.array([bool(column.worse) for column in columns])
        plain = (judged.table.dispersion_base == 1.0) & (judged.table.dispersion_per_row == 0.0)
        score = np.where(plain, cells.p[at], p_value(cells.z[at], one_sided=one_sided))
        return cls(
            judged=judged,
            window=window,
            before=before,
            at=at,
            now_by_column=[_summary(column, window.of(column.name)) for column in columns],
            before_by_column=[
                _summary(column, before.of(column.name)) if before is not None else [{} for _ in slices] for column in columns
            ],
            n=cells.n[at].tolist(),
            m=cells.m[at].tolist(),
            score=score.tolist(),
            threshold=p_thresholds(judged.table, columns)[at].tolist(),
            distances=_distances(judged, judged.reference.edges, at) if judged.reference is not None else {},
        )


def _verdict(shown: _Shown, row: int, column_at: int, about: Facts) -> DriftVerdict:
    judged, at = shown.judged, int(shown.at[row])
    column, state = judged.columns[column_at], CellState(judged.state[at, column_at])
    of_share = column.name == SHARE_COLUMN.name
    compared = judged.reference is not None and (state in COMPARED or (of_share and shown.n[row][column_at] and shown.m[row][column_at]))
    facts = _share_facts(judged, at) if of_share else _column_facts(shown, row, column_at, state)
    comparison = None
    if compared:
        comparison = DriftComparison(
            score=shown.score[row][column_at],
            threshold=shown.threshold[row][column_at],
            effect=float(judged.cells.effect[at, column_at]),
            minimum_effect=float(judged.table.minimum_effect[at, column_at]),
        )
        facts |= _threshold_facts(judged, at, column_at)
    if of_share:
        n = judged.window.rows if state is not CellState.NO_ROWS else 0
        m = int(judged.before.rows[judged.before.slices.index(EVERYTHING)])
    else:
        n, m = shown.n[row][column_at], shown.m[row][column_at]
    overlap = about.get("part_in_reference")
    return DriftVerdict(
        workload=judged.window.workload,
        window_start=judged.window.start,
        window_end=judged.window.end,
        kind=column.family,
        slice=judged.window.matrix.slices[at],
        column=column.name,
        status=STATUS_OF[state],
        reason=_reason(judged, at, column_at, state, comparison)
        + (f"; {overlap:.0%} of the window's time lies in the reference itself, which hides a change" if compared and overlap else ""),
        n=n,
        n_reference=m,
        method="share_mid_p" if of_share else METHODS[column.measure],
        comparison=comparison,
        evidence=facts | about,
    )


def _about(judged: JudgedWindow, now: datetime) -> Facts:
    """Which reference the verdicts rest on, and how much of the window lies in its period: those rows stand on both sides and hide a
    change."""
    if judged.reference is None:
        return {}
    reference, window = judged.reference.reference, judged.window
    overlap = (min(window.end, reference.end) - max(window.start, reference.start)) / (window.end - window.start)
    return {
        **about_reference(reference, now),
        **({"part_in_reference": round(overlap, 3)} if overlap > 0 else {}),
        "compared_with": _compared_with(judged),
    }


def about_reference(reference: Reference, now: datetime) -> Facts:
    """Its id, maturity, age and period."""
    return {
        "reference": reference.id,
        "reference_maturity": reference.maturity.value,
        "reference_age_hours": round((now - reference.pinned_at).total_seconds() / 3600, 3),
        "reference_from": reference.start.isoformat(),
        "reference_to": reference.end.isoformat(),
    }


def _compared_with(judged: JudgedWindow) -> str:
    if judged.reference is None or judged.reference.by_hour(judged.window) is None:
        return "the whole reference"
    return "the same hours of the reference" if judged.before.rows.any() else "nothing: the reference lacks hours of the window"


def _column_facts(shown: _Shown, row: int, column_at: int, state: CellState) -> Facts:
    judged, at = shown.judged, int(shown.at[row])
    column = judged.columns[column_at]
    facts: Facts = {"rows": int(judged.window.matrix.rows[at]), **shown.now_by_column[column_at][row]}
    facts |= {f"reference_{key}": value for key, value in shown.before_by_column[column_at][row].items()}
    if state not in COMPARED or judged.reference is None:
        return facts
    facts["effect_is"] = EFFECTS[column.measure]
    if column_at in shown.distances:
        jensen, moved, of_shape = (held[row] for held in shown.distances[column_at])
        facts["jensen_shannon"] = round(jensen, 4)
        if column.measure is Measure.NUMBER:
            by_shape = float(judged.cells.p[at, column_at]) >= min(1.0, 2 * of_shape) * (1 - ROUNDING)
            facts["wasserstein"] = round(moved, 4)
            facts["p_from"] = "shape (Kolmogorov-Smirnov)" if by_shape else "level (rank sum)"
    if column.measure is Measure.RATE:
        facts["counts_as_worse"] = column.worse or "either"
    if column.first_of:
        facts["first_of"] = column.first_of
    if state is CellState.DRIFTED:
        assert shown.before is not None  # nothing drifts without a reference
        starts = judged.reference.edges.of(column, judged.columns, int(judged.places[at])) if column.measure is Measure.NUMBER else []
        facts |= difference(column, shown.window.of(column.name)[row], shown.before.of(column.name)[row], starts=starts)
    return facts


def _threshold_facts(judged: JudgedWindow, at: int, column_at: int) -> Facts:
    table, cells = judged.table, judged.cells
    of_share = judged.columns[column_at].name == SHARE_COLUMN.name
    facts: Facts = {"threshold_source": table.sources[column_at], "family": SHARES if of_share else table.families[at]}
    dispersion = table.dispersion(column_at)
    if dispersion != INDEPENDENT_ROWS:
        deviation = dispersion.deviation(cells.n[at, column_at])
        facts |= {"overdispersion": round(float(deviation), 3), "p_if_rows_were_independent": float(cells.p[at, column_at])}
    return facts


def _share_facts(judged: JudgedWindow, at: int) -> Facts:
    window, before = judged.window.matrix, judged.before
    n, m = (int(one.rows[one.slices.index(EVERYTHING)]) for one in (window, before))
    facts: Facts = {"rows": int(window.rows[at])}
    if n:
        facts["share"] = int(window.rows[at]) / n
    if m:
        expected = expected_rows(window.rows, before.rows, slices=window.slices)[at]
        facts |= {"reference_share": int(before.rows[at]) / m, "expected_rows": round(float(expected), 1)}
    folded, folded_before = (int(rows[at]) for rows in judged.folded)
    if folded or folded_before:
        facts |= {"rows_in_other": folded, "reference_rows_in_other": folded_before}
    return facts


def _distances(judged: JudgedWindow, edges: BinEdges, at: Counts) -> dict[int, tuple[list[float], list[float], list[float]]]:
    """In test bins. Wasserstein over the reference's own bins: 1 is from the lowest bin to the highest, and each has about the same part of
    the reference."""
    found, cells = {}, judged.cells
    for column_at, column in enumerate(judged.columns):
        if column.measure is Measure.RATE:
            continue
        now, before = judged.tested.of(column.name)[at], judged.before.of(column.name)[at]
        moved = of_shape = np.zeros(len(at))
        if column.measure is Measure.NUMBER:
            steps = edges.steps_of(column, judged.columns, judged.places[at])
            moved = wasserstein(now, before, widths=1 / steps[:, None])
            of_shape = ks_p_value(cells.effect[at, column_at], cells.n[at, column_at], cells.m[at, column_at])
        found[column_at] = (jensen_shannon(now, before).tolist(), moved.tolist(), of_shape.tolist())
    return found


def _reason(judged: JudgedWindow, at: int, column_at: int, state: CellState, comparison: DriftComparison | None) -> str:
    rows, before, name = judged.window.matrix.rows, judged.before, judged.window.matrix.slices[at]
    fixed = {
        CellState.NO_ROWS: "no rows in this window",
        CellState.NO_VALUES: f"none of the {rows[at]} rows has a value",
        CellState.NO_REFERENCE: "there is no reference yet; one is pinned after a whole day, or by a person",
        CellState.OTHER_BINS: "the reference does not count this column on its present bins; pin a new one",
        CellState.UNSEEN_HOURS: "the reference lacks hours like the window's: a weekday's for a weekday, a weekend's for a weekend",
        CellState.NEVER_SEEN: "protected, and never seen",
        CellState.NEW: f"{rows[at]} rows of a slice that the reference does not contain",
        CellState.SILENT_BEFORE: "no row came, but the slice was silent for as long in the reference",
        CellState.FOLDED_BEFORE: f"{rows[at]} rows of a slice that may have been among {folded_into(name)} in the reference",
    }
    if state in fixed:
        return fixed[state]
    if state in (CellState.VANISHED, CellState.FEW_EXPECTED):
        expected = float(expected_rows(rows, before.rows, slices=before.slices)[at])
        shown = f"{expected:.0f}" if state is CellState.VANISHED else f"{expected:.1f}"
        return f"no row came, where {shown} would have been expected; from {VANISHED_FROM:g} a slice is missed"
    if state is CellState.FOLDED_AWAY:
        hidden = judged.folded[0][at]
        return f"no row came under its name, but {hidden} rows of slices without a place are in {folded_into(name)}"
    if state is CellState.TOO_FEW or comparison is None:
        least = int(judged.table.minimum_rows[at, column_at])
        return (
            f"{judged.cells.n[at, column_at]} values against {judged.cells.m[at, column_at]}: under {least} "
            f"(in the reference {judged.table.minimum_reference_rows}) are not judged"
        )
    said = _compared(comparison)
    return f"{said}; the reference has seen under one whole day and nobody vouches for it" if state is CellState.LEARNING else said


def _compared(found: DriftComparison) -> str:
    """Both numbers with their thresholds, and which of the two decided."""
    minimum = found.minimum_effect or 0.0
    said = f"p {found.score:.2g} (threshold {found.threshold:.2g}), effect {found.effect:.3f} (minimum {minimum:.3g})"
    if found.score < found.threshold:
        return said if found.effect >= minimum else f"{said}: significant, and too small to matter"
    return f"{said}: as large a change comes by chance" if found.effect >= minimum else f"{said}: neither significant nor large"


def _summary(column: Column, counts: Counts) -> list[Facts]:
    """[slices, bins] -> for each slice the rate, the commonest name, or the bin edges between which the median lies; and how many rows had
    no value. Empty without any value."""
    values = values_of(column, counts)
    total = values.sum(axis=1)
    some = np.maximum(total, 1)
    parts: list[Facts]
    if column.measure is Measure.RATE:
        parts = [{"rate": rate} for rate in (values[:, column.names.index("yes")] / some).tolist()]
    elif column.measure is Measure.NAME:
        most = values.argmax(axis=1)
        share = (np.take_along_axis(values, most[:, None], axis=1)[:, 0] / some).tolist()
        names = (*column.names, "(other)")
        parts = [{"commonest": names[at], "commonest_share": part} for at, part in zip(most.tolist(), share, strict=True)]
    else:
        median = (values.cumsum(axis=1) * 2 >= total[:, None]).argmax(axis=1).tolist()
        parts = [
            {"median_from": column.lines[at - 1] if at else None, "median_below": column.lines[at] if at < len(column.lines) else None}
            for at in median
        ]
    return [
        ({**part, "without_value": missing} if missing else part) if number else {}
        for part, missing, number in zip(parts, counts[:, -1].tolist(), total.tolist(), strict=True)
    ]


def difference(column: Column, now: Counts, before: Counts, *, starts: Sequence[int]) -> Facts:
    """[fine bins] each -> where a drifting column changed most. ``starts``: the fine bins at which the test bins of a number start."""
    values, values_before = values_of(column, now), values_of(column, before)
    names = [*column.names, "(other)"][: len(values)]
    if column.measure is Measure.NUMBER:
        ends = [*starts[1:], len(values)]
        names = [_range(column, start, end) for start, end in zip(starts, ends, strict=True)]
        values, values_before = np.add.reduceat(values, starts), np.add.reduceat(values_before, starts)
    share, share_before = values / max(1, int(values.sum())), values_before / max(1, int(values_before.sum()))
    order = np.argsort(-np.abs(share - share_before), kind="stable")[:LARGEST_CHANGES]
    facts: Facts = {
        "largest_changes": [
            {"values": names[at], "share": round(float(share[at]), 4), "reference_share": round(float(share_before[at]), 4)}
            for at in order.tolist()
            if share[at] != share_before[at]
        ]
    }
    if column.measure is Measure.NAME:
        pooled = rare_categories(values, values_before) & (values + values_before > 0)
        facts["pooled_categories"] = [name for name, one in zip(names, pooled.tolist(), strict=True) if one]
    if column.measure is Measure.NUMBER:
        below, below_before = np.cumsum(share), np.cumsum(share_before)
        at = int(np.abs(below - below_before).argmax())
        facts["widest_gap"] = {}
        if at + 1 < len(starts):  # where the two cumulative shares are farthest apart, which is the KS distance
            shares = {"share": round(float(below[at]), 4), "reference_share": round(float(below_before[at]), 4)}
            facts["widest_gap"] = {"below": column.lines[starts[at + 1] - 1], **shares}
    return facts


def _range(column: Column, start: int, end: int) -> str:
    """From which to below which value the fine bins [start, end) reach."""
    lowest = f"from {column.lines[start - 1]:g}" if start else ""
    highest = f"below {column.lines[end - 1]:g}" if end - 1 < len(column.lines) else ""
    return " ".join(filter(None, [lowest, highest])) or "all"
