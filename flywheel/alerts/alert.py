"""An alert and its states.

pending -a-> firing -b-> acknowledged -c-> firing        a: held for long enough   b: a named person acknowledges it
   |           |             |                           c: the acknowledgement expired, or severity rose
   d           e             e                           d: a window without drift closed before it fired
   v           v             v                           e: no drift for ``resolve_after``
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
    """The states of an alert."""

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
    """A named person takes care of the alert until ``until``."""

    by: Person
    at: datetime
    until: datetime
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class AlertMessage:
    """What a person on call reads."""

    summary: str  # one sentence, short enough for a push notification
    first_action: str  # what the reader should do first
    runbook: str = RUNBOOK


class DriftedSeries(NamedTuple):
    """A series that drifts: one column of one slice."""

    slice: str
    column: str


@dataclass(frozen=True, kw_only=True)
class WindowsSeen:
    """The closed windows whose findings changed the alert, and what drifted in them."""

    first: str  # id of the window that opened the alert
    newest: str  # id of the newest window that still drifted
    until: datetime  # end of the newest of these windows; findings of windows that end earlier are ignored, late-data findings excepted
    late: tuple[str, ...] = ()  # late-data findings taken in, oldest first; see ``lifecycle``
    drifted: frozenset[DriftedSeries] = frozenset()  # all must clear before the alert is resolved
    drifted_count: int = 0  # of all series, also those that ``drifted`` leaves out because there are too many


@dataclass(frozen=True, kw_only=True)
class Alert:
    """One incident: many slices and columns that drift together are one alert. ``evidence`` is shown, and decides nothing."""

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
    version: int = 0  # how often the ledger has saved it; a save based on an older version is rejected

    @property
    def labels(self) -> Mapping[str, str]:
        """What a receiver groups alerts by."""
        return labels_of(self.workload)

    @property
    def fingerprint(self) -> str:
        """Equal for alerts with equal labels."""
        return fingerprint_of(self.workload)


def labels_of(workload: WorkloadId) -> dict[str, str]:
    """Labels of a workload's drift alerts."""
    return {"workload": workload, "kind": "drift"}


def fingerprint_of(workload: WorkloadId) -> str:
    """An id derived from the sorted labels: one for each workload, which has one incident at a time."""
    return derive("drift", *(f"{key}={value}" for key, value in sorted(labels_of(workload).items())))
