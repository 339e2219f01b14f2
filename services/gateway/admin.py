"""The gateway's own routes, for the daemon's processes and for whoever watches it: routes in force, health, metrics."""

from collections.abc import Callable, Mapping

import orjson
from aiohttp import web
from prometheus_client import generate_latest

from flywheel.errors import InvalidInput
from flywheel.rollout.release import Route
from services.gateway.access import TokenCheck
from services.gateway.follow_routes import RouteTable
from services.gateway.read_request import whole_body


class Admin:
    """The handlers; ``routes`` names their paths."""

    def __init__(
        self,
        *,
        access: TokenCheck,
        table: RouteTable,
        read_route: Callable[[object], Route],
        requests: Callable[[], Mapping[str, Mapping[str, int]]],
        ready: Callable[[], str | None],
        more: Callable[[], Mapping[str, object]],
    ) -> None:
        """``more``: what /readyz says beside readiness: what keeps no user from being served, so that ``ready`` does not ask it."""
        self._access, self._table, self._read_route, self._requests = access, table, read_route, requests
        self._ready, self._more = ready, more

    def routes(self) -> list[web.RouteDef]:
        return [
            web.put("/admin/route", self.put_route),
            web.get("/admin/routes", self.get_routes),
            web.get("/admin/requests", self.get_requests),
            web.get("/healthz", self.healthz),
            web.get("/readyz", self.readyz),
            web.get("/metrics", self.metrics),
        ]

    async def put_route(self, request: web.Request) -> web.Response:
        """Takes a route that the release controller pushes; it is in force before the answer is sent."""
        self._access.person(request.headers.get("Authorization"), scope="internal")
        try:
            value = orjson.loads(await whole_body(request))
        except orjson.JSONDecodeError as error:
            raise InvalidInput(f"is not JSON: {error}", where="body", remedy="Send a route as GET /v1/routes shows it.") from None
        return _json({"applied": self._table.apply(self._read_route(value))})

    async def get_routes(self, request: web.Request) -> web.Response:
        self._access.person(request.headers.get("Authorization"), scope="internal")
        return _json(dict(self._table.versions()))

    async def get_requests(self, request: web.Request) -> web.Response:
        """Chat requests since the start, by workload, with a session and without one."""
        self._access.person(request.headers.get("Authorization"), scope="internal")
        return _json(self._requests())

    async def healthz(self, request: web.Request) -> web.Response:  # noqa: ARG002 (aiohttp hands it over)
        return _json({"process": "gateway", "alive": True})

    async def readyz(self, request: web.Request) -> web.Response:  # noqa: ARG002
        reason = self._ready()
        told = {"process": "gateway", "ready": reason is None, "reason": reason or "", **self._more()}
        return _json(told, status=200 if reason is None else 503)

    async def metrics(self, request: web.Request) -> web.Response:  # noqa: ARG002
        return web.Response(body=generate_latest(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})


def _json(value: object, *, status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(value), status=status, content_type="application/json")
