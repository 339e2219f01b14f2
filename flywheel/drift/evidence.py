"""Verdicts with their reasons and evidence: summaries of the window and the reference, and the bins that differ most.

In: a judged window, and the cells to report. Out: one ``DriftVerdict`` a cell; its evidence has JSON values. Makes no decisions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import numpy as np

from flywheel.drift.bin_edges import BinEdges
from flywheel.drift.cell_state import STATUS_OF, CellState
from flywheel.drift.judge import Cells, JudgedWindow
from flywheel.drift.tests import jensen_shannon, ks_p_value, rare_categories, wasserstein
from flywheel.drift.thresholds import SHARE_COLUMN, SHARES
from flywheel.drift.vanished_slices import VANISHED_FROM
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
LARGEST_CHANGES = 4  # bins in the evidence of a drifted column
ROUNDING = 1e-9  # relative tolerance between two computations of one p-value
REASONS = {
    CellState.NO_ROWS: "no rows in this window",
    CellState.NO_VALUES: "none of the {rows} rows has a value",
    CellState.NO_REFERENCE: "there is no reference yet; one is pinned after a whole day, or by a person",
    CellState.OTHER_BINS: "the reference does not count this column on its present bins; pin a new one",
    CellState.UNSEEN_HOURS: "the reference lacks hours like the window's: a weekday's for a weekday, a weekend's for a weekend",
    CellState.NEVER_SEEN: "protected, and without rows so far",
    CellState.NEW: "{rows} rows of a slice that the reference does not contain",
    CellState.SILENT_BEFORE: "no row came, but the slice was silent for as long in the reference",
    CellState.IN_OTHER_IN_REFERENCE: "{rows} rows of a slice that may have been among {other} in the reference",
}
COMPARED = (CellState.SAME, CellState.DRIFTED, CellState.LEARNING)
Facts = dict[str, Any]


def verdicts(judged: JudgedWindow, *, now: datetime, cells: Cells | None = None) -> tuple[DriftVerdict, ...]:
    """The verdicts of all reported cells, or of those in ``cells`` [slices, columns], slice by slice."""
    wanted = judged.reported if cells is None else judged.reported & cells
    rows_at = np.flatnonzero(wanted.any(axis=1))
    if not rows_at.size:
        return ()
    matrix = judged.window.matrix
    window = replace(judged.window, matrix=matrix.aligned(slices=[matrix.slices[at] for at in rows_at.tolist()], bins=matrix.bins))
    before = judged.reference.compared_with(window, fine=True) if judged.reference is not None else None
    about = _about(judged, now)
    found: dict[tuple[int, int], DriftVerdict] = {}
    for column_at, column in enumerate(judged.columns):
        if column.name == SHARE_COLUMN.name:
            facts = [_share_facts(judged, at) for at in rows_at.tolist()]
        else:
            facts = _column_facts(judged, column_at, rows_at, window.matrix, before)
        for row in np.flatnonzero(wanted[rows_at, column_at]).tolist():
            at = int(rows_at[row])
            found[at, column_at] = _verdict(judged, at, column_at, facts[row], about)
    return tuple(found[cell] for cell in sorted(found))


def _verdict(judged: JudgedWindow, at: int, column_at: int, facts: Facts, about: Facts) -> DriftVerdict:
    column, state, cells, table = judged.columns[column_at], CellState(judged.state[at, column_at]), judged.cells, judged.table
    of_share = column.name == SHARE_COLUMN.name
    n, m = (judged.window.rows, judged.before.rows_of(EVERYTHING)) if of_share else (cells.n[at, column_at], cells.m[at, column_at])
    comparison, hidden = None, ""
    if judged.reference is not None and (state in COMPARED or (of_share and n and m)):
        comparison = DriftComparison(
            score=float(judged.adjusted_p[at, column_at]),
            threshold=float(judged.p_threshold[at, column_at]),
            effect=float(cells.effect[at, column_at]),
            minimum_effect=float(table.minimum_effect[at, column_at]),
        )
        facts |= {"threshold_source": table.sources[column_at], "family": SHARES if of_share else table.families[at]}
        if judged.overdispersed[column_at]:
            deviation = round(float(table.deviation(cells.n[at])[column_at]), 3)
            facts |= {"overdispersion": deviation, "p_if_rows_were_independent": float(cells.p[at, column_at])}
        if overlap := about.get("part_in_reference"):
            hidden = f"; {overlap:.0%} of the window's time lies in the reference itself, which hides a change"
    return DriftVerdict(
        workload=judged.window.workload,
        window_start=judged.window.start,
        window_end=judged.window.end,
        kind=column.family,
        slice=judged.window.matrix.slices[at],
        column=column.name,
        status=STATUS_OF[state],
        reason=_reason(judged, at, column_at, state, comparison) + hidden,
        n=int(n),
        n_reference=int(m),
        method="share_mid_p" if of_share else METHODS[column.measure],
        comparison=comparison,
        evidence=facts | about,
    )


def _about(judged: JudgedWindow, now: datetime) -> Facts:
    """The reference of the verdicts, and the fraction of the window that lies in its period: those rows are in both samples."""
    if judged.reference is None:
        return {}
    reference, window = judged.reference.reference, judged.window
    overlap = (min(window.end, reference.end) - max(window.start, reference.start)) / (window.end - window.start)
    compared_with = "the whole reference"
    if judged.reference.by_hour(window) is not None:
        lacking = "nothing: the reference lacks hours of the window"
        compared_with = "the same hours of the reference" if judged.before.rows.any() else lacking
    return {
        "reference": reference.id,
        "reference_maturity": reference.maturity.value,
        "reference_age_hours": round((now - reference.pinned_at).total_seconds() / 3600, 3),
        "reference_from": reference.start.isoformat(),
        "reference_to": reference.end.isoformat(),
        **({"part_in_reference": round(overlap, 3)} if overlap > 0 else {}),
        "compared_with": compared_with,
    }


def _column_facts(judged: JudgedWindow, column_at: int, rows_at: Counts, window: CountMatrix, before: CountMatrix | None) -> list[Facts]:
    """One entry for each slice in ``rows_at``. ``window`` and ``before`` have these slices, in fine bins."""
    column, states = judged.columns[column_at], judged.state[rows_at, column_at]
    now = window.of(column.name)
    facts = [{"rows": rows, **summary} for rows, summary in zip(window.rows.tolist(), _summary(column, now), strict=True)]
    if judged.reference is None or before is None:
        return facts
    then, edges = before.of(column.name), judged.reference.edges
    distances = _distances(judged, column_at, edges, rows_at)
    for row, (one, of_before) in enumerate(zip(facts, _summary(column, then), strict=True)):
        one |= {f"reference_{key}": value for key, value in of_before.items()}
        if states[row] not in COMPARED:
            continue
        one |= {"effect_is": EFFECTS[column.measure], **{name: values[row] for name, values in distances.items()}}
        if column.measure is Measure.RATE:
            one["counts_as_worse"] = column.worse or "either"
        if column.first_of:
            one["first_of"] = column.first_of
        if states[row] == CellState.DRIFTED:
            index = int(judged.slice_index[rows_at[row]])
            starts = edges.of(column, judged.columns, index) if column.measure is Measure.NUMBER else []
            one |= difference(column, now[row], then[row], starts=starts)
    return facts


def _distances(judged: JudgedWindow, column_at: int, edges: BinEdges, rows_at: Counts) -> dict[str, list[Any]]:
    """[slices in ``rows_at``] each, in test bins. The Wasserstein distance between the lowest and the highest reference bin is 1."""
    column, cells = judged.columns[column_at], judged.cells
    if column.measure is Measure.RATE:
        return {}
    now, before = (one.of(column.name)[rows_at] for one in (judged.tested, judged.before))
    found: dict[str, list[Any]] = {"jensen_shannon": jensen_shannon(now, before).round(4).tolist()}
    if column.measure is Measure.NUMBER:
        steps = edges.steps_of(column, judged.columns, judged.slice_index[rows_at])
        effect, n, m = (part[rows_at, column_at] for part in (cells.effect, cells.n, cells.m))
        by_shape = cells.p[rows_at, column_at] >= np.minimum(1.0, 2 * ks_p_value(effect, n, m)) * (1 - ROUNDING)
        found["wasserstein"] = wasserstein(now, before, widths=1 / steps[:, None]).round(4).tolist()
        found["p_from"] = np.where(by_shape, "shape (Kolmogorov-Smirnov)", "level (rank sum)").tolist()
    return found


def _share_facts(judged: JudgedWindow, at: int) -> Facts:
    rows, before, n, m = judged.window.matrix.rows, judged.before.rows, judged.window.rows, judged.before.rows_of(EVERYTHING)
    facts: Facts = {"rows": int(rows[at])}
    if n:
        facts["share"] = int(rows[at]) / n
    if m:
        facts |= {"reference_share": int(before[at]) / m, "expected_rows": round(float(judged.share_rows.expected[at]), 1)}
    folded, folded_before = int(judged.share_rows.folded[at]), int(judged.share_rows.folded_before[at])
    if folded or folded_before:
        facts |= {"rows_in_other": folded, "reference_rows_in_other": folded_before}
    return facts


def _reason(judged: JudgedWindow, at: int, column_at: int, state: CellState, comparison: DriftComparison | None) -> str:
    if state in COMPARED and comparison is not None:
        said = _compared(comparison)
        return f"{said}; the reference has seen under one whole day and nobody vouches for it" if state is CellState.LEARNING else said
    rows, name = judged.window.matrix.rows[at], judged.window.matrix.slices[at]
    if state in REASONS:
        return REASONS[state].format(rows=rows, other=folded_into(name))
    if state in (CellState.VANISHED, CellState.FEW_EXPECTED):
        expected = float(judged.share_rows.expected[at])
        text = f"{expected:.0f}" if state is CellState.VANISHED else f"{expected:.1f}"
        return f"no row came, where {text} were expected; a slice counts as vanished from {VANISHED_FROM:g}"
    if state is CellState.IN_OTHER:
        folded = judged.share_rows.folded[at]
        return f"no row came under its name, but {folded} rows of slices that are not counted by name are in {folded_into(name)}"
    least = int(judged.table.minimum_rows[at, column_at])
    return (
        f"{judged.cells.n[at, column_at]} values against {judged.cells.m[at, column_at]}: under {least} "
        f"(in the reference {judged.table.minimum_reference_rows}) are not judged"
    )


def _compared(found: DriftComparison) -> str:
    """p and effect with their thresholds, and which of the two decided."""
    minimum = found.minimum_effect or 0.0
    said = f"p {found.score:.2g} (threshold {found.threshold:.2g}), effect {found.effect:.3f} (minimum {minimum:.3g})"
    if found.score < found.threshold:
        return said if found.effect >= minimum else f"{said}: significant, but below the minimum effect"
    return f"{said}: not significant" if found.effect >= minimum else f"{said}: neither significant nor large"


def _summary(column: Column, counts: Counts) -> list[Facts]:
    """[slices, bins] -> for each slice the rate, the most common name, or the bin edges around the median; and the number of rows without
    a value. Empty if no row has a value."""
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
            {"median_from": column.edges[at - 1] if at else None, "median_below": column.edges[at] if at < len(column.edges) else None}
            for at in median
        ]
    return [
        ({**part, "without_value": missing} if missing else part) if number else {}
        for part, missing, number in zip(parts, counts[:, -1].tolist(), total.tolist(), strict=True)
    ]


def difference(column: Column, now: Counts, before: Counts, *, starts: Sequence[int]) -> Facts:
    """[fine bins] each -> the bins that changed most. ``starts``: first fine bin of each test bin of a number."""
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
            facts["widest_gap"] = {"below": column.edges[starts[at + 1] - 1], **shares}
    return facts


def _range(column: Column, start: int, end: int) -> str:
    """The interval of values of the fine bins [start, end)."""
    lowest = f"from {column.edges[start - 1]:g}" if start else ""
    highest = f"below {column.edges[end - 1]:g}" if end - 1 < len(column.edges) else ""
    return " ".join(filter(None, [lowest, highest])) or "all"
