"""An alert and its states.

pending -a-> firing -b-> acknowledged -c-> firing        a: held for long enough   b: a named person takes it
   |           |             |                           c: the acknowledgement expired, or severity rose
   d           e             e                           d: the drift went away before it fired: resolved without having fired
   v           v             v                           e: the drift stayed away for long enough
resolved    resolved      resolved

Transitions are decided in ``lifecycle``, b in ``acknowledgement``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum, StrEnum
from typing import NamedTuple

from flywheel.ids import AlertId, Person, WorkloadId, derive

RUNBOOK = "deploy/runbooks/drift.md"


class AlertState(StrEnum):
    """Where an alert stands."""

    PENDING = "pending"
    FIRING = "firing"
    ACKNOWLEDGED = "acknowledged"
    RESOLVED = "resolved"


class Severity(IntEnum):
    """Ordered: a rise ends an acknowledgement early."""

    INFO = 1
    WARNING = 2
    CRITICAL = 3


@dataclass(frozen=True, kw_only=True)
class Acknowledgement:
    """A named person has taken the alert, until a time."""

    by: Person
    at: datetime
    until: datetime
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class AlertMessage:
    """What a person on call reads."""

    summary: str  # one sentence for a phone
    first_action: str  # what the reader should do first
    runbook: str = RUNBOOK


class DriftedSeries(NamedTuple):
    """One column of one slice that drifts."""

    slice: str
    column: str


@dataclass(frozen=True, kw_only=True)
class WindowsSeen:
    """Which closed windows an alert has taken in, and what drifted in them."""

    first: str  # id of the window that opened the alert
    newest: str  # id of the newest window that still drifted
    until: datetime  # end of the newest window taken in: older ones say nothing new
    late: tuple[str, ...] = ()  # late-data findings taken in, oldest first; see ``lifecycle``
    drifted: frozenset[DriftedSeries] = frozenset()  # all must clear before the alert is over
    drifted_count: int = 0  # with those that ``drifted`` leaves out because there are too many


@dataclass(frozen=True, kw_only=True)
class Alert:
    """One incident: many slices and columns that drift together are one alert. ``evidence`` is for a reader and decides nothing."""

    id: AlertId
    workload: WorkloadId
    severity: Severity
    state: AlertState
    message: AlertMessage
    started_at: datetime
    last_seen_at: datetime
    seen: WindowsSeen
    fired_at: datetime | None = None
    fired_again_at: datetime | None = None
    resolved_at: datetime | None = None
    acknowledgement: Acknowledgement | None = None
    evidence: Mapping[str, object] = field(default_factory=dict)
    version: int = 0  # how often the ledger has saved it; a save counts only on top of the newest version

    @property
    def labels(self) -> Mapping[str, str]:
        """What a receiver groups alerts by."""
        return labels_of(self.workload)

    @property
    def fingerprint(self) -> str:
        """The same for each alert of the same labels."""
        return fingerprint_of(self.workload)


def labels_of(workload: WorkloadId) -> dict[str, str]:
    """Labels of a workload's drift alerts."""
    return {"workload": workload, "kind": "drift"}


def fingerprint_of(workload: WorkloadId) -> str:
    """Hash of the sorted labels. One incident for each workload: what drifts together is told together."""
    return derive("drift", *(f"{key}={value}" for key, value in sorted(labels_of(workload).items())))
