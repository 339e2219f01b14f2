"""Deleting old records, a small step at a time."""

from collections.abc import Collection
from typing import Protocol

from flywheel.ids import WorkloadId
from flywheel.retention import OldPeriod, RecordKind


class OldRecords(Protocol):
    """One database, or the files, from which old records are deleted."""

    kinds: frozenset[RecordKind]

    def workloads(self) -> Collection[WorkloadId]:
        """Those that have records here, also ones that are not configured any more. "": records that name none."""

    def delete_some(self, kind: RecordKind, workload: WorkloadId | None, period: OldPeriod, *, at_most: int) -> int:
        """One transaction. Returns how many were deleted; 0: the period has no more. ``workload``: None for kinds of all together."""

    def start_anew(self) -> None:
        """Once a day: what was found to stay is looked at again."""

    def give_back(self) -> bool:
        """One step of giving the space of deleted records back to the file system. False: there is nothing more to give back."""
