"""Loads what a window is compared with, and judges the windows of every length that end at one moment.

load -> decide (flywheel.drift). Nothing is stored here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from flywheel.drift.evidence import verdicts
from flywheel.drift.judge import PreparedReference, judge_window, prepare_reference
from flywheel.drift.reference import Reference, in_force, on_other_bins
from flywheel.drift.thresholds import SHARE_COLUMN
from flywheel.drift.verdict import DriftVerdict
from flywheel.ids import AdapterName, WorkloadId
from flywheel.traffic.column import Column, Family
from flywheel.traffic.features import COLUMNS
from flywheel.windows.counts import NO_COUNTS, WindowCounts, added
from flywheel.windows.pane import nested_windows
from services.drift_monitor.wiring import DriftRules, MonitorParts

INPUTS = tuple(column for column in COLUMNS if column.family is Family.INPUT)
OUTPUTS = tuple(column for column in COLUMNS if column.family is not Family.INPUT)
PREPARED_AT_MOST = 64  # references kept ready for comparisons; the oldest go first


@dataclass(frozen=True, kw_only=True)
class ReferencesInForce:
    """The references with which a workload's windows are compared."""

    inputs: PreparedReference | None
    outputs: PreparedReference | None
    left_out: tuple[str, ...]  # columns that were pinned on other bins
    champion: AdapterName | None  # whose answers are judged; None if unknown
    released_at: datetime | None  # answers before it came from another champion

    @property
    def input_id(self) -> str:
        return self.inputs.reference.id if self.inputs else ""

    @property
    def output_id(self) -> str:
        return self.outputs.reference.id if self.outputs else ""


@dataclass(frozen=True, kw_only=True)
class JudgedLengths:
    """The windows of every length that end at one moment."""

    since: datetime  # where the longest begins
    rows_of_shortest: int
    rows_of_longest: int
    verdicts: tuple[DriftVerdict, ...]


def references_in_force(
    parts: MonitorParts, workload: WorkloadId, *, champion: AdapterName | None, released_at: datetime | None
) -> ReferencesInForce:
    """A version with other bins must not stop the daemon: such columns get a new reference, and the journal names them."""
    inputs, outputs = in_force(parts.drift.references(workload), champion=champion)
    left_out = {name for held in (inputs, outputs) if held is not None for name in on_other_bins(held, COLUMNS)}
    return ReferencesInForce(
        inputs=_prepared(parts, inputs, (*INPUTS, SHARE_COLUMN)) if inputs is not None else None,
        outputs=_prepared(parts, outputs, OUTPUTS) if outputs is not None else None,
        left_out=tuple(sorted(left_out)),
        champion=champion,
        released_at=released_at,
    )


def judged_lengths(
    parts: MonitorParts, workload: WorkloadId, rules: DriftRules, references: ReferencesInForce, *, end: datetime, now: datetime
) -> JudgedLengths:
    """Judges every window length that ends at ``end``. Of longer windows, keeps a subset of the verdicts.

    A longer window is left out when its part beyond the shorter one has no rows: it could only repeat that one. Its answers are left
    out when it reaches back before the last change of the route: they came from two champions.
    """
    total = NO_COUNTS
    shortest: WindowCounts | None = None
    found: list[DriftVerdict] = []
    lengths = nested_windows(end, rules.windows)
    for nested in lengths:
        part = parts.traffic.window(workload=workload, start=nested.start, end=nested.added_until)
        if shortest is not None and not part.rows:
            continue
        total = added(total, part.matrix)
        window = WindowCounts(workload=workload, start=nested.start, end=end, matrix=total)
        mixed = shortest is not None and references.released_at is not None and references.released_at > nested.start
        compared: list[tuple[PreparedReference | None, Sequence[Column]]] = [(references.inputs, (*INPUTS, SHARE_COLUMN))]
        if not mixed:
            compared.append((references.outputs, OUTPUTS))
        for reference, columns in compared:
            judged = judge_window(window=window, reference=reference, columns=columns, policy=rules.drift)
            found += verdicts(judged, now=now, cells=None if shortest is None else judged.worth_keeping)
        shortest = shortest or window
    assert shortest is not None  # there is always a shortest window
    return JudgedLengths(since=lengths[-1].start, rows_of_shortest=shortest.rows, rows_of_longest=window.rows, verdicts=tuple(found))


def _prepared(parts: MonitorParts, reference: Reference, columns: Sequence[Column]) -> PreparedReference:
    """The reference as arrays; computed once and cached until the reference changes."""
    key = (reference.id, columns[0].family, reference.pinned_at, reference.seasonal_digest, reference.thresholds is not None)
    if key not in parts.prepared:
        while len(parts.prepared) >= PREPARED_AT_MOST:
            parts.prepared.pop(next(iter(parts.prepared)))
        parts.prepared[key] = prepare_reference(reference, columns, seasonal=parts.drift.seasonal_reference(reference))
    return parts.prepared[key]
