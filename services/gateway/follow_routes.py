"""Follows routes: of each workload, the highest version from any source is in force.

In: routes from disk, topic, api and admin port, in any order and repeatedly. Out: the route to serve by. One source is enough.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from typing import Protocol

import aiohttp
import structlog
from prometheus_client import Gauge

from flywheel.errors import FlywheelError, InvalidInput, NotFound
from flywheel.ids import WorkloadId
from flywheel.rollout.release import Route

log = structlog.get_logger()
POLL_SECONDS = 1.0  # while a workload has no route
SLOW_POLL_SECONDS = 5.0  # afterwards: changes are pushed, and stand on the topic
TOPIC_RETRY_SECONDS = 5.0
VERSION = Gauge("flywheel_gateway_route_version", "Version of the route in force", ["workload"])


class RouteDisk(Protocol):
    """The gateway's own copy of its routes."""

    def save(self, route: Route) -> None: ...

    def load(self) -> tuple[Sequence[Route], Sequence[str]]: ...


class RouteApi(Protocol):
    """All routes, on request."""

    async def read(self, session: aiohttp.ClientSession) -> Sequence[Route]: ...


class RouteTopic(Protocol):
    """Routes as they change."""

    def follow(self) -> AsyncIterator[Route | InvalidInput]: ...


class NoRoute(FlywheelError):
    """The release controller has not published a route for this workload yet."""


class RouteTable:
    """The routes in force. Only the event loop changes it; other threads may read."""

    def __init__(self, *, workloads: Collection[WorkloadId], disk: RouteDisk) -> None:
        self._workloads, self._disk = frozenset(workloads), disk
        self._routes: dict[WorkloadId, Route] = {}

    def restore(self) -> None:
        """Reads the routes from disk, at start."""
        routes, unreadable = self._disk.load()
        for sentence in unreadable:
            log.warning("A route file cannot be read.", action="route_file_unreadable", file=sentence)
        for route in routes:
            if route.workload in self._workloads:  # a workload may have left flywheel.yaml
                self._put_in_force(route)

    def in_force(self, workload: WorkloadId) -> Route | None:
        return self._routes.get(workload)

    def serving(self, workload: WorkloadId, *, alias: str) -> Route:
        """The route in force. Raises NoRoute."""
        route = self._routes.get(workload)
        if route is None:
            raise NoRoute(
                "there is no route for this model yet",
                where="body.model",
                value=alias,
                remedy="Try again in a few seconds: the release controller publishes it once vLLM is up.",
            )
        return route

    def versions(self) -> Mapping[str, int]:
        return {workload: route.version for workload, route in self._routes.items()}

    def without_route(self) -> Sequence[WorkloadId]:
        return sorted(self._workloads - self._routes.keys())

    def workloads_of(self, adapter: str) -> frozenset[WorkloadId]:
        """The workloads whose route names the adapter as champion or challenger."""
        return frozenset(route.workload for route in self._routes.values() if adapter in (route.champion, route.challenger))

    def apply(self, route: Route, *, even_lower: bool = False) -> int:
        """The version in force afterwards. Raises NotFound for a workload that is not served here. ``even_lower``: the ledger says so."""
        if route.workload not in self._workloads:
            raise NotFound(
                "there is no such workload here", where="workload", value=route.workload, remedy="Add it to flywheel.yaml and restart."
            )
        before = self._routes.get(route.workload)
        if before is not None and before.version >= route.version and not even_lower:
            return before.version
        self._put_in_force(route)
        try:
            self._disk.save(route)
        except OSError as error:  # the route is in force; only a restart without api and broker would miss it
            log.warning("The route could not be kept on disk.", action="route_not_kept", workload=route.workload, error=str(error))
        log.info(
            "A route came into force.",
            action="route_changed",
            workload=route.workload,
            version=route.version,
            champion=route.champion,
            challenger=route.challenger,
            arm=route.challenger_arm,
            share=route.share,
        )
        return route.version

    def _put_in_force(self, route: Route) -> None:
        self._routes[route.workload] = route
        VERSION.labels(route.workload).set(route.version)


async def poll_api(*, table: RouteTable, api: RouteApi, session: aiohttp.ClientSession) -> None:
    """Runs until cancelled. With the api down the last routes stay.

    The api reads the ledger, which has the last word. A higher version that is not in it (somebody else wrote it on the topic, or the
    ledger was restored from a backup) is replaced at the second poll that finds it.
    """
    silent, lower_before = False, frozenset[Route]()
    while True:
        try:
            said = await api.read(session)
            lower = frozenset(route for route in said if table.versions().get(route.workload, 0) > route.version)
            for route in said:
                _apply_if_served(table, route, even_lower=route in lower & lower_before)
            silent, lower_before = False, lower
        except FlywheelError as error:
            if not silent:  # once per outage, not once per second
                log.warning("The api gives no routes; the last ones stay.", action="route_poll_failed", error=str(error))
            silent = True
        await asyncio.sleep(POLL_SECONDS if table.without_route() else SLOW_POLL_SECONDS)


async def follow_topic(*, table: RouteTable, open_topic: Callable[[], RouteTopic]) -> None:
    """Runs until cancelled. With the broker down the last routes stay. ``open_topic`` imports a library: it has a thread of its own."""
    silent, topic = False, await asyncio.to_thread(open_topic)
    while True:
        try:
            async for found in topic.follow():
                silent = False
                if isinstance(found, Route):
                    _apply_if_served(table, found)
                else:
                    log.warning("A release event cannot be read.", action="route_event_unreadable", error=str(found))
        except FlywheelError as error:
            if not silent:
                log.warning("The releases topic cannot be read; the api is still asked.", action="route_topic_failed", error=str(error))
            silent = True
        await asyncio.sleep(TOPIC_RETRY_SECONDS)


def _apply_if_served(table: RouteTable, route: Route, *, even_lower: bool = False) -> None:
    try:
        table.apply(route, even_lower=even_lower)
    except NotFound:
        pass  # topic and api hold routes of every workload; this gateway serves those of its own flywheel.yaml
    except (TypeError, ValueError, ArithmeticError) as error:  # a value that cannot be written: one route must not end the gateway
        log.error("A route cannot be applied; the last one stays.", action="route_not_applied", error=type(error).__name__)
