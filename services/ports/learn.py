"""Corrections, cases, golden set, snapshots."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from flywheel.corrections.correction import CorrectionState, JoinedCorrection
from flywheel.ids import CorrectionId, SnapshotId, WorkloadId
from flywheel.journal import JournalEntry
from flywheel.regression_suite.case import Case, Tier
from flywheel.regression_suite.golden import GoldenSet
from flywheel.training_set.example import Example
from flywheel.training_set.snapshot import Snapshot
from services.ports.record import OutboxMessage


@dataclass(frozen=True, kw_only=True)
class Submission:
    """What was handed in: the digest of its body decides whether the same id is the same submission."""

    id: CorrectionId
    workload: WorkloadId
    source: str
    submitted_by: str  # the token's name
    body_digest: str
    at: datetime


@dataclass(frozen=True, kw_only=True)
class KeptCorrection:
    """A correction with its outcome. ``entity`` and ``tier`` are set once accepted."""

    joined: JoinedCorrection
    state: CorrectionState
    reason: str
    decided_at: datetime
    entity: str = ""
    held_out: bool = False
    prompt_key: str = ""  # digest of the normalised user turns
    answer_key: str = ""  # digest of the normalised answer


class LearnLedger(Protocol):
    """Everything between a submission and a snapshot."""

    def submit(self, submission: Submission, message: OutboxMessage) -> str:
        """One transaction: body digest and outbox row. Returns "accepted" or "duplicate"; raises Conflict for another body."""

    def rejected_submission(self, *, reason: str, source: str, at: datetime, kind: str) -> None:
        """Counts what never became a correction; ``kind`` is "rejected" or "forged"."""

    def submission_counts(self, workload: WorkloadId) -> Mapping[str, int]:
        """submitted, duplicates, rejected, forged, as handed in over HTTP."""

    def correction(self, correction_id: CorrectionId) -> KeptCorrection | None:
        """One, or None."""

    def corrections(self, workload: WorkloadId, *, state: CorrectionState | None = None, limit: int = 100_000) -> Sequence[KeptCorrection]:
        """Oldest first."""

    def keep(self, kept: KeptCorrection, case: Case | None, entry: JournalEntry, messages: Sequence[OutboxMessage] = ()) -> bool:
        """One transaction: correction, its case when accepted, journal line, events. False when the id was decided before.

        ``submitted`` (it waits for its request) gives way to every other state; no other state gives way. Raises Conflict when
        the same prompt was accepted meanwhile under another id.
        """

    def cases(self, workload: WorkloadId, *, tier: Tier | None = None) -> Sequence[Case]:
        """Recurrence, held-out, general and safety cases."""

    def add_cases(self, cases: Sequence[Case], entry: JournalEntry) -> None:
        """Imports cases that are not corrections: general and safety."""

    def general_examples(self, workload: WorkloadId) -> Sequence[Example]:
        """The general instruction rows that are mixed in against forgetting."""

    def add_general_examples(self, workload: WorkloadId, examples: Sequence[Example], entry: JournalEntry) -> None:
        """Imports them."""

    def freeze_golden(self, golden: GoldenSet, entry: JournalEntry) -> None:
        """Keeps a version for ever."""

    def golden(self, workload: WorkloadId, *, version: int | None = None) -> GoldenSet | None:
        """The newest version, or the one named."""

    def keep_snapshot(self, snapshot: Snapshot, *, path: str, entry: JournalEntry) -> None:
        """The snapshot's row; its file was written before."""

    def snapshot(self, snapshot_id: SnapshotId) -> tuple[Snapshot, str] | None:
        """The snapshot with its examples, read from its file and held to its hash, and the file's path. CannotRun without the file."""

    def snapshots(self, workload: WorkloadId) -> Sequence[Snapshot]:
        """Newest first, without their examples."""
