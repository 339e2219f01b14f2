"""A line of the append-only journal: what was decided, why, on what evidence, by whom, caused by what.

It holds ids, states, reasons and numbers, never text that a user or a customer wrote.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from flywheel.ids import DAEMON, Person, WorkloadId, derive


@dataclass(frozen=True, kw_only=True)
class JournalEntry:
    """One fact. Writing the same fact twice (same id) keeps one."""

    at: datetime
    workload: WorkloadId
    kind: str  # what sort of thing changed: "alert", "correction", "snapshot", "run", "gate", "release", "reference", ...
    subject: str  # the id of the thing
    state: str  # the state it is in from now on
    reason: str
    actor: Person = DAEMON
    caused_by: str = ""  # the id of the alert, correction, run or gate that led here
    evidence: Mapping[str, object] = field(default_factory=dict)  # JSON values only

    @property
    def id(self) -> str:
        """Derived from subject, state, cause and time, so that a repeated step writes no second line."""
        return derive("journal", self.kind, self.subject, self.state, self.caused_by, self.at.isoformat())
