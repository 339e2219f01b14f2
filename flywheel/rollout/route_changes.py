"""The routes that a release passes through.

In: the route in force. Out: the next one, one version higher. When to change it is decided in ``next_action``.
"""

from dataclasses import replace
from datetime import datetime

from flywheel.ids import BASE, AdapterName, WorkloadId
from flywheel.rollout.release import Release, Route
from flywheel.traffic.inference import Arm


def first_route(*, workload: WorkloadId, alias: str, now: datetime) -> Route:
    """The base answers until something better is proven."""
    return Route(workload=workload, alias=alias, version=1, champion=BASE, changed_at=now)


def renamed(route: Route, *, alias: str, now: datetime) -> Route:
    """The same route under another alias."""
    return replace(route, alias=alias, version=route.version + 1, changed_at=now)


def timed_anew(route: Route, *, now: datetime) -> Route:
    """The same route, as of now: its time lay in the future."""
    return replace(route, version=route.version + 1, changed_at=now)


def with_shadow(route: Route, release: Release, *, now: datetime) -> Route:
    """The gateway sends a copy of each answered request to the challenger; no user sees its answer."""
    return replace(
        route,
        version=route.version + 1,
        challenger=release.adapter,
        challenger_arm=Arm.SHADOW,
        share=0.0,
        salt=release.id,
        changed_at=now,
    )


def with_canary(route: Route, release: Release, *, share: float, now: datetime) -> Route:
    """The salt is the same in all steps, so a session that was on the canary stays on it when the share grows."""
    return replace(
        route,
        version=route.version + 1,
        challenger=release.adapter,
        challenger_arm=Arm.CANARY,
        share=share,
        salt=release.id,
        changed_at=now,
    )


def with_holdout(route: Route, release: Release, *, share: float, now: datetime) -> Route:
    """The release answers; a few sessions stay on the old champion (the holdout), as a control after the promotion."""
    return replace(
        route,
        version=route.version + 1,
        champion=release.adapter,
        challenger=route.champion,
        challenger_arm=Arm.HOLDOUT,
        share=share,
        salt=release.id,
        changed_at=now,
    )


def with_champion(route: Route, champion: AdapterName, *, now: datetime) -> Route:
    """Everybody gets the champion; there is no challenger."""
    return Route(workload=route.workload, alias=route.alias, version=route.version + 1, champion=champion, changed_at=now)
