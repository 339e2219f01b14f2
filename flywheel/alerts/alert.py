"""An alert and its states.

pending -a-> firing -b-> acknowledged -c-> firing        a: held for long enough   b: a named person takes it
   |           |             |                           c: the acknowledgement expired, or severity rose
   d           e             e                           d: the facts went away before it fired: resolved without having fired
   v           v             v                           e: the facts stayed away for long enough
resolved    resolved      resolved
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum, StrEnum

from flywheel.ids import AlertId, Person, WorkloadId


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
class Alert:
    """One incident: many slices and columns that moved together are one alert."""

    id: AlertId
    fingerprint: str  # hash of the sorted labels
    workload: WorkloadId
    labels: Mapping[str, str]
    severity: Severity
    state: AlertState
    summary: str  # one sentence for a phone
    first_action: str  # what the reader should do first
    runbook: str  # path of the page in deploy/runbooks
    started_at: datetime
    last_seen_at: datetime
    fired_at: datetime | None = None
    resolved_at: datetime | None = None
    acknowledgement: Acknowledgement | None = None
    evidence: Mapping[str, object] = field(default_factory=dict)
