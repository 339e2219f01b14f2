"""Training sets: general rows and snapshots."""

from collections.abc import Sequence
from typing import Protocol

from flywheel.ids import SnapshotId, WorkloadId
from flywheel.journal import JournalEntry
from flywheel.training_set.example import Example
from flywheel.training_set.snapshot import Snapshot


class TrainingSetLedger(Protocol):
    """General rows and snapshots in the ledger."""

    def general_examples(self, workload: WorkloadId) -> Sequence[Example]:
        """The general instruction rows that are mixed in against forgetting."""

    def add_general_examples(self, workload: WorkloadId, examples: Sequence[Example], entry: JournalEntry) -> None:
        """Imports them."""

    def keep_snapshot(self, snapshot: Snapshot, *, path: str, entry: JournalEntry) -> None:
        """The snapshot's row; its file was written before."""

    def snapshot(self, snapshot_id: SnapshotId) -> tuple[Snapshot, str] | None:
        """The snapshot with its examples, read from its file and held to its hash, and the file's path. CannotRun without the file."""

    def snapshots(self, workload: WorkloadId) -> Sequence[Snapshot]:
        """Newest first, without their examples."""
