"""Approves and rolls back releases, in a person's name.

In: a person, a reason, the time. Out: the new states and the route, saved in one transaction and pushed to the gateways at once.
Does not load or unload adapters: only the release controller calls vLLM.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

from flywheel.errors import NotFound, Refused
from flywheel.ids import Person, ReleaseId, WorkloadId
from flywheel.rollout.approval import approve as decide_approval
from flywheel.rollout.release import Release, Route, release_line, route_line
from flywheel.rollout.rollback import RollbackDecision, detach, to_previous
from services.api.compare_and_set import until_saved
from services.api.wiring import ApiParts, WorkloadRules
from services.ports.gate import GateRecord


@dataclass(frozen=True, kw_only=True)
class RolledBack:
    """``gateways``: where the route is in force already; the others read it within a second."""

    route: Route
    releases: tuple[Release, ...]
    gateways: Mapping[str, bool]


def find_release(parts: ApiParts, name: str, *, workloads: Collection[WorkloadId]) -> Release:
    """Of these workloads, by its id, or by the adapter's name (its newest release). Raises NotFound."""
    found = parts.ledger.releases.release(ReleaseId(name))
    if found is not None and found.workload in workloads:
        return found
    for workload in workloads:
        for release in parts.ledger.releases.releases(workload):
            if release.adapter == name:
                return release
    raise NotFound("there is no such release", where="release", value=name, remedy="List them: flywheel release status.")


def approve(parts: ApiParts, release: Release, *, override: bool, by: Person, reason: str, now: datetime) -> Release:
    """Lets a gated release on to shadow; with ``override`` also one that its gate refused.

    Raises Refused when there is nothing to approve; Conflict.
    """

    def attempt() -> Release | None:
        before = find_release(parts, release.id, workloads=[release.workload])
        gate = _newest_gate(parts, before)
        changed = decide_approval(
            release=before, gate=gate.decision if gate is not None else None, override=override, by=by, reason=reason, now=now
        )
        if changed == before:
            return before  # approved before: one line in the journal is enough
        verdict = gate.decision.verdict.value if gate is not None else "none"
        entry = release_line(
            changed,
            by="person",
            caused_by=gate.id if gate is not None else "",
            evidence={"from": before.state.value, "override_gate": override, "gate_verdict": verdict},
        )
        return changed if parts.ledger.releases.save_release(changed, entry, expected=before) else None

    return until_saved(attempt, kind="release", subject=release.id)


def roll_back(parts: ApiParts, workload: WorkloadRules, *, to_base: bool, by: Person, reason: str, now: datetime) -> RolledBack:
    """Routes all traffic to the previous adapter, or to the base model. Raises Refused when there is nothing to roll back; Conflict."""

    def attempt() -> RolledBack | None:
        route = parts.ledger.releases.route(workload.id)
        if route is None:
            raise Refused("there is no route yet", where=workload.id, remedy="Wait until the release controller has published one.")
        releases = parts.ledger.releases.releases(workload.id)
        decide = detach if to_base else to_previous
        decision = decide(workload=workload.id, route=route, releases=releases, by=by, reason=reason, now=now)
        if not _save(parts, decision, before={release.id: release for release in releases}, by=by, reason=reason, now=now):
            return None
        return RolledBack(route=decision.route, releases=tuple(decision.releases), gateways=parts.gateways.push(decision.route))

    return until_saved(attempt, kind="route", subject=workload.id)


def _newest_gate(parts: ApiParts, release: Release) -> GateRecord | None:
    return next(iter(parts.ledger.gates.gates(release.workload, adapter=release.adapter)), None)


def _save(
    parts: ApiParts, decision: RollbackDecision, *, before: Mapping[ReleaseId, Release], by: Person, reason: str, now: datetime
) -> bool:
    """The first changed release carries the route: one transaction. False when nothing was written."""
    if not decision.releases:
        return parts.ledger.releases.save_route(decision.route, route_line(decision.route, actor=by, reason=reason, at=now))
    for index, release in enumerate(decision.releases):
        entry = release_line(release, by="person", evidence={"to": decision.route.champion, "route": decision.route.version})
        with_route = decision.route if index == 0 else None
        if not parts.ledger.releases.save_release(release, entry, expected=before[release.id], route=with_route) and index == 0:
            return False  # nothing is written yet: read and decide again
    return True
