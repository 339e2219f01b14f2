"""A release of one adapter and its states.

registered -a-> probed -b-> gated -c-> shadow -d-> canary -e-> live -f-> retired
    |             | ^         |          |           |         | ^          |
    g             h m         m          i           i         j  `----k----'
    v             v |         v          v           v         v
 refused       refused     probed    rolled_back rolled_back rolled_back

a: loaded and proven applied                       b: the gate passed, or a named person overrode it (from refused, too)
c: the mode or a named person lets it on           d, e: the policy's steps          f: the route names a newer champion
g: not applied or not loadable                     h: the gate refused or cannot tell
i: a guard, a person, or it left the route         j: a guard in its watch period, a person, or it can no longer be served
k: put back by a rollback of its successor         m: its gate was against another champion than the present one
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum

from flywheel.errors import FlywheelError, InvalidInput
from flywheel.ids import AdapterName, Person, ReleaseId, WorkloadId, derive
from flywheel.journal import JournalEntry, JournalKind, ReleaseChange, RouteChange
from flywheel.plausible import check_moment, check_number, check_whole
from flywheel.traffic.inference import Arm


class ReleaseState(StrEnum):
    """Where a release stands."""

    REGISTERED = "registered"
    PROBED = "probed"
    GATED = "gated"
    SHADOW = "shadow"
    CANARY = "canary"
    LIVE = "live"
    REFUSED = "refused"
    ROLLED_BACK = "rolled_back"
    RETIRED = "retired"


CLOSED = frozenset({ReleaseState.REFUSED, ReleaseState.ROLLED_BACK, ReleaseState.RETIRED})
"""Nothing more happens by itself, except that a retired one may be put back."""

IN_FLIGHT = frozenset({ReleaseState.SHADOW, ReleaseState.CANARY})
"""The route's challenger. One at a time for each workload: two would blur whose fault a fault is."""


class NotLoaded(FlywheelError):
    """The server refused the adapter; the reason is the server's own text."""


@dataclass(frozen=True, kw_only=True)
class Release:
    """``since`` is when it entered its state; ``step`` counts canary steps."""

    id: ReleaseId
    workload: WorkloadId
    adapter: AdapterName
    state: ReleaseState
    since: datetime
    reason: str
    actor: Person
    step: int = 0
    gate: str = ""
    overridden_by: Person | None = None
    approved_by: Person | None = None
    step_since: datetime | None = None  # when the present canary step began, or the hold-back ended
    replaced: AdapterName | None = None  # the champion it took over from: what a rollback goes back to

    def __post_init__(self) -> None:
        if not isinstance(self.state, ReleaseState):  # an unknown one would read as closed
            raise InvalidInput("there is no such state", where=self.id, value=self.state, remedy=f"One of {', '.join(ReleaseState)}.")
        check_moment(self.since, where=f"{self.id}.since")
        if self.step_since is not None:
            check_moment(self.step_since, where=f"{self.id}.step_since")
        check_whole(self.step, where=f"{self.id}.step")


@dataclass(frozen=True, kw_only=True)
class Route:
    """What the gateway serves for one alias. Higher versions win. ``share`` of the sessions go to the challenger.

    With a hold-back the challenger is the old champion, which some sessions keep for a while.
    """

    workload: WorkloadId
    alias: str
    version: int
    champion: AdapterName
    challenger: AdapterName | None = None
    challenger_arm: Arm | None = None  # SHADOW, CANARY or HOLD_BACK
    share: float = 0.0
    salt: str = ""  # the release's id: another release draws other sessions
    changed_at: datetime | None = None

    def __post_init__(self) -> None:
        where = f"route of {self.workload}"
        check_whole(self.version, where=f"{where}.version")
        check_number(self.share, where=where, most=1, said="the challenger's share lies from 0 to 1", remedy="5 % are 0.05.")
        if not isinstance(self.challenger_arm, Arm | None):
            raise InvalidInput("there is no such arm", where=where, value=self.challenger_arm, remedy=f"One of {', '.join(Arm)}.")
        if self.changed_at is not None:
            check_moment(self.changed_at, where=f"{where}.changed_at")


def release_id(workload: WorkloadId, adapter: AdapterName) -> ReleaseId:
    """One release for each adapter, however often it is asked for."""
    return ReleaseId(derive("release", workload, adapter))


def release_line(release: Release, *, by: str, caused_by: str = "", evidence: Mapping[str, object] | None = None) -> JournalEntry:
    """The journal's line for the state a release has just entered. ``by``: probe, gate, guard, person or policy."""
    return JournalEntry(
        at=max(release.since, release.step_since or release.since),
        workload=release.workload,
        kind=JournalKind.RELEASE,
        subject=release.id,
        state=release.state.value,
        reason=release.reason,
        actor=release.actor,
        caused_by=caused_by,
        evidence={**asdict(ReleaseChange(adapter=release.adapter, by=by)), **(evidence or {})},
    )


def route_line(route: Route, *, actor: Person, reason: str, at: datetime, caused_by: str = "") -> JournalEntry:
    """The journal's line for a route that is in force from now on."""
    check_moment(at, where=f"route of {route.workload}")
    return JournalEntry(
        at=at,
        workload=route.workload,
        kind=JournalKind.ROUTE,
        subject=f"{route.workload}@{route.version}",  # two changes at one moment are two lines
        state="changed",
        reason=reason,
        actor=actor,
        caused_by=caused_by,
        evidence=asdict(
            RouteChange(
                version=route.version,
                champion=route.champion,
                challenger=route.challenger,
                arm=route.challenger_arm.value if route.challenger_arm else None,
                share=route.share,
            )
        ),
    )
