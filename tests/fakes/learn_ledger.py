"""The learning part of the ledger in memory, held to the same contract tests as the real one."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from flywheel.corrections.correction import CorrectionState
from flywheel.errors import Conflict
from flywheel.ids import CorrectionId, SnapshotId, WorkloadId
from flywheel.journal import JournalEntry
from flywheel.regression_suite.case import Case, Tier
from flywheel.regression_suite.golden import GoldenSet
from flywheel.training_set.example import Example
from flywheel.training_set.snapshot import Snapshot
from services.ports.corrections import KeptCorrection, Submission
from services.ports.outbox import OutboxMessage


class FakeLearnLedger:
    """``journal`` and ``outbox`` are open for tests to read."""

    def __init__(self) -> None:
        self.journal: dict[str, JournalEntry] = {}
        self.outbox: dict[str, OutboxMessage] = {}
        self._submissions: dict[str, Submission] = {}
        self._repeats: dict[str, int] = {}
        self._turned_away: list[str] = []
        self._kept: dict[CorrectionId, KeptCorrection] = {}
        self._cases: dict[str, Case] = {}
        self._general: dict[tuple[WorkloadId, str], Example] = {}
        self._golden: dict[tuple[WorkloadId, int], GoldenSet] = {}
        self._snapshots: dict[SnapshotId, tuple[Snapshot, str]] = {}

    def submit(self, submission: Submission, message: OutboxMessage) -> str:
        known = next(
            (
                one
                for one in self._submissions.values()
                if (one.given_id, one.source, one.workload) == (submission.given_id, submission.source, submission.workload)
            ),
            None,
        )
        if known is None:
            self._submissions[submission.id] = submission
            self.outbox.setdefault(message.id, message)
            return "accepted"
        if known.body_digest != submission.body_digest:
            raise Conflict(f"{known.submitted_by} used the id", where="correction_id", value=submission.given_id, remedy="Use another id.")
        self._repeats[submission.id] = self._repeats.get(submission.id, 0) + 1
        return "duplicate"

    def rejected_submission(self, *, reason: str, source: str, at: datetime, kind: str) -> None:
        self._turned_away.append(kind)

    def submission_counts(self, workload: WorkloadId) -> Mapping[str, int]:
        mine = [one.id for one in self._submissions.values() if one.workload == workload]
        repeats = sum(self._repeats.get(one, 0) for one in mine)
        away = {kind: self._turned_away.count(kind) for kind in ("rejected", "forged")}
        return {"submitted": len(mine) + repeats, "duplicates": repeats, **away}

    def correction(self, correction_id: CorrectionId) -> KeptCorrection | None:
        return self._kept.get(correction_id)

    def by_given_id(self, given_id: str, *, source: str | None = None, workload: WorkloadId | None = None) -> Sequence[KeptCorrection]:
        found = [
            kept
            for kept in self._kept.values()
            if kept.joined.correction.given_id == given_id
            and source in (None, kept.joined.correction.source)
            and workload in (None, kept.joined.correction.workload)
        ]
        return sorted(found, key=lambda kept: (kept.joined.correction.source, kept.joined.correction.workload))

    def corrections(self, workload: WorkloadId, *, state: CorrectionState | None = None, limit: int = 100_000) -> Sequence[KeptCorrection]:
        found = [kept for kept in self._kept.values() if kept.joined.correction.workload == workload and state in (None, kept.state)]
        return sorted(found, key=lambda kept: (kept.decided_at, kept.joined.correction.id))[:limit]

    def newest(self, workload: WorkloadId, *, state: CorrectionState | None = None, limit: int) -> Sequence[KeptCorrection]:
        return [*reversed(self.corrections(workload, state=state))][:limit]

    def state_counts(self, workload: WorkloadId) -> Mapping[CorrectionState, int]:
        return Counter(kept.state for kept in self.corrections(workload))

    def trainable(self, workload: WorkloadId, *, since: datetime | None = None) -> int:
        accepted = self.corrections(workload, state=CorrectionState.ACCEPTED)
        return sum(not kept.held_out and (since is None or kept.decided_at > since) for kept in accepted)

    def keep(self, kept: KeptCorrection, case: Case | None, entry: JournalEntry, messages: Sequence[OutboxMessage] = ()) -> bool:
        known = self._kept.get(kept.joined.correction.id)
        if known is not None and (known.state is not CorrectionState.SUBMITTED or kept.state is CorrectionState.SUBMITTED):
            return False
        if kept.state is CorrectionState.ACCEPTED and kept.prompt_key:
            for other in self.corrections(kept.joined.correction.workload, state=CorrectionState.ACCEPTED):
                if other.prompt_key == kept.prompt_key:
                    raise Conflict("the same prompt was accepted meanwhile", remedy="Decide again.")
        self._kept[kept.joined.correction.id] = kept
        if case is not None:
            self._cases.setdefault(case.id, case)
        self.journal.setdefault(entry.id, entry)
        for message in messages:
            self.outbox.setdefault(message.id, message)
        return True

    def cases(self, workload: WorkloadId, *, tier: Tier | None = None) -> Sequence[Case]:
        return [case for case in self._cases.values() if case.workload == workload and tier in (None, case.tier)]

    def add_cases(self, cases: Sequence[Case], entry: JournalEntry) -> None:
        for case in cases:
            self._cases.setdefault(case.id, case)
        self.journal.setdefault(entry.id, entry)

    def general_examples(self, workload: WorkloadId) -> Sequence[Example]:
        found = [example for (owner, _), example in self._general.items() if owner == workload]
        return sorted(found, key=lambda example: example.id)

    def add_general_examples(self, workload: WorkloadId, examples: Sequence[Example], entry: JournalEntry) -> None:
        for example in examples:
            self._general.setdefault((workload, example.id), example)
        self.journal.setdefault(entry.id, entry)

    def freeze_golden(self, golden: GoldenSet, entry: JournalEntry) -> None:
        known = self._golden.setdefault((golden.workload, golden.version), golden)
        if known.id != golden.id:
            raise Conflict("this version is frozen with other cases", remedy="Freeze the next version.")
        self.journal.setdefault(entry.id, entry)

    def golden(self, workload: WorkloadId, *, version: int | None = None) -> GoldenSet | None:
        versions = [number for owner, number in self._golden if owner == workload and version in (None, number)]
        return self._golden[(workload, max(versions))] if versions else None

    def keep_snapshot(self, snapshot: Snapshot, *, path: str, entry: JournalEntry) -> None:
        if snapshot.id not in self._snapshots:
            self._snapshots[snapshot.id] = (snapshot, path)
            self.journal.setdefault(entry.id, entry)

    def snapshot(self, snapshot_id: SnapshotId) -> tuple[Snapshot, str] | None:
        return self._snapshots.get(snapshot_id)

    def snapshots(self, workload: WorkloadId) -> Sequence[Snapshot]:
        found = [replace(snapshot, examples=()) for snapshot, _ in self._snapshots.values() if snapshot.workload == workload]
        return found[::-1]
