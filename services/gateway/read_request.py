"""Reads a user's request: its body, session and dimensions, and the route in force for it.

In: headers and body. Out: a UserRequest, and a RoutedRequest once its workload and route are known. Does not query a model.
"""

import asyncio
import uuid
import zlib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from aiohttp import web

from flywheel.errors import InvalidInput, shortened
from flywheel.ids import Person, RequestId, WorkloadId, printable
from flywheel.rollout.release import Route
from flywheel.traffic.message import FIX, role_of
from flywheel.traffic.request_policy import RequestPolicy
from services.gateway.capture_rule import CaptureRule
from services.gateway.unreadable_json import rounded_number, unreadable_json

SESSION_HEADER = "X-Flywheel-Session"
OWN_ID_HEADERS = ("X-Request-ID", "X-Client-Request-Id")
DIMENSION_PREFIX = "x-flywheel-dim-"
MOST_DIMENSIONS = 20
BYTES_OF_A_TOKEN = 4  # where the model server does not count
LARGEST_BODY = 32 * 1024**2
BODY_SECONDS = web.AppKey("body_seconds", float)
MOST_LEVELS = 100
"""Of JSON. What is nested more deeply can be read but not written again: no model server takes it."""
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
MODEL_REMEDY = "Name a model that GET /v1/models lists."


@dataclass(frozen=True, kw_only=True)
class ServedWorkload:
    """How the requests for one alias are treated. ``session_from``: where the session is looked for, in this order."""

    workload: WorkloadId
    alias: str
    requests: RequestPolicy
    session_from: Sequence[str]
    base_without_champion: bool  # the base answers while the champion is not loaded; else 503
    capture: CaptureRule


@dataclass(frozen=True, kw_only=True)
class UserRequest:
    """One HTTP request, as it arrived."""

    id: RequestId
    client: Person  # the token's name
    arrived_at: datetime
    model: str  # an alias or an adapter's name
    body: Mapping[str, Any]  # as the client sent it, without ``model``
    size: int  # bytes of the body
    own_id: str = ""  # the id that the client gave it


@dataclass(frozen=True, kw_only=True)
class RoutedRequest:
    """A chat request for a workload, over the route that was in force when it arrived."""

    request: UserRequest
    served: ServedWorkload
    route: Route
    session: str
    dimensions: Mapping[str, str]
    body: Mapping[str, Any]  # as the model gets it, without ``model``
    added: tuple[str, ...]  # paths of what the gateway put in

    @property
    def workload(self) -> WorkloadId:
        return self.served.workload


async def body_of(request: web.Request) -> bytes:
    """The body, unpacked. What is packed may grow a thousandfold: it is unpacked to a bound, beside the event loop.

    Raises InvalidInput, and aiohttp's own errors for a body that is too large or packed in a way that we do not know.
    """
    raw, packed = await whole_body(request), request.headers.get("Content-Encoding", "").strip().lower()
    if not raw or packed in ("", "identity"):
        return raw
    if packed not in ("gzip", "x-gzip", "deflate"):
        raise web.HTTPUnsupportedMediaType(reason=f"Content-Encoding {packed[:40]!r} is not known: send gzip, deflate or neither")
    return await asyncio.to_thread(_unpacked, raw)


def _unpacked(raw: bytes) -> bytes:
    without_header = raw[:2] != b"\x1f\x8b" and raw[0] & 0x0F != 8  # deflate as some clients write it
    unpacking = zlib.decompressobj(-zlib.MAX_WBITS if without_header else zlib.MAX_WBITS | 32)
    try:
        content = unpacking.decompress(raw, LARGEST_BODY + 1)
    except zlib.error:
        raise InvalidInput("is not packed as its Content-Encoding says", where="body", remedy="Send it unpacked, or as gzip.") from None
    if len(content) > LARGEST_BODY:
        raise web.HTTPRequestEntityTooLarge(max_size=LARGEST_BODY, actual_size=len(content))
    if not unpacking.eof:
        raise InvalidInput("ends before what is packed in it ends", where="body", remedy="Send all of it.")
    return content


def new_request_id() -> RequestId:
    return RequestId(uuid.uuid4().hex)


async def whole_body(request: web.Request) -> bytes:
    """Raises HTTPRequestTimeout when the body has not arrived within ``http.body_seconds``."""
    async with in_time(request):
        return await request.read()


@asynccontextmanager
async def in_time(request: web.Request) -> AsyncIterator[None]:
    """For whatever reads the body."""
    seconds = request.app[BODY_SECONDS]
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise web.HTTPRequestTimeout(reason=f"the body did not arrive within {seconds:g} seconds") from None


def read_body(raw: bytes) -> tuple[str, dict[str, Any]]:
    """The model's name, and the JSON object without it. Raises InvalidInput; the model server checks everything else."""
    try:
        body = orjson.loads(raw.removeprefix(BYTE_ORDER_MARK))
    except orjson.JSONDecodeError as error:
        raise unreadable_json(raw, error) from None
    if not isinstance(body, dict):
        raise InvalidInput("must be a JSON object", where="body", value=type(body).__name__, remedy="Send an object with a model.")
    if (rounded := rounded_number(raw)) is not None:
        raise rounded
    # Counted first, which is fast: most requests have fewer brackets than levels would need.
    if raw.count(b"{") + raw.count(b"[") > MOST_LEVELS and (deep := _too_deep(body)) is not None:
        raise InvalidInput(
            f"is nested over {MOST_LEVELS} levels deep",
            where=f"body.{deep}",
            value=shortened(body[deep]),
            remedy="Send it flatter, or as a text.",
        )
    return checked_model(body.pop("model", None)), body


def check_messages(body: Mapping[str, Any]) -> None:
    """Raises InvalidInput, with the path, for messages that could not be recorded: then no model is asked."""
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise InvalidInput("must be a list of messages", where="body.messages", value=shortened(messages), remedy=FIX)
    for at, one in enumerate(messages):
        role_of(one, where=f"body.messages[{at}]")


def checked_model(model: object) -> str:
    if not isinstance(model, str) or not model:
        raise InvalidInput("must be a string", where="body.model", value=shortened(model), remedy=MODEL_REMEDY)
    return model


def session_of(headers: Mapping[str, str], body: Mapping[str, Any], *, sources: Sequence[str]) -> str | None:
    """The first of ``sources`` that holds one: ``header``, or the path of a field of the body. None: the request belongs to no session."""
    for source in sources:
        held = _text(headers.get(SESSION_HEADER, "")) if source == "header" else _at(body, source)
        if isinstance(held, str) and (session := printable(held.strip())):
            return session
    return None


def own_id_of(headers: Mapping[str, str]) -> str:
    """The client's own id of its request; empty if it gave none."""
    return next((_text(headers[name]).strip()[:200] for name in OWN_ID_HEADERS if headers.get(name)), "")


def dimensions_of(headers: Mapping[str, str]) -> dict[str, str]:
    """``X-Flywheel-Dim-Tenant: acme`` is {"tenant": "acme"}. Names are lower case, because header names have no case."""
    found = {
        name.lower().removeprefix(DIMENSION_PREFIX)[:100]: _text(value).strip()[:200]
        for name, value in headers.items()
        if name.lower().startswith(DIMENSION_PREFIX) and len(name) > len(DIMENSION_PREFIX) and value.strip()
    }
    return dict(sorted(found.items())[:MOST_DIMENSIONS])


def _at(body: Mapping[str, Any], path: str) -> object:
    value: object = body
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _too_deep(body: dict[str, Any]) -> str | None:
    """The field that is nested too deeply, if there is one. Level by level: recursion would end at Python's own limit."""
    for name, value in body.items():
        level = [value]
        for _ in range(MOST_LEVELS - 1):
            level = [inner for one in level if isinstance(one, dict | list) for inner in (one.values() if isinstance(one, dict) else one)]
            if not level:
                break
        else:
            return name
    return None


def _text(header: str) -> str:
    """Bytes that are not UTF-8 arrive as lone surrogates, which can be neither hashed nor recorded."""
    return printable(header.encode("utf-8", "surrogateescape").decode("utf-8", "replace"))
