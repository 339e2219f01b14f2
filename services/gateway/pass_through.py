"""Passes on whatever else the model server serves under /v1: embeddings, responses, completions, rerank, audio, ...

In: requests on the routes that the settings name, for an alias or with an operator's token for an adapter. Out: the model server's answers,
counted by route and not recorded. Every other route of the model server, its administration above all, cannot be reached through here.
"""

import asyncio
import re
from collections.abc import Collection
from dataclasses import replace
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from prometheus_client import Counter

from flywheel.errors import InvalidInput
from flywheel.ids import BASE, AdapterName
from flywheel.traffic.request_policy import as_served
from services.gateway.access import ModelAccess
from services.gateway.error_responses import model_not_ready
from services.gateway.follow_routes import RouteTable
from services.gateway.read_request import BYTES_OF_A_TOKEN, ServedWorkload, body_of, checked_model, in_time, new_request_id, read_body
from services.gateway.upstream import ClientGone, Form, FormField, HoldBack, Upstream, UpstreamAnswer, UpstreamCall

PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]*")
"""A part of a path: no empty one, none that begins with a dot, nothing that another server could read as a slash."""
FIELD = re.compile(r"[A-Za-z0-9_.\[\]-]{1,200}")
AT_THE_ROOT = frozenset({"classify", "detokenize", "pooling", "tokenize"})
"""Routes that vLLM serves without /v1."""
PASSED = Counter("flywheel_gateway_passed_through_total", "Requests passed on and not recorded", ["workload", "route", "status"])


class PassThrough:
    """``routes``: the first parts of the paths under /v1 that are passed on."""

    def __init__(self, *, access: ModelAccess, table: RouteTable, upstream: Upstream, routes: Collection[str]) -> None:
        self._access, self._table, self._upstream, self._routes = access, table, upstream, frozenset(routes)

    async def pass_on(self, request: web.Request) -> web.StreamResponse:
        self._access.admits(request)
        route = request.match_info["route"]
        first, *more = route.split("/")
        if first not in self._routes or not all(PART.fullmatch(part) for part in more):
            raise web.HTTPNotFound
        model, body = await _content(request, names_an_object=bool(more))
        query = f"?{request.rel_url.raw_query_string}" if request.rel_url.raw_query_string else ""
        call = UpstreamCall(
            id=new_request_id(),
            adapter=None,
            shown_as=model or "",
            path=("/" if route in AT_THE_ROOT else "/v1/") + route + query,
            body=body,
            method=request.method,
        )
        client, served = (self._access.asks_without_model(request), None) if model is None else self._access.asks(request, model)
        with self._access.held(client, served):
            workload = served.workload if served is not None else None
            self._access.spent((request.content_length or 0) // BYTES_OF_A_TOKEN, client=client, workload=workload)
            if served is not None:
                return await self._for_workload(call, request, served, first=first, route=route)
            named = replace(call, adapter=AdapterName(model)) if model is not None else call
            return (await self._ask(named, request, workload="", first=first)).given()

    async def _for_workload(
        self, call: UpstreamCall, request: web.Request, served: ServedWorkload, *, first: str, route: str
    ) -> web.StreamResponse:
        """Always the champion: of what is not recorded, a canary's guards would see no harm."""
        champion = self._table.serving(served.workload, alias=served.alias).champion
        if isinstance(call.body, dict):
            call = replace(call, body=as_served(call.body, route=route, policy=served.requests)[0])
        for model in (champion, BASE) if served.base_without_champion and champion != BASE else (champion,):
            asked = replace(call, adapter=model)
            answer = await self._ask(asked, request, workload=served.workload, first=first, hold_back=HoldBack.MISSING)
            if answer.answer is not None:
                return answer.answer
        return model_not_ready(served.alias, headers={"X-Flywheel-Request": call.id})

    async def _ask(
        self, call: UpstreamCall, request: web.Request, *, workload: str, first: str, hold_back: HoldBack = HoldBack.NOTHING
    ) -> UpstreamAnswer:
        try:
            answer = await self._upstream.ask(call, user=request, hold_back=hold_back)
        except ClientGone as gone:
            PASSED.labels(workload, first, str(gone.reply.status)).inc()
            raise asyncio.CancelledError from gone  # aiohttp's way to end a request that nobody waits for
        PASSED.labels(workload, first, str(answer.reply.status)).inc()
        return answer


async def _content(request: web.Request, *, names_an_object: bool) -> tuple[str | None, dict[str, Any] | Form | None]:
    """The model's name and the body without it; None and None for a request without a body, e.g. GET /v1/responses/{id}."""
    if request.method != "POST":
        return None, None
    if request.content_type == "multipart/form-data":
        return await _form(request)
    raw = await body_of(request)
    if not raw and names_an_object:
        return None, None
    return read_body(raw)


async def _form(request: web.Request) -> tuple[str, Form]:
    """Read and written anew, so that the model server reads the same ``model`` as this gateway did."""
    if request.headers.get("Content-Encoding", "identity").strip().lower() != "identity":
        raise web.HTTPUnsupportedMediaType(reason="a packed form is not read: send it unpacked")
    try:
        async with in_time(request):
            fields = await request.post()
    except (ValueError, LookupError, AssertionError, HttpProcessingError) as error:  # what aiohttp raises for a form that it cannot read
        raise InvalidInput(f"is not a form: {error}", where="body", remedy="Send multipart/form-data.") from None
    named = fields.getall("model", [])
    model = checked_model(named[0] if len(named) == 1 else None)
    return model, Form(fields=[_field(name, value) for name, value in fields.items() if name != "model"])


def _field(name: str, value: str | bytes | bytearray | web.FileField) -> FormField:
    """Names are written into headers: nothing in them may begin a header of its own."""
    if not FIELD.fullmatch(name):
        raise InvalidInput("is not the name of a field", where="body", value=name[:80], remedy="Use letters, digits, dots and brackets.")
    if not isinstance(value, web.FileField):
        return FormField(name=name, content=value)
    return FormField(
        name=name,
        content=value.file.read(),
        filename="".join(one if one.isprintable() and one not in '"\\' else "_" for one in value.filename),
        content_type=value.content_type,
    )
