"""Answers chat requests, and lists the models: alias -> arm -> model server and back.

In: requests in OpenAI's form. Out: the model server's answers under the alias, with the adapter's name in a header. ``Record`` takes each
attempt before the last bytes of its answer leave; does not record.
"""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Protocol

import orjson
from aiohttp import web
from prometheus_client import Counter, Histogram

from flywheel.ids import BASE, AdapterName
from flywheel.rollout.arm_of_session import arm_for
from flywheel.traffic.inference import Arm
from flywheel.traffic.request_policy import CHAT, as_served
from services.gateway.access import ModelAccess, unknown_model
from services.gateway.capture_rule import CaptureRule, Fsync
from services.gateway.error_responses import model_not_ready
from services.gateway.follow_routes import RouteTable
from services.gateway.mirror_shadow import Shadow
from services.gateway.read_request import (
    BYTES_OF_A_TOKEN,
    RoutedRequest,
    ServedWorkload,
    UserRequest,
    body_of,
    check_messages,
    dimensions_of,
    new_request_id,
    own_id_of,
    read_body,
    session_of,
)
from services.gateway.traffic_event import Reply, UpstreamAttempt
from services.gateway.upstream import ClientGone, HoldBack, Upstream, UpstreamAnswer, UpstreamCall, is_failure

REQUESTS = Counter("flywheel_gateway_attempts_total", "Upstream attempts", ["workload", "arm", "status"])
LATENCY = Histogram("flywheel_gateway_attempt_seconds", "Upstream attempts, to the last byte", ["workload", "arm"])
CHATS = Counter("flywheel_gateway_chat_requests_total", "Chat requests for an alias", ["workload", "kind"])


class Record(Protocol):
    """Takes attempts off the request path: ``keep`` returns when the workload's rule lets the answer leave, ``offer`` at once."""

    async def keep(self, attempt: UpstreamAttempt, *, size: int, rule: CaptureRule) -> None: ...

    def offer(self, attempt: UpstreamAttempt, *, size: int, fsync: Fsync) -> None: ...


class Gateway:
    """The handlers of what is recorded."""

    def __init__(self, *, access: ModelAccess, table: RouteTable, upstream: Upstream, record: Record) -> None:
        self._access, self._table, self._upstream, self._record = access, table, upstream, record
        self.shadow = Shadow(table=table, ask=self._ask_shadow)
        self._requests: dict[str, dict[str, int]] = {}

    def requests(self) -> Mapping[str, Mapping[str, int]]:
        """Chat requests since the start, by workload: ``with_session`` and ``without_session``."""
        return self._requests

    async def complete(self, request: web.Request) -> web.StreamResponse:
        """POST /v1/chat/completions."""
        arrived_at = datetime.now(UTC)
        self._access.admits(request)
        raw = await body_of(request)
        model, body = read_body(raw)
        client, served = self._access.asks(request, model)
        asked = UserRequest(
            id=new_request_id(),
            client=client,
            arrived_at=arrived_at,
            model=model,
            body=body,
            size=len(raw),
            own_id=own_id_of(request.headers),
        )
        with self._access.held(client, served):
            return await (self._by_name(asked, request) if served is None else self._for_workload(asked, served, request))

    async def _for_workload(self, asked: UserRequest, served: ServedWorkload, request: web.Request) -> web.StreamResponse:
        body = asked.body
        check_messages(body)
        session = session_of(request.headers, body, sources=served.session_from)
        self._count_session(served.workload, "with_session" if session is not None else "without_session")
        as_asked, added = as_served(body, route=CHAT, policy=served.requests)
        routed = RoutedRequest(
            request=asked,
            served=served,
            route=self._table.serving(served.workload, alias=served.alias),
            session=session or asked.id,
            dimensions=dimensions_of(request.headers),
            body=as_asked,
            added=added,
        )
        return await self._answer(routed, request)

    def _count_session(self, workload: str, kind: str) -> None:
        CHATS.labels(workload, kind).inc()
        counts = self._requests.setdefault(workload, {"with_session": 0, "without_session": 0})
        counts[kind] += 1

    async def _answer(self, routed: RoutedRequest, user: web.Request) -> web.StreamResponse:
        """A canary, or a holdout, may fail without the user seeing it: the champion is asked, and both attempts are recorded."""
        champion, served = routed.route.champion, routed.served
        adapter, arm = arm_for(route=routed.route, session=routed.session)
        tries: list[tuple[AdapterName, Arm, HoldBack]] = [(adapter, arm, HoldBack.FAILURES)] if arm is not Arm.CHAMPION else []
        tries += [(champion, Arm.CHAMPION, HoldBack.MISSING)]
        if served.base_without_champion and champion != BASE:
            tries += [(BASE, Arm.CHAMPION, HoldBack.MISSING)]
        for number, (adapter, arm, hold_back) in enumerate(tries, start=1):
            answer = await self._ask(routed, adapter=adapter, arm=arm, user=user, number=number, hold_back=hold_back)
            if answer.answer is not None:
                if adapter == champion and answer.reply.status == 200:
                    self.shadow.offer(routed)
                return answer.answer
        return model_not_ready(served.alias, headers={"X-Flywheel-Request": routed.request.id})

    async def _ask(
        self,
        routed: RoutedRequest,
        *,
        adapter: AdapterName,
        arm: Arm,
        user: web.Request | None,
        number: int = 1,
        hold_back: HoldBack = HoldBack.NOTHING,
    ) -> UpstreamAnswer:
        call = _chat(routed.request, adapter=adapter, body=routed.body)
        rule, size = routed.served.capture, 2 * routed.request.size + 2_000  # the answer is about as long as the request
        noted = False

        async def keep(reply: Reply) -> None:
            nonlocal noted
            if not noted:
                noted = True
                await self._record.keep(self._noted(routed, adapter, arm, number, reply), size=size, rule=rule)

        try:
            answer = await self._upstream.ask(call, user=user, hold_back=hold_back, keep=keep)
        except ClientGone as gone:
            if not noted:
                self._record.offer(self._noted(routed, adapter, arm, number, gone.reply), size=size, fsync=rule.fsync)
            raise asyncio.CancelledError from gone  # aiohttp's way to end a request that nobody waits for
        await keep(answer.reply)
        return answer

    async def _ask_shadow(self, routed: RoutedRequest) -> None:
        challenger = routed.route.challenger
        assert challenger is not None
        await self._ask(routed, adapter=challenger, arm=Arm.SHADOW, user=None)

    def _noted(self, routed: RoutedRequest, adapter: AdapterName, arm: Arm, number: int, reply: Reply) -> UpstreamAttempt:
        """Counts the attempt; returns what is recorded of it."""
        _count(routed.workload, arm, reply)
        request = routed.request
        if arm is not Arm.SHADOW:
            self._access.spent(_tokens_of(request, reply), client=request.client, workload=routed.workload)
        return UpstreamAttempt(
            request_id=request.id,
            number=number,
            workload=routed.workload,
            adapter=adapter,
            arm=arm,
            session=routed.session,
            client=request.client,
            arrived_at=request.arrived_at,
            route_version=routed.route.version,
            dimensions=routed.dimensions,
            body=routed.body,
            added=routed.added,
            reply=reply,
            client_request_id=request.own_id,
        )

    async def _by_name(self, asked: UserRequest, user: web.Request) -> web.StreamResponse:
        """An operator asks an adapter by its name. Such a request is not recorded: it is no traffic of a workload."""
        try:
            answer = await self._upstream.ask(_chat(asked, adapter=AdapterName(asked.model), body=asked.body), user=user)
        except ClientGone as gone:
            _count("", Arm.CHAMPION, gone.reply)
            raise asyncio.CancelledError from gone
        _count("", Arm.CHAMPION, answer.reply)
        self._access.spent(_tokens_of(asked, answer.reply), client=asked.client, workload=None)
        return answer.given()

    async def list_models(self, request: web.Request) -> web.Response:
        """GET /v1/models: the aliases that this token may query, without their adapters."""
        listed = [_model(served) for served in self._access.visible(request)]
        return web.Response(body=orjson.dumps({"object": "list", "data": listed}), content_type="application/json")

    async def retrieve_model(self, request: web.Request) -> web.Response:
        """GET /v1/models/{model}. An alias that the token does not cover is as unknown as one that there is not."""
        name = request.match_info["model"]
        for served in self._access.visible(request):
            if served.alias == name:
                return web.Response(body=orjson.dumps(_model(served)), content_type="application/json")
        raise unknown_model(name)


def _chat(request: UserRequest, *, adapter: AdapterName, body: Mapping[str, Any]) -> UpstreamCall:
    return UpstreamCall(id=request.id, adapter=adapter, shown_as=request.model, path=f"/v1/{CHAT}", body=body, is_chat=True)


def _tokens_of(request: UserRequest, reply: Reply) -> int:
    """As the model server counts them; where it does not, as many as the request may have had. A failed attempt costs nothing."""
    if is_failure(reply.status):
        return 0
    usage = reply.response.get("usage") if reply.response is not None else None
    total = usage.get("total_tokens") if isinstance(usage, Mapping) else None
    return total if isinstance(total, int) and total > 0 else request.size // BYTES_OF_A_TOKEN


def _model(served: ServedWorkload) -> dict[str, object]:
    return {"id": served.alias, "object": "model", "created": 0, "owned_by": "flywheel"}


def _count(workload: str, arm: Arm, reply: Reply) -> None:
    """``workload`` is empty for an adapter that was asked by its name."""
    REQUESTS.labels(workload, arm.value, str(reply.status)).inc()
    LATENCY.labels(workload, arm.value).observe(reply.latency_ms / 1000)
