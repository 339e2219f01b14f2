"""Corrections from their submission to the decision on them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from flywheel.corrections.correction import CorrectionState, JoinedCorrection
from flywheel.ids import CorrectionId, WorkloadId
from flywheel.journal import JournalEntry
from flywheel.regression_suite.case import Case
from services.ports.outbox import OutboxMessage


@dataclass(frozen=True, kw_only=True)
class Submission:
    """What was handed in: the digest of its body decides whether the same id is the same submission."""

    id: CorrectionId
    given_id: str  # unique within the source
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
    prompt_key: str = ""  # digest of the whole conversation, as it was compared when this was decided


class CorrectionLedger(Protocol):
    """Submissions, corrections and the cases made of them, in the ledger."""

    def submit(self, submission: Submission, message: OutboxMessage) -> str:
        """One transaction: body digest and outbox row. Returns "accepted" or "duplicate"; raises Conflict for another body."""

    def rejected_submission(self, *, reason: str, source: str, at: datetime, kind: str) -> None:
        """Counts what never became a correction; ``kind`` is "rejected" or "forged"."""

    def submission_counts(self, workload: WorkloadId) -> Mapping[str, int]:
        """submitted, duplicates, rejected, forged, as handed in over HTTP."""

    def correction(self, correction_id: CorrectionId) -> KeptCorrection | None:
        """One, or None."""

    def by_given_id(self, given_id: str, *, source: str | None = None, workload: WorkloadId | None = None) -> Sequence[KeptCorrection]:
        """Those to which a source gave this id: at most one of each source of each workload."""

    def corrections(self, workload: WorkloadId, *, state: CorrectionState | None = None, limit: int = 100_000) -> Sequence[KeptCorrection]:
        """Oldest first."""

    def newest(self, workload: WorkloadId, *, state: CorrectionState | None = None, limit: int) -> Sequence[KeptCorrection]:
        """Newest decision first. Costs the same however many there are."""

    def state_counts(self, workload: WorkloadId) -> Mapping[CorrectionState, int]:
        """How many are in each state; states without any are left out."""

    def trainable(self, workload: WorkloadId, *, since: datetime | None = None) -> int:
        """How many are accepted and not held out, of those decided after ``since``."""

    def keep(self, kept: KeptCorrection, case: Case | None, entry: JournalEntry, messages: Sequence[OutboxMessage] = ()) -> bool:
        """One transaction: correction, its case when accepted, journal line, events. False when the id was decided before.

        ``submitted`` (it waits for its request) gives way to every other state; no other state gives way. Raises Conflict when
        the same prompt was accepted meanwhile under another id.
        """
