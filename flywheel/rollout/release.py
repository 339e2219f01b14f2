"""A release of one adapter and its states.

registered -a-> probed -b-> gated -c-> shadow -d-> canary -e-> live -f-> retired
    |             | ^         |          |           |         | ^          |
    g             h m         m          i           i         j  `----k----'
    v             v |         v          v           v         v
 refused       refused     probed    rolled_back rolled_back rolled_back

a: loaded, weight parity                           b: the gate passed, or a named person overrode it (from refused, too)
c: the mode or a named person lets it on           d, e: the policy's steps          f: the route has a newer champion
g: wrong weights, or not loadable                    h: the gate refused or cannot tell
i: a guard, a person, or it left the route         j: a guard in its watch period, a person, or it can no longer be served
k: put back by a rollback of its successor         m: its gate was against another champion than the present one
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum

from flywheel.errors import FlywheelError
from flywheel.ids import AdapterName, Person, ReleaseId, WorkloadId, derive
from flywheel.journal import JournalEntry, JournalKind, ReleaseChange, RouteChange
from flywheel.traffic.inference import Arm


class ReleaseState(StrEnum):
    """The states of the diagram above."""

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
"""Final states, except that a rollback may put a retired release back."""

IN_FLIGHT = frozenset({ReleaseState.SHADOW, ReleaseState.CANARY})
"""Its adapter is the route's challenger. One at a time for each workload, so that a fault has one possible cause."""


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
    step_since: datetime | None = None  # when the present canary step began, or the holdout ended
    replaced: AdapterName | None = None  # the champion before it: where a rollback goes back to


@dataclass(frozen=True, kw_only=True)
class Route:
    """Which adapters the gateway serves for one alias. Higher versions win. ``share`` of the sessions go to the challenger.

    With a holdout the challenger is the old champion, which a few sessions keep for a while.
    """

    workload: WorkloadId
    alias: str
    version: int
    champion: AdapterName
    challenger: AdapterName | None = None
    challenger_arm: Arm | None = None  # SHADOW, CANARY or HOLDOUT
    share: float = 0.0
    salt: str = ""  # the release's id: another release draws other sessions
    changed_at: datetime | None = None


def release_id(workload: WorkloadId, adapter: AdapterName) -> ReleaseId:
    """One release for each adapter, however often it is asked for."""
    return ReleaseId(derive("release", workload, adapter))


def release_line(release: Release, *, by: str, caused_by: str = "", evidence: Mapping[str, object] | None = None) -> JournalEntry:
    """The journal entry of the state that a release has just entered. ``by``: probe, gate, guard, person or policy."""
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
    """The journal entry of a route that is in force from now on."""
    return JournalEntry(
        at=at,
        workload=route.workload,
        kind=JournalKind.ROUTE,
        subject=f"{route.workload}@{route.version}",  # two changes at one moment are two entries
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
