"""A line of the append-only journal: what was decided, why, on what evidence, by whom, caused by what.

It holds ids, states, reasons and numbers, never text that a user or a customer wrote. ``evidence`` is for a reader; where code
reads it, the kind has a dataclass here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from enum import StrEnum

from flywheel.ids import DAEMON, Person, WorkloadId, derive


class JournalKind(StrEnum):
    """What a line is about. The values are stored in every ledger: new ones may be added, none changed."""

    WINDOW = "window"  # a closed window was judged, or re-evaluated with late data
    REFERENCE = "reference"  # pinned or calibrated
    ALERT = "alert"  # moved to another state
    CORRECTION = "correction"  # decided
    DEAD_LETTER = "dead_letter"  # an event of the corrections topic that cannot be read
    TRAFFIC_LOST = "traffic_lost"  # events that the topic no longer held when they were to be read
    GOLDEN = "golden"  # cases imported, or a version frozen
    GENERAL = "general"  # general rows imported
    TRIGGER = "trigger"  # a retraining was asked for, or not
    READINESS = "readiness"  # is there enough to train and judge with?
    SNAPSHOT = "snapshot"  # a training set was built or refused
    RUN = "run"  # a training run moved to another state
    ADAPTER = "adapter"  # registered
    GATE = "gate"  # decided
    RELEASE = "release"  # moved to another state
    ROUTE = "route"  # changed
    ROLLBACK = "rollback"  # what a rollback took and what users met before it
    DAEMON = "daemon"  # every part is ready
    TOKEN = "token"  # made or revoked  # noqa: S105 (a word)
    ACCESS = "access"  # attempts that a token did not open; at most one line a minute for a kind
    FLOW = "flow"  # a flow of work stands, or moves again
    RETENTION = "retention"  # old records were deleted; or are not, because the clock was set


class OtherKind(str):
    """A kind that the daemon does not write: of a newer version, or of the demo. Such lines are shown and nothing else."""

    __slots__ = ()


def kind_of(word: str) -> JournalKind | OtherKind:
    """A stored word as a kind. Unknown words are no error: an older or newer ledger may hold them."""
    try:
        return JournalKind(word)
    except ValueError:
        return OtherKind(word)


@dataclass(frozen=True, kw_only=True)
class JournalEntry:
    """One fact. Writing the same fact twice (same id) keeps one."""

    at: datetime
    workload: WorkloadId
    kind: JournalKind | OtherKind
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


@dataclass(frozen=True, kw_only=True)
class ReleaseChange:
    """What a ``RELEASE`` line says beside the state: which adapter, and who decided (probe, gate, guard, person or policy)."""

    adapter: str
    by: str

    @classmethod
    def of(cls, entry: JournalEntry) -> "ReleaseChange":
        """Empty words for what an older line does not hold."""
        return cls(adapter=_text(entry, "adapter"), by=_text(entry, "by"))


@dataclass(frozen=True, kw_only=True)
class RouteChange:
    """What a ``ROUTE`` line says: the route that is in force from now on."""

    version: int
    champion: str
    challenger: str | None
    arm: str | None
    share: float

    @classmethod
    def of(cls, entry: JournalEntry) -> "RouteChange":
        """From the line that ``rollout.release.route_line`` made."""
        return cls(**{one.name: entry.evidence.get(one.name) for one in fields(cls)})  # type: ignore[arg-type]


@dataclass(frozen=True, kw_only=True)
class RollbackMeasurement:
    """What a ``ROLLBACK`` line says: how long it took and what users met before it."""

    adapter: str
    to: str | None  # the adapter that answers again
    cause: str
    by: str  # as in ``ReleaseChange``
    seconds: float | None  # from the decision to the last gateway; None: no gateway has answered
    failed_requests: int
    bad_answers: int
    rows: int  # read to count them

    @classmethod
    def of(cls, entry: JournalEntry) -> "RollbackMeasurement":
        """From the line that the release controller wrote."""
        return cls(**{one.name: entry.evidence.get(one.name) for one in fields(cls)})  # type: ignore[arg-type]


@dataclass(frozen=True, kw_only=True)
class DaemonReady:
    """What a ``DAEMON`` line says: which broker and which engine, for reports that have the ledger alone."""

    broker: str
    engine: str

    @classmethod
    def of(cls, entry: JournalEntry) -> "DaemonReady":
        """From the line that ``flywheel up`` wrote."""
        return cls(broker=_text(entry, "broker"), engine=_text(entry, "engine"))


@dataclass(frozen=True, kw_only=True)
class RetentionNote:
    """What a ``RETENTION`` line says: how long the machine had run, so that the next process can tell whether the clock was set since."""

    running: float  # seconds since the machine started
    boot: str  # names that start
    deleted: Mapping[str, int] = field(default_factory=dict)  # records by kind, since the line before

    @classmethod
    def of(cls, entry: JournalEntry) -> "RetentionNote":
        """From the line that the drift monitor wrote."""
        running, deleted = entry.evidence.get("running"), entry.evidence.get("deleted")
        return cls(
            running=float(running) if isinstance(running, int | float) else 0.0,
            boot=_text(entry, "boot"),
            deleted=deleted if isinstance(deleted, dict) else {},
        )


def _text(entry: JournalEntry, name: str) -> str:
    return str(entry.evidence.get(name) or "")
