"""The append-only journal of what was decided."""

from collections.abc import Sequence
from typing import Protocol

from flywheel.ids import WorkloadId
from flywheel.journal import JournalEntry, JournalKind, OtherKind


class Journal(Protocol):
    """Append-only; the truth of what was decided."""

    def append(self, *entries: JournalEntry) -> None:
        """Writes the entries in one transaction; an entry whose id is there already is left as it is."""

    def entries(
        self,
        *,
        workload: WorkloadId | None = None,
        kind: JournalKind | OtherKind | None = None,
        subject: str | None = None,
        limit: int = 10_000,
    ) -> Sequence[JournalEntry]:
        """The newest ``limit`` of them, oldest first."""
