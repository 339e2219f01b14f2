"""The cases that a gate asks, and the frozen golden set."""

from collections.abc import Sequence
from typing import Protocol

from flywheel.ids import WorkloadId
from flywheel.journal import JournalEntry
from flywheel.regression_suite.case import Case, Tier
from flywheel.regression_suite.golden import GoldenSet


class SuiteLedger(Protocol):
    """Cases and golden sets in the ledger."""

    def cases(self, workload: WorkloadId, *, tier: Tier | None = None) -> Sequence[Case]:
        """Recurrence, held-out, general and safety cases."""

    def add_cases(self, cases: Sequence[Case], entry: JournalEntry) -> None:
        """Imports cases that are not corrections: general and safety."""

    def freeze_golden(self, golden: GoldenSet, entry: JournalEntry) -> None:
        """Keeps a version for ever."""

    def golden(self, workload: WorkloadId, *, version: int | None = None) -> GoldenSet | None:
        """The newest version, or the one named."""
