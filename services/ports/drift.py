"""References and judged windows in the ledger; Evidently's scores beside the verdicts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
class SecondOpinion:
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
    """A judged window as the ledger keeps it."""

    id: str
    workload: WorkloadId
    start: datetime
    end: datetime
    reference: str
    traffic: TrafficCounts
    verdicts: tuple[DriftVerdict, ...]
    second_opinions: tuple[SecondOpinion, ...] = ()
    judged_again: int = 0  # how often, with rows that came late; the verdicts are the newest


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What verdicts rest on, and whose answers they judged: rows that come late do not change whose they were."""

    on: JudgedRows
    champion: AdapterName | None
    released_at: datetime | None  # the last change of the route before the window was closed
    line: str  # the id of the journal's line


@dataclass(frozen=True, kw_only=True)
class LateFinding:
    """What moved in a closed window only with the rows that came late. ``seq`` rises in the order in which it was found."""

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
    ) -> tuple[SecondOpinion, ...]:
        """Per slice, per column. A column without data in either part is left out, never an error."""


class DriftLedger(Protocol):
    """References and judged windows in the ledger."""

    def references(self, workload: WorkloadId) -> Sequence[Reference]:
        """All, newest first."""

    def pin(self, reference: Reference, entry: JournalEntry, *, profile: SeasonalReference | None = None) -> None:
        """Keeps the reference, the same period by the hour if it has one, and the journal's line in one transaction."""

    def profile(self, reference: Reference) -> SeasonalReference | None:
        """What the reference held by the hour; None for one that is not read so."""

    def close(self, window: ClosedWindow, entry: JournalEntry, *, judgement: Judgement) -> bool:
        """Keeps the judged window with its journal line and the outbox event; False when it was closed before."""

    def judge_again(self, window: ClosedWindow, entry: JournalEntry, *, judgement: Judgement, retest: Reevaluation) -> bool:
        """Keeps the newer verdicts in the same way; False when the window was not judged again ``window.judged_again`` - 1 times before."""

    def same_rows(self, judged: JudgedRows, *, position: int) -> None:
        """Panes changed, but its rows are those that were judged: up to this position nothing came late."""

    def judgements(self, workload: WorkloadId, *, ended_after: datetime) -> Sequence[Judgement]:
        """The newest judgement of each window, oldest window first. Reads no verdicts."""

    def judgement_count(self) -> int:
        """How often windows were judged or judged again. Cheap; a reader that saw this number has no news to read."""

    def late_findings(self, workload: WorkloadId, *, after: int = 0, limit: int = 50) -> Sequence[LateFinding]:
        """Those behind ``after``, the newest ``limit`` of them, oldest first."""

    def window(self, window_id: str) -> ClosedWindow | None:
        """One closed window, or None."""

    def windows(self, workload: WorkloadId, *, limit: int = 50) -> Sequence[ClosedWindow]:
        """Newest first."""
