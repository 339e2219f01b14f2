"""The gateway's HTTP side: alias -> arm -> vLLM and back, the list of models, the admin routes.

In: requests in OpenAI's form. Out: vLLM's answers, unchanged, with the adapter's name in a header. ``Capture.offer`` takes each
attempt after the user has the answer; does not record.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Protocol

import orjson
from aiohttp import web
from prometheus_client import Counter, Histogram, generate_latest

from flywheel.errors import FlywheelError, InvalidInput, NotAllowed, NotFound
from flywheel.ids import BASE, AdapterName, Person, WorkloadId
from flywheel.rollout.arm_of_session import arm_for
from flywheel.rollout.release import Route
from flywheel.traffic.inference import Arm
from services.gateway.follow_routes import RouteTable
from services.gateway.mirror_shadow import Shadow
from services.gateway.read_request import RoutedRequest, UserRequest, dimensions_of, new_request_id, read_body, session_of
from services.gateway.traffic_event import Reply, UpstreamAttempt, can_be_captured
from services.gateway.upstream import ClientGone, Upstream, UpstreamAnswer

LARGEST_BODY = 32 * 1024**2
REQUESTS = Counter("flywheel_gateway_attempts_total", "Upstream attempts", ["workload", "arm", "status"])
LATENCY = Histogram("flywheel_gateway_attempt_seconds", "Upstream attempts, to the last byte", ["workload", "arm"])


class TokenCheck(Protocol):
    """Returns the person of a token."""

    def person(self, authorization: str | None, *, scope: str, workload: str | None = None) -> Person: ...


class Record(Protocol):
    """Takes attempts off the request path."""

    def offer(self, attempt: UpstreamAttempt, *, size: int) -> None: ...


class NoRoute(FlywheelError):
    """The release controller has not published a route for this workload yet."""


class Gateway:
    """The handlers; ``app`` names their paths."""

    def __init__(
        self,
        *,
        access: TokenCheck,
        aliases: Mapping[str, WorkloadId],
        table: RouteTable,
        upstream: Upstream,
        record: Record,
        read_route: Callable[[object], Route],
        ready: Callable[[], str | None],
    ) -> None:
        self._access, self._aliases, self._table, self._upstream, self._record = access, aliases, table, upstream, record
        self._read_route, self._ready = read_route, ready
        self.shadow = Shadow(table=table, ask=self._ask_shadow)

    def app(self) -> web.Application:
        app = web.Application(client_max_size=LARGEST_BODY, middlewares=[_errors_as_json])
        app.add_routes(
            [
                web.post("/v1/chat/completions", self.complete),
                web.post("/v1/completions", self.complete),
                web.get("/v1/models", self.models),
                web.put("/admin/route", self.put_route),
                web.get("/admin/routes", self.get_routes),
                web.get("/healthz", self.healthz),
                web.get("/readyz", self.readyz),
                web.get("/metrics", self.metrics),
            ]
        )
        return app

    async def complete(self, request: web.Request) -> web.StreamResponse:
        arrived_at = datetime.now(UTC)
        raw = await request.read()
        body = read_body(raw)
        workload = self._aliases.get(body["model"])
        client = self._client(request, body["model"], workload)
        asked = UserRequest(id=new_request_id(), client=client, arrived_at=arrived_at, path=request.path, body=body, size=len(raw))
        if workload is None:
            return await self._by_name(asked, request)
        route = self._table.in_force(workload)
        if route is None:
            raise NoRoute(
                "there is no route for this model yet",
                where="body.model",
                value=body["model"],
                remedy="Try again in a few seconds: the release controller publishes it once vLLM is up.",
            )
        exchange = RoutedRequest(
            request=asked,
            workload=workload,
            route=route,
            session=session_of(request.headers, body, otherwise=asked.id),
            dimensions=dimensions_of(request.headers),
            captured=request.path == "/v1/chat/completions" and can_be_captured(body),
        )
        return await self._answer(exchange, request)

    def _client(self, request: web.Request, model: str, workload: WorkloadId | None) -> Person:
        """Who asks. A model that is no alias may be asked by an operator only; raises NotAllowed, or NotFound for an unknown name."""
        authorization = request.headers.get("Authorization")
        if workload is not None:
            return self._access.person(authorization, scope="infer", workload=workload)
        try:
            return self._access.person(authorization, scope="operate")
        except NotAllowed as error:
            if _status(error) == 401 or model == BASE or model in self._table.adapters():
                raise
            raise NotFound(
                "there is no such model", where="body.model", value=model[:120], remedy="Name a model that GET /v1/models lists."
            ) from None

    async def _answer(self, exchange: RoutedRequest, user: web.Request) -> web.StreamResponse:
        """A canary, or a holdout, may fail without the user seeing it: the champion is asked, and both attempts are recorded."""
        adapter, arm = arm_for(route=exchange.route, session=exchange.session)
        answer = await self._ask(exchange, adapter=adapter, arm=arm, user=user, may_retry=arm is not Arm.CHAMPION)
        if answer.answer is None:
            adapter, arm = exchange.route.champion, Arm.CHAMPION
            answer = await self._ask(exchange, adapter=adapter, arm=arm, user=user, number=2)
        assert answer.answer is not None
        if exchange.captured and arm is Arm.CHAMPION and answer.reply.status == 200:
            self.shadow.offer(exchange)
        return answer.answer

    async def _ask(
        self, exchange: RoutedRequest, *, adapter: AdapterName, arm: Arm, user: web.Request | None, number: int = 1, may_retry: bool = False
    ) -> UpstreamAnswer:
        try:
            answer = await self._upstream.ask(exchange.request, adapter=adapter, user=user, may_retry=may_retry)
        except ClientGone as gone:
            self._note(exchange, adapter, arm, number, gone.reply)
            raise asyncio.CancelledError from gone  # aiohttp's way to end a request that nobody waits for
        self._note(exchange, adapter, arm, number, answer.reply)
        return answer

    async def _ask_shadow(self, exchange: RoutedRequest) -> None:
        challenger = exchange.route.challenger
        assert challenger is not None
        await self._ask(exchange, adapter=challenger, arm=Arm.SHADOW, user=None)

    def _note(self, exchange: RoutedRequest, adapter: AdapterName, arm: Arm, number: int, reply: Reply) -> None:
        """Counts the attempt, and hands it over to be recorded."""
        _count(exchange.workload, arm, reply)
        if not exchange.captured:
            return
        request = exchange.request
        attempt = UpstreamAttempt(
            request_id=request.id,
            number=number,
            workload=exchange.workload,
            adapter=adapter,
            arm=arm,
            session=exchange.session,
            client=request.client,
            arrived_at=request.arrived_at,
            route_version=exchange.route.version,
            dimensions=exchange.dimensions,
            body=request.body,
            reply=reply,
        )
        self._record.offer(attempt, size=2 * request.size + 2_000)  # the answer is about as long as the request

    async def _by_name(self, asked: UserRequest, user: web.Request) -> web.StreamResponse:
        """An operator asks an adapter by its name. Such a request is not recorded: it is no traffic of a workload."""
        try:
            answer = await self._upstream.ask(asked, adapter=AdapterName(str(asked.body["model"])), user=user, may_retry=False)
        except ClientGone as gone:
            _count("", Arm.CHAMPION, gone.reply)
            raise asyncio.CancelledError from gone
        _count("", Arm.CHAMPION, answer.reply)
        assert answer.answer is not None
        return answer.answer

    async def models(self, request: web.Request) -> web.Response:
        """The aliases that this token may query, without their adapters."""
        authorization = request.headers.get("Authorization")
        self._access.person(authorization, scope="infer")
        listed = [
            {"id": alias, "object": "model", "created": 0, "owned_by": "flywheel"}
            for alias, workload in self._aliases.items()
            if self._covers(authorization, workload)
        ]
        return _json({"object": "list", "data": listed})

    async def put_route(self, request: web.Request) -> web.Response:
        """Takes a route that the release controller pushes; it is in force before the answer is sent."""
        self._access.person(request.headers.get("Authorization"), scope="internal")
        try:
            value = orjson.loads(await request.read())
        except orjson.JSONDecodeError as error:
            raise InvalidInput(f"is not JSON: {error}", where="body", remedy="Send a route as GET /v1/routes shows it.") from None
        return _json({"applied": self._table.apply(self._read_route(value))})

    async def get_routes(self, request: web.Request) -> web.Response:
        self._access.person(request.headers.get("Authorization"), scope="internal")
        return _json(dict(self._table.versions()))

    async def healthz(self, request: web.Request) -> web.Response:  # noqa: ARG002 (aiohttp hands it over)
        return _json({"process": "gateway", "alive": True})

    async def readyz(self, request: web.Request) -> web.Response:  # noqa: ARG002
        reason = self._ready()
        return _json({"process": "gateway", "ready": reason is None, "reason": reason or ""}, status=200 if reason is None else 503)

    async def metrics(self, request: web.Request) -> web.Response:  # noqa: ARG002
        return web.Response(body=generate_latest(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})

    def _covers(self, authorization: str | None, workload: WorkloadId) -> bool:
        try:
            self._access.person(authorization, scope="infer", workload=workload)
        except NotAllowed:
            return False
        return True


def _count(workload: str, arm: Arm, reply: Reply) -> None:
    """``workload`` is empty for an adapter that was asked by its name."""
    REQUESTS.labels(workload, arm.value, str(reply.status)).inc()
    LATENCY.labels(workload, arm.value).observe(reply.latency_ms / 1000)


@web.middleware
async def _errors_as_json(request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> web.StreamResponse:
    """OpenAI's form of an error, with where, value, reason and remedy beside it."""
    try:
        return await handler(request)
    except FlywheelError as error:
        status = _status(error)
        kind = "invalid_request_error" if status < 500 else "server_error"
        told = {"message": str(error), "type": kind, "param": error.where or None, "code": status}
        ours = {"where": error.where, "value": error.value, "reason": error.reason, "remedy": error.remedy}
        return _json({"error": told | ours}, status=status, headers={"Retry-After": "1"} if status == 503 else {})
    except web.HTTPException as error:
        if error.status < 400:
            raise
        reason = f"{request.method} {request.path}: {error.reason}"
        told = {"message": reason, "type": "invalid_request_error", "param": None, "code": error.status}
        ours = {
            "where": request.path,
            "value": None,
            "reason": error.reason,
            "remedy": "See GET /v1/models and the manual for what is served.",
        }
        return _json({"error": told | ours}, status=error.status)


def _status(error: FlywheelError) -> int:
    match error:
        case NotAllowed():
            return int(getattr(error, "status", 403))
        case NotFound():
            return 404
        case InvalidInput():
            return 400
        case _:
            return 503


def _json(value: object, *, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    body = orjson.dumps(value, default=str)
    return web.Response(body=body, status=status, headers=headers, content_type="application/json")
