"""References and judged windows in the ledger; Evidently's scores as a cross-check."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from flywheel.drift.late_data import JudgedRows, Reevaluation
from flywheel.drift.reference import Reference
from flywheel.drift.seasonal_reference import SeasonalReference
from flywheel.drift.verdict import DriftVerdict
from flywheel.ids import AdapterName, WorkloadId
from flywheel.journal import JournalEntry
from services.ports.traffic import RecordedInference, TrafficCounts


@dataclass(frozen=True, kw_only=True)
class EvidentlyScore:
    """Evidently's score of one column of one slice, on a sample of ``n`` rows."""

    slice: str
    column: str
    method: str
    score: float
    drifted: bool
    n: int
    n_reference: int


@dataclass(frozen=True, kw_only=True)
class ClosedWindow:
    """A judged window as stored in the ledger."""

    id: str
    workload: WorkloadId
    start: datetime
    end: datetime
    reference: str
    traffic: TrafficCounts
    verdicts: tuple[DriftVerdict, ...]
    second_opinions: tuple[EvidentlyScore, ...] = ()
    judged_again: int = 0  # number of re-evaluations with late data; the verdicts are the newest
    number: int = field(default=0, compare=False)  # rises in the order in which windows were closed, whatever their times


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """The rows behind a window's verdicts, and the champion whose answers were judged. Late rows do not change the champion."""

    on: JudgedRows
    champion: AdapterName | None
    released_at: datetime | None  # the last change of the route before the window was closed
    line: str  # the id of the journal's line


@dataclass(frozen=True, kw_only=True)
class LateFinding:
    """Verdicts of a closed window that became drifting with late rows. ``seq`` rises in the order of discovery."""

    seq: int
    window: str
    end: datetime
    times: int
    found: tuple[DriftVerdict, ...]


class DriftReports(Protocol):
    """Evidently, in a worker process that imports it once."""

    def compare(
        self,
        *,
        current: Mapping[str, Sequence[RecordedInference]],
        reference: Mapping[str, Sequence[RecordedInference]],
        html_to: str | None = None,
    ) -> tuple[EvidentlyScore, ...]:
        """One score per slice and column. Omits a column without data in either sample; that is no error."""


class DriftLedger(Protocol):
    """References and judged windows in the ledger."""

    def references(self, workload: WorkloadId) -> Sequence[Reference]:
        """All, newest first."""

    def pin(self, reference: Reference, entry: JournalEntry, *, seasonal: SeasonalReference | None = None) -> None:
        """Stores the reference, its seasonal reference if it has one, and the journal entry in one transaction."""

    def seasonal_reference(self, reference: Reference) -> SeasonalReference | None:
        """The reference's counts by hour; None for a reference without them."""

    def close(self, window: ClosedWindow, entry: JournalEntry, *, judgement: Judgement) -> bool:
        """Stores the judged window, its journal entry and the outbox event. False when the window is closed already."""

    def reevaluate(self, window: ClosedWindow, entry: JournalEntry, *, judgement: Judgement, reevaluation: Reevaluation) -> bool:
        """Stores newer verdicts in the same way. False unless the stored window has ``window.judged_again`` - 1 re-evaluations."""

    def same_rows(self, judged: JudgedRows, *, position: int) -> None:
        """Records that the window has no late rows up to this position, although its panes changed."""

    def judgements(self, workload: WorkloadId, *, ended_after: datetime) -> Sequence[Judgement]:
        """The newest judgement of each window, oldest window first. Reads no verdicts."""

    def judgement_count(self) -> int:
        """The number of judgements, re-evaluations included. Cheap: equal to the last value read, nothing is new."""

    def late_findings(self, workload: WorkloadId, *, after: int = 0, limit: int = 50) -> Sequence[LateFinding]:
        """Findings with ``seq`` above ``after``: the newest ``limit``, oldest first."""

    def window(self, window_id: str) -> ClosedWindow | None:
        """One closed window, or None."""

    def windows(self, workload: WorkloadId, *, until: datetime | None = None, after: int = 0, limit: int = 50) -> Sequence[ClosedWindow]:
        """Newest first. ``until``: without those that end later, which a clock that ran ahead may have closed. ``after``: only those with a
        higher number."""
