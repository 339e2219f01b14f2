"""Mirrors requests to the challenger after the user has the champion's answer. No user sees a shadow answer.

In: requests that the champion answered. Out: attempts of the arm ``shadow``, recorded apart. A few at a time, at a bounded
rate, from a bounded queue: when the server is busy, shadows are dropped and users are not slowed.
"""

import asyncio
from collections.abc import Awaitable, Callable

from prometheus_client import Counter

from flywheel.rollout.release import Route
from flywheel.traffic.inference import Arm
from services.gateway.follow_routes import RouteTable
from services.gateway.read_request import RoutedRequest

MOST_WAITING = 64
AT_ONCE = 4  # a server answers several together almost as fast as one
SECONDS_BETWEEN = 0.05  # of each of them
SHADOWS = Counter("flywheel_gateway_shadows_total", "Requests mirrored to a challenger", ["outcome"])


class Shadow:
    """The queue of requests to mirror, and its workers, in the gateway's event loop."""

    def __init__(self, *, table: RouteTable, ask: Callable[[RoutedRequest], Awaitable[None]]) -> None:
        self._table, self._ask = table, ask
        self._waiting: asyncio.Queue[RoutedRequest] = asyncio.Queue(MOST_WAITING)

    def offer(self, routed: RoutedRequest) -> None:
        """Never waits."""
        if not wants_shadow(routed.route):
            return
        try:
            self._waiting.put_nowait(routed)
        except asyncio.QueueFull:
            SHADOWS.labels("dropped").inc()

    async def run(self) -> None:
        """Runs until cancelled."""
        await asyncio.gather(*(self._mirror() for _ in range(AT_ONCE)))

    async def _mirror(self) -> None:
        while True:
            routed = await self._waiting.get()
            if self._table.in_force(routed.workload) is not routed.route:
                SHADOWS.labels("outdated").inc()  # the challenger may be unloaded by now
                continue
            await self._ask(routed)
            SHADOWS.labels("asked").inc()
            await asyncio.sleep(SECONDS_BETWEEN)


def wants_shadow(route: Route) -> bool:
    return route.challenger is not None and route.challenger_arm is Arm.SHADOW
