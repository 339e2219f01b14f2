"""The release controller's steps: read -> load -> decide -> store -> notify the gateways.

``reconcile_server`` loads and unloads adapters; ``advance_releases`` moves releases by ``next_action``. The two run in separate threads, so
that a slow load never delays an abort. Both are safe to repeat and to kill at any point: a move is one transaction, and the next call
finds everything else again.
"""

import time
from collections.abc import Sequence
from datetime import datetime

import structlog
from prometheus_client import Counter

from flywheel.clock import lies_ahead
from flywheel.errors import InvalidInput
from flywheel.ids import DAEMON, ReleaseId, WorkloadId, derive
from flywheel.rollout.arm_sessions import columns_of
from flywheel.rollout.next_action import (
    Action,
    ActionKind,
    GateFact,
    ReleaseFacts,
    gate_that_counts,
    next_action,
    reads_gate,
    reads_sessions,
)
from flywheel.rollout.release import CLOSED, IN_FLIGHT, Release, ReleaseState, Route, release_id, release_line, route_line
from flywheel.rollout.rollback import rollback_target
from flywheel.rollout.route_changes import first_route, renamed, timed_anew
from services.observability import metrics_of
from services.ports.work_queue import GateCommand, WorkItem
from services.release_controller.measure_rollbacks import RollbackRecorder
from services.release_controller.reconcile_adapters import Replica, Wanted
from services.release_controller.wiring import ControllerParts, ReleaseRules

log = structlog.get_logger()
ACTIONS = Counter("flywheel_release_actions_total", "Moves of releases", ["workload", "kind"], registry=metrics_of("release_controller"))
WAITING_FOR_LEDGER = frozenset({ReleaseState.PROBED, ReleaseState.GATED, ReleaseState.LIVE}) | CLOSED
"""States that advance after a change of the ledger: a gate or an approval. The others wait for the server, traffic or time."""


def reconcile_server(parts: ControllerParts, replica: Replica, *, now: datetime) -> None:
    """Loads, checks and unloads adapters."""
    wanted = [
        Wanted(
            route=parts.releases.route(workload),
            releases=parts.releases.releases(workload),
            bundles={bundle.name: bundle for bundle in parts.runs.adapters(workload)},
            probe_items=rules.probe_items,
        )
        for workload, rules in parts.workloads.items()
    ]
    replica.reconcile(wanted, now=now)


def advance_releases(parts: ControllerParts, replica: Replica, rollbacks: RollbackRecorder, *, now: datetime) -> None:
    """Every workload once."""
    for workload, rules in parts.workloads.items():
        route = _route_in_force(parts, replica, rules, now=now)
        _register_adapters(parts, workload, now=now)
        if route is None:
            continue
        _push_to_outdated_gateways(parts, route)
        for release in reversed(parts.releases.releases(workload)):  # oldest first
            if _advance(parts, replica, rollbacks, rules, release, route, now=now):
                break  # the route has changed: the others advance with the new one
        current = parts.releases.route(workload)
        rollbacks.step(parts, workload=workload, route=current or route, now=now)


def in_motion(parts: ControllerParts) -> bool:
    """True if a workload has no route yet, or a release that may advance with traffic, time or the server's state."""
    for workload in parts.workloads:
        route = parts.releases.route(workload)
        if route is None or route.challenger is not None:
            return True
        if any(release.state not in WAITING_FOR_LEDGER for release in parts.releases.releases(workload)):
            return True
    return False


def _route_in_force(parts: ControllerParts, replica: Replica, rules: ReleaseRules, *, now: datetime) -> Route | None:
    """The first route is the base's, once the server answers; the alias follows the configuration."""
    route = parts.releases.route(rules.id)
    if route is None:
        if not replica.healthy:
            return None
        changed, reason = first_route(workload=rules.id, alias=rules.alias, now=now), "the base answers until something better is proven"
    elif route.alias != rules.alias:
        changed, reason = renamed(route, alias=rules.alias, now=now), "the alias was changed in the configuration"
    elif route.changed_at is not None and lies_ahead(route.changed_at, now=now):
        changed, reason = timed_anew(route, now=now), f"its time lay in the future, {route.changed_at.isoformat()}: a clock ran ahead"
    else:
        return route
    if not parts.releases.save_route(changed, route_line(changed, actor=DAEMON, reason=reason, at=now)):
        return parts.releases.route(rules.id)
    log.info("A route was published.", action="route_published", workload=rules.id, version=changed.version, reason=reason)
    parts.gateways.push(changed)
    return changed


def _register_adapters(parts: ControllerParts, workload: WorkloadId, *, now: datetime) -> None:
    """Every adapter in the ledger has a release."""
    known = {release.adapter for release in parts.releases.releases(workload)}
    for bundle in parts.runs.adapters(workload):
        if bundle.name in known:
            continue
        release = Release(
            id=release_id(workload, bundle.name),
            workload=workload,
            adapter=bundle.name,
            state=ReleaseState.REGISTERED,
            since=now,
            reason=f"made by {bundle.run}",
            actor=DAEMON,
        )
        line = release_line(release, by="policy", caused_by=bundle.run, evidence={"digest": bundle.digest})
        parts.releases.save_release(release, line, expected=None)


def _push_to_outdated_gateways(parts: ControllerParts, route: Route) -> None:
    """Gateways also read the route on their own; a push shortens the delay."""
    if any(version < route.version for version in parts.gateways.applied_versions(route.workload).values()):
        parts.gateways.push(route)


def _advance(
    parts: ControllerParts,
    replica: Replica,
    rollbacks: RollbackRecorder,
    rules: ReleaseRules,
    release: Release,
    route: Route,
    *,
    now: datetime,
) -> bool:
    """Advances one release. True when the route has changed, or may have."""
    decided_at = time.monotonic()
    facts = _facts(parts, replica, rules, release, route)
    try:
        action = next_action(release=release, facts=facts, policy=rules.policy, mode=rules.mode, now=now)
    except InvalidInput as error:  # a canary beyond the policy's steps: this release waits, the others go on
        ACTIONS.labels(rules.id, "not_judged").inc()
        log.error("A release cannot be judged.", action="release_not_judged", release=release.id, reason=str(error))
        return False
    if action.asks_for_gate:
        _ask_for_gate(parts, release, route, now=now)
    if action.release is None:
        return False
    if not _store(parts, release, action):
        return True  # another actor was faster, perhaps a person: look again
    ACTIONS.labels(rules.id, action.kind.value).inc()
    log.info(
        "A release moved.",
        action="release_moved",
        release=release.id,
        adapter=release.adapter,
        kind=action.kind.value,
        state=action.release.state.value,
        reason=action.reason,
    )
    if action.route is None:
        return False
    told = parts.gateways.push(action.route)
    if action.kind is ActionKind.ROLL_BACK and told and all(told.values()):
        rollbacks.applied_after(release.id, time.monotonic() - decided_at)
    return True


def _facts(parts: ControllerParts, replica: Replica, rules: ReleaseRules, release: Release, route: Route) -> ReleaseFacts:
    """Reads only what the policy needs in the release's state."""
    state, workload = release.state, release.workload
    others = parts.releases.releases(workload)
    weights = replica.served_weights(release.adapter)
    gate = gate_that_counts(_gates(parts, release), champion=route.champion) if reads_gate(release) else None
    shadow = sessions = None
    if state is ReleaseState.SHADOW:
        shadow = parts.shadows.shadowed(workload=workload, adapter=release.adapter, since=release.since)
    if reads_sessions(release, route):
        guards = rules.policy.guards
        outcomes = parts.traffic.outcomes(workload=workload, since=release.since)
        sessions = columns_of(outcomes, slices=guards.protected, signals=guards.informative)
    return ReleaseFacts(
        route=route,
        served=weights.served,
        served_reason=weights.reason,
        served_evidence=weights.evidence,
        gate=gate,
        in_flight=_in_flight(others, but=release.id),
        shadow=shadow,
        sessions=sessions,
        rollback_target=rollback_target(route=route, releases=others),
    )


def _gates(parts: ControllerParts, release: Release) -> list[GateFact]:
    """Of the adapter, newest first."""
    return [
        GateFact(id=gate.id, champion=gate.champion, verdict=gate.decision.verdict, reason=gate.decision.reason)
        for gate in parts.gates.gates(release.workload, adapter=release.adapter)
    ]


def _in_flight(releases: Sequence[Release], *, but: ReleaseId) -> ReleaseId | None:
    return next((release.id for release in releases if release.state in IN_FLIGHT and release.id != but), None)


def _ask_for_gate(parts: ControllerParts, release: Release, route: Route, *, now: datetime) -> None:
    """Queues a gate against the present champion, once per champion."""
    item = WorkItem(
        id=derive("work", "gate", release.id, route.champion),
        workload=release.workload,
        command=GateCommand(adapter=release.adapter, asked_by=DAEMON),
        caused_by=release.id,
    )
    parts.work.put(item, now=now)


def _store(parts: ControllerParts, release: Release, action: Action) -> bool:
    assert action.release is not None
    evidence = dict(action.evidence)
    if action.route is not None:
        evidence |= {"route": action.route.version, "champion": action.route.champion, "share": action.route.share}
    line = release_line(action.release, by=action.by, caused_by=action.release.gate, evidence=evidence)
    return parts.releases.save_release(action.release, line, expected=release, route=action.route)
