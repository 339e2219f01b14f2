"""One request to vLLM, passed on to the user as the answer comes.

In: the request and the adapter to ask. Out: the answer to the user, and the Reply to record. Which adapter is asked,
and whether another one is asked after a failure, is not decided here.

aiohttp stands in this process and not behind a port: the bytes of a stream go from one socket to the other, and an
abstraction between them would cost more than the whole gateway adds.
"""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson
from aiohttp import web

from flywheel.ids import AdapterName
from flywheel.traffic.attempt_outcome import CLIENT_CLOSED_REQUEST
from services.gateway.assemble_stream import Assembly
from services.gateway.read_request import UserRequest
from services.gateway.traffic_event import Reply

CONNECT_SECONDS, SILENCE_SECONDS = 5.0, 600.0
KEEP_ALIVE_SECONDS = 3.0
"""Below vLLM's own 5 s: a connection that vLLM is just closing would cost a user's request."""
PASSED_ON = ("accept", "user-agent", "traceparent", "tracestate", "x-request-id")
NOT_PASSED_BACK = frozenset(
    {"connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer", "transfer-encoding", "upgrade"}
    | {"content-length", "content-type", "date", "server"}
)


@dataclass(frozen=True, kw_only=True)
class UpstreamAnswer:
    """``answer`` is None when nothing has reached the user, so that another adapter may still be asked."""

    answer: web.StreamResponse | None
    reply: Reply


class ClientGone(Exception):
    """The user's connection is closed; ``reply`` has what had arrived until then."""

    def __init__(self, reply: Reply) -> None:
        self.reply = reply
        super().__init__("the client closed the connection")


class Upstream:
    """One vLLM, one pool of connections."""

    def __init__(self, *, url: str, key: str | None) -> None:
        self._url, self._key = url, key
        self._session: aiohttp.ClientSession | None = None

    @property
    def session(self) -> aiohttp.ClientSession:
        """Opened at first use, inside the running loop."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_SECONDS),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=SILENCE_SECONDS),
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def ask(self, request: UserRequest, *, adapter: AdapterName, user: web.Request | None, may_retry: bool) -> UpstreamAnswer:
        """With ``user`` None (a shadow) the answer is discarded. Raises ClientGone, also for a cancelled request."""
        asked = _Asked(adapter=adapter, request_id=request.id, began=time.perf_counter())
        body = {**request.body, "model": adapter}
        if user is None:
            body.pop("stream", None)
            body.pop("stream_options", None)
        try:
            async with self.session.post(
                self._url + request.path, data=orjson.dumps(body), headers=self._headers(user), allow_redirects=False
            ) as answer:
                if user is not None and answer.status == 200 and answer.content_type == "text/event-stream":
                    return await _stream(asked, answer, user)
                content = await answer.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            reply = asked.ended(status=0, error=f"vLLM did not answer: {type(error).__name__}: {error}"[:500])
            return UpstreamAnswer(answer=None if may_retry or user is None else _bad_gateway(asked), reply=reply)
        except asyncio.CancelledError:
            if user is None:  # the gateway ends: nobody waits for a shadow, so it is no attempt
                raise
            raise ClientGone(asked.ended(status=CLIENT_CLOSED_REQUEST, error="client_closed")) from None
        reply = _whole(asked, answer.status, content)
        if user is None or (may_retry and is_failure(answer.status)):
            return UpstreamAnswer(answer=None, reply=reply)
        headers = _passed_back(answer.headers, asked)
        return UpstreamAnswer(answer=web.Response(body=content, status=answer.status, headers=headers), reply=reply)

    def _headers(self, user: web.Request | None) -> dict[str, str]:
        headers = {name: user.headers[name] for name in PASSED_ON if name in user.headers} if user is not None else {}
        headers |= {"Content-Type": "application/json", "Accept-Encoding": "identity"}  # we read what we pass on
        if self._key is not None:
            headers["Authorization"] = f"Bearer {self._key}"
        return headers


def is_failure(status: int) -> bool:
    """Not the request's fault: no answer, a server error, or an adapter that is not loaded."""
    return status == 0 or status >= 500 or status == 404


@dataclass(frozen=True, kw_only=True)
class _Asked:
    adapter: AdapterName
    request_id: str
    began: float  # time.perf_counter()

    def ended(self, *, status: int, error: str | None = None, response: Mapping[str, Any] | None = None) -> Reply:
        return Reply(response=response, status=status, error=error, latency_ms=(time.perf_counter() - self.began) * 1000)

    def headers(self) -> dict[str, str]:
        """Who answered, and the id under which a correction finds this request."""
        return {"X-Flywheel-Adapter": self.adapter, "X-Flywheel-Request": self.request_id}


def _whole(asked: _Asked, status: int, content: bytes) -> Reply:
    try:
        value = orjson.loads(content)
    except orjson.JSONDecodeError:
        value = None
    if 200 <= status < 300:
        if isinstance(value, dict):
            return asked.ended(status=status, response=value)
        return asked.ended(status=502, error="vLLM answered 2xx without JSON")
    told = value.get("error", value) if isinstance(value, dict) else content[:2000].decode("utf-8", "replace")
    return asked.ended(status=status, error=str(told.get("message", told) if isinstance(told, dict) else told)[:2000])


async def _stream(asked: _Asked, answer: aiohttp.ClientResponse, user: web.Request) -> UpstreamAnswer:
    """Forwards each chunk at once and keeps it for recording."""
    assembly = Assembly()
    response = web.StreamResponse(status=200, headers=_passed_back(answer.headers, asked))
    broken: str | None = None
    try:
        await response.prepare(user)
        while True:
            try:
                piece = await answer.content.readany()
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                broken = f"the stream broke off: {type(error).__name__}: {error}"[:500]
                # After the first byte there is no other adapter to ask; clients of OpenAI's form read this as an error.
                await response.write(b"data: " + orjson.dumps({"error": _error_body(broken, kind="server_error", code=502)}) + b"\n\n")
                break
            if not piece:
                break
            assembly.feed(piece)
            await response.write(piece)
        await response.write_eof()
    except (ConnectionError, asyncio.CancelledError):
        gone = asked.ended(status=CLIENT_CLOSED_REQUEST, error="client_closed", response=assembly.completion())
        raise ClientGone(gone) from None
    fault = broken or assembly.error
    reply = asked.ended(status=200 if fault is None else 502, error=fault, response=assembly.completion())
    return UpstreamAnswer(answer=response, reply=reply)


def _passed_back(upstream: Mapping[str, str], asked: _Asked) -> dict[str, str]:
    headers = {name: value for name, value in upstream.items() if name.lower() not in NOT_PASSED_BACK}
    headers["Content-Type"] = upstream.get("Content-Type", "application/json")
    return headers | asked.headers()


def _bad_gateway(asked: _Asked) -> web.Response:
    content = orjson.dumps({"error": _error_body("the model server does not answer", kind="server_error", code=502)})
    return web.Response(body=content, status=502, content_type="application/json", headers=asked.headers())


def _error_body(message: str, *, kind: str, code: int) -> dict[str, object]:
    return {"message": message, "type": kind, "param": None, "code": code}
