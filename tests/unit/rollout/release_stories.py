"""Values that the tests of this stage share."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from flywheel.gate.axes import GateDecision, GateVerdict
from flywheel.ids import BASE, DAEMON, AdapterName, GateId, Person, WorkloadId
from flywheel.rollout.arm_sessions import ArmSessions, columns_of
from flywheel.rollout.guards import GuardPolicy
from flywheel.rollout.next_action import GateFact, RolloutPolicy
from flywheel.rollout.release import Release, ReleaseState, Route, release_id
from flywheel.traffic.inference import Arm

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
WORKLOAD = WorkloadId("router")
OLD, NEW = AdapterName("router-old"), AdapterName("router-new")
ANNA = Person("anna")
POLICY = RolloutPolicy(
    shadow_requests=20,
    canary_shares=(0.1, 0.5),
    canary_sessions=40,
    step_time=timedelta(minutes=2),
    holdout_share=0.05,
    holdout_time=timedelta(hours=24),
    guards=GuardPolicy(minimum_sessions=10),
)


def release(state: ReleaseState, *, adapter: AdapterName = NEW, **changes: object) -> Release:
    plain = Release(
        id=release_id(WORKLOAD, adapter),
        workload=WORKLOAD,
        adapter=adapter,
        state=state,
        since=NOW - timedelta(minutes=5),
        reason="as it was",
        actor=DAEMON,
        gate="gate-1" if state not in (ReleaseState.REGISTERED, ReleaseState.PROBED) else "",
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


def route(
    *, champion: AdapterName = BASE, challenger: AdapterName | None = None, arm: Arm | None = None, share: float = 0.0, version: int = 4
) -> Route:
    return Route(
        workload=WORKLOAD,
        alias="router-1",
        version=version,
        champion=champion,
        challenger=challenger,
        challenger_arm=arm,
        share=share,
        salt=release_id(WORKLOAD, challenger) if challenger else "",
        changed_at=NOW,
    )


def gate(verdict: GateVerdict, *, champion: AdapterName = BASE, name: str = "gate-1") -> GateFact:
    return GateFact(id=GateId(name), champion=champion, verdict=verdict, reason=f"the gate says {verdict.value}")


def decision(verdict: GateVerdict) -> GateDecision:
    return GateDecision(verdict=verdict, reason="format: 3 of 60 right", axes=())


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A session's outcome. All began at the same time, so their order is that of their hashes, which mixes the arms."""

    session: str
    adapter: AdapterName
    ok: bool = True
    valid_format: bool | None = True
    refused: bool | None = False
    latency_ms: float = 100.0
    at: datetime = NOW - timedelta(minutes=1)
    slices: tuple[str, ...] = ()
    signals: Mapping[str, bool] = field(default_factory=dict)


def sessions(adapter: AdapterName, good: int, *, bad_format: int = 0, failed: int = 0, refused: int = 0) -> tuple[Seen, ...]:
    made = [Seen(session=f"{adapter}-{number}", adapter=adapter) for number in range(good)]
    made += [Seen(session=f"{adapter}-format-{number}", adapter=adapter, valid_format=False) for number in range(bad_format)]
    made += [
        Seen(session=f"{adapter}-failed-{number}", adapter=adapter, ok=False, valid_format=None, refused=None) for number in range(failed)
    ]
    made += [Seen(session=f"{adapter}-refused-{number}", adapter=adapter, refused=True) for number in range(refused)]
    return tuple(made)


def columns(outcomes: tuple[Seen, ...], guards: GuardPolicy = POLICY.guards) -> ArmSessions:
    return columns_of(outcomes, slices=guards.protected, signals=guards.informative)
