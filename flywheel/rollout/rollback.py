"""Rolls back to the adapter that answered before, or to the base.

In: the route, the workload's releases, who and why. Out: a RollbackDecision: the new route, and the releases that leave it.
Saving it and notifying the gateways are not done here. The harm done in the meantime is measured afterwards (``harm_of``).

The route decides: a release that a rollback puts back becomes live again when ``next_action`` sees it on the route.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from flywheel.errors import Refused
from flywheel.ids import BASE, AdapterName, Person, WorkloadId
from flywheel.rollout.release import IN_FLIGHT, Release, ReleaseState, Route
from flywheel.rollout.route_changes import with_champion
from flywheel.traffic.attempt_outcome import AttemptOutcome
from flywheel.traffic.inference import Arm


@dataclass(frozen=True, kw_only=True)
class RollbackDecision:
    """Save ``releases[0]`` together with ``route`` in one transaction, then the others; all of them are rolled back."""

    workload: WorkloadId
    adapters: tuple[AdapterName, ...]  # that leave the route
    to: AdapterName  # answers all sessions from now on
    route: Route
    releases: tuple[Release, ...]
    reason: str


@dataclass(frozen=True, kw_only=True)
class Harm:
    """The failures of an adapter that was rolled back."""

    failed_requests: int  # every attempt of the request was a model error
    bad_answers: int  # answers of the adapter in an invalid format


@dataclass(frozen=True, kw_only=True)
class MeasuredAttempt:
    """One attempt to answer a request."""

    request_id: str
    adapter: AdapterName
    outcome: AttemptOutcome
    valid_format: bool | None


def to_previous(
    *, workload: WorkloadId, route: Route, releases: Sequence[Release], by: Person, reason: str, now: datetime
) -> RollbackDecision:
    """Undoes the newest change: a challenger leaves first; without one the champion gives way to what it replaced.

    A holdout is no challenger: it is the adapter that the champion replaced, and ends with the champion.
    """
    if route.challenger is not None and route.challenger_arm is not Arm.HOLDOUT:
        return _leave(route, {route.challenger}, to=route.champion, releases=releases, by=by, reason=reason, now=now)
    if route.champion == BASE:
        raise Refused("the base model answers already", where=workload, remedy="There is nothing to roll back.")
    target = rollback_target(route=route, releases=releases)
    return _leave(route, {route.champion}, to=target, releases=releases, by=by, reason=reason, now=now)


def detach(*, workload: WorkloadId, route: Route, releases: Sequence[Release], by: Person, reason: str, now: datetime) -> RollbackDecision:
    """Every adapter leaves; the base answers. Always possible while an adapter is on the route."""
    leaving = {route.champion, route.challenger} - {BASE, None}
    if not leaving:
        raise Refused("the base model answers already", where=workload, remedy="There is nothing to detach.")
    return _leave(route, {name for name in leaving if name}, to=BASE, releases=releases, by=by, reason=reason, now=now)


def rollback_target(*, route: Route, releases: Iterable[Release]) -> AdapterName:
    """The newest predecessor of the champion that was retired and not rolled back; else the base."""
    by_adapter = {release.adapter: release for release in releases}
    seen = {route.champion}
    current = by_adapter.get(route.champion)
    while current is not None and current.replaced is not None and current.replaced not in seen:
        seen.add(current.replaced)
        current = by_adapter.get(current.replaced)
        if current is not None and current.state in {ReleaseState.RETIRED, ReleaseState.LIVE}:
            return current.adapter
    return BASE


def harm_of(attempts: Iterable[MeasuredAttempt], *, adapter: AdapterName) -> Harm:
    """A request whose failed attempt was repeated with success is not a failed request."""
    failed: dict[str, bool] = {}
    bad = 0
    for attempt in attempts:
        failed[attempt.request_id] = failed.get(attempt.request_id, True) and attempt.outcome is AttemptOutcome.MODEL_ERROR
        bad += attempt.adapter == adapter and attempt.valid_format is False
    return Harm(failed_requests=sum(failed.values()), bad_answers=bad)


def _leave(
    route: Route,
    leaving: set[AdapterName],
    *,
    to: AdapterName,
    releases: Sequence[Release],
    by: Person,
    reason: str,
    now: datetime,
) -> RollbackDecision:
    on_route = IN_FLIGHT | {ReleaseState.LIVE, ReleaseState.RETIRED}
    holdout = route.challenger if route.challenger_arm is Arm.HOLDOUT else None  # it stays retired
    changed = [
        replace(release, state=ReleaseState.ROLLED_BACK, since=now, reason=reason, actor=by)
        for release in releases
        if release.adapter in leaving and release.adapter != holdout and release.state in on_route
    ]
    changed.sort(key=lambda release: release.adapter != route.champion)  # the champion's line carries the route
    return RollbackDecision(
        workload=route.workload,
        adapters=tuple(sorted(leaving)),
        to=to,
        route=with_champion(route, to, now=now),
        releases=tuple(changed),
        reason=reason,
    )
