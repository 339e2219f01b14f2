"""One request to the model server, passed on to the user as the answer comes.

In: the request and the model to ask. Out: the answer to the user, and the Reply to record. Which model is asked, and whether another one
is asked after a failure, is not decided here.

aiohttp stands in this process and not behind a port: the bytes of a stream go from one socket to the other, and an
abstraction between them would cost more than the whole gateway adds.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

import aiohttp
import orjson
from aiohttp import web

from flywheel.ids import AdapterName, RequestId
from flywheel.traffic.attempt_outcome import CLIENT_CLOSED_REQUEST
from services.gateway.assemble_stream import Assembly, read_whole_json
from services.gateway.error_responses import RETRY_AFTER_SECONDS, error_content, error_response, in_openai_form
from services.gateway.rewrite_stream import StreamRewrite, with_model
from services.gateway.traffic_event import Reply

KEEP_ALIVE_SECONDS = 3.0
"""Below vLLM's own 5 s: a connection that vLLM is just closing would cost a user's request."""
AFTER_DONE_SECONDS = 1.0
"""A server closes a stream right after [DONE]; for one that does not, the user need not wait."""
STOPS = "the gateway is being restarted; try again"
PASSED_ON = ("accept", "user-agent", "traceparent", "tracestate", "x-request-id")
NOT_PASSED_BACK = frozenset(
    {"connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer", "transfer-encoding", "upgrade"}
    | {"content-length", "content-type", "date", "server", "set-cookie", "www-authenticate", "location"}
)
TRUE = frozenset({"true", "1", "yes", "on", "t", "y"})
"""What vLLM takes for true, in quotes or not."""
WRONG_KEY = frozenset({401, 403})
NO_SUCH_ROUTE = frozenset({"Not Found", "Method Not Allowed"})
"""FastAPI's messages; that of a model that is not there names the model."""


@dataclass(frozen=True, kw_only=True)
class Deadlines:
    """Seconds: until connected, until the answer begins, between two pieces of it, for all of it."""

    connect: float
    first_byte: float
    silence: float
    total: float


class Limit:
    """The deadline of one call that holds at the moment. ``cut`` ends the call now: the gateway stops."""

    def __init__(self, *, is_cut: bool = False) -> None:
        self._timeout: asyncio.Timeout | None = None
        self.is_cut = is_cut

    def until(self, when: float) -> asyncio.Timeout:
        """A context manager, as ``asyncio.timeout_at``."""
        self._timeout = asyncio.timeout_at(0.0 if self.is_cut else when)
        return self._timeout

    def cut(self) -> None:
        self.is_cut = True
        if self._timeout is not None:
            with suppress(RuntimeError):  # it is not waited for at the moment: the next wait ends at once
                self._timeout.reschedule(0.0)


class HoldBack(Enum):
    """Which answers do not reach the user, because another model may still be asked."""

    NOTHING = "nothing"
    MISSING = "the model is not there"
    FAILURES = "any failure that is not the request's fault"


@dataclass(frozen=True, kw_only=True)
class FormField:
    """A field of a form; with a file name, a file."""

    name: str
    content: str | bytes | bytearray
    filename: str | None = None
    content_type: str | None = None


@dataclass(frozen=True, kw_only=True)
class Form:
    """A body of multipart/form-data, as audio is sent."""

    fields: Sequence[FormField]


@dataclass(frozen=True, kw_only=True)
class UpstreamCall:
    """One request to one model. ``shown_as``: the model's name in the answer, as the client asked for it."""

    id: RequestId
    adapter: AdapterName | None  # None: the request names no model
    shown_as: str
    path: str
    body: Mapping[str, Any] | Form | None  # without ``model``
    method: str = "POST"
    is_chat: bool = False  # its answer is recorded: read as a completion, streamed or not


@dataclass(frozen=True, kw_only=True)
class UpstreamAnswer:
    """``answer`` is None when nothing has reached the user, so that another model may still be asked."""

    answer: web.StreamResponse | None
    reply: Reply

    def given(self) -> web.StreamResponse:
        """The answer of a call that held nothing back."""
        assert self.answer is not None
        return self.answer


Keep = Callable[[Reply], Awaitable[None]]
"""Takes how a request ended; returns once that is kept."""


class ClientGone(Exception):
    """The user's connection is closed; ``reply`` has what had arrived until then."""

    def __init__(self, reply: Reply) -> None:
        self.reply = reply
        super().__init__("the client closed the connection")


class Upstream:
    """One model server, one pool of connections."""

    def __init__(self, *, url: str, key: str | None, deadlines: Deadlines) -> None:
        self._url, self._key, self._deadlines = url, key, deadlines
        self._session: aiohttp.ClientSession | None = None
        self._under_way: set[Limit] = set()
        self._ends = False

    def cut(self) -> None:
        """Ends the calls under way: a stream with an error event, any other answer with 503."""
        self._ends = True  # the champion is not asked for a canary's answer that was cut
        for limit in self._under_way:
            limit.cut()

    @property
    def session(self) -> aiohttp.ClientSession:
        """Opened at first use, inside the running loop."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_SECONDS),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._deadlines.connect),
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def ask(
        self, call: UpstreamCall, *, user: web.Request | None, hold_back: HoldBack = HoldBack.NOTHING, keep: Keep | None = None
    ) -> UpstreamAnswer:
        """With ``user`` None (a shadow) the answer is discarded. Raises ClientGone, also for a cancelled request.

        ``keep``: awaited before the last bytes of a stream leave; all other answers leave after this returns.
        """
        asked = _Asked(
            call=call, user=user, hold_back=hold_back, deadlines=self._deadlines, began=time.perf_counter(), limit=Limit(is_cut=self._ends)
        )
        self._under_way.add(asked.limit)
        try:
            return await self._ask(asked, keep)
        finally:
            self._under_way.discard(asked.limit)

    async def _ask(self, asked: "_Asked", keep: Keep | None) -> UpstreamAnswer:
        call, user = asked.call, asked.user
        try:
            async with asked.limit.until(asked.next_deadline(within=self._deadlines.first_byte)):
                answer = await self.session.request(call.method, self._url + call.path, allow_redirects=False, **self._content(call, user))
            async with answer:
                if user is not None and answer.status == 200 and answer.content_type == "text/event-stream":
                    return await _Relay(asked, answer, user, keep).run()
                async with asked.limit.until(asked.next_deadline()):
                    content = await answer.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return asked.without_answer(error)
        except asyncio.CancelledError:
            if user is None:  # the gateway ends: nobody waits for a shadow, so it is no attempt
                raise
            raise ClientGone(asked.ended(status=CLIENT_CLOSED_REQUEST, error="client_closed", is_whole=False, gone=True)) from None
        return asked.answered(answer, content)

    def _content(self, call: UpstreamCall, user: web.Request | None) -> dict[str, Any]:
        """Arguments for the HTTP client: headers and data."""
        headers = {name: user.headers[name] for name in PASSED_ON if name in user.headers} if user is not None else {}
        headers["Accept-Encoding"] = "identity"  # we read what we pass on
        if self._key is not None:
            headers["Authorization"] = f"Bearer {self._key}"
        if call.body is None:
            return {"headers": headers}
        if isinstance(call.body, Form):
            form = aiohttp.FormData({"model": str(call.adapter)}, quote_fields=False)
            for field in call.body.fields:
                form.add_field(field.name, field.content, filename=field.filename, content_type=field.content_type)
            return {"headers": headers, "data": form}
        headers["Content-Type"] = "application/json"
        return {"headers": headers, "data": orjson.dumps({"model": call.adapter, **_with_usage(call, streams=user is not None)})}


def _with_usage(call: UpstreamCall, *, streams: bool) -> Mapping[str, Any]:
    """The body. A recorded stream ends with the usage, whether the client asked for it or not. A shadow is not streamed."""
    assert isinstance(call.body, Mapping)
    if not call.is_chat:
        return call.body
    if not streams:
        return {name: value for name, value in call.body.items() if name not in ("stream", "stream_options")}
    options = call.body.get("stream_options")
    if str(call.body.get("stream")).lower() not in TRUE or not isinstance(options, dict | None):
        return call.body  # options of another type: the model server says what is wrong with them
    asked = dict(options or {})
    if not _wants_usage(call.body):
        asked.pop("continuous_usage_stats", None)  # vLLM's: without include_usage it means nothing
    return {**call.body, "stream_options": {**asked, "include_usage": True}}


def _wants_usage(body: Mapping[str, Any]) -> bool:
    options = body.get("stream_options")
    return isinstance(options, dict) and bool(options.get("include_usage"))


def is_failure(status: int) -> bool:
    """Not the request's fault: no answer, a server error, or an adapter that is not loaded."""
    return status == 0 or status >= 500 or status == 404


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """A call under way: its clock, and what its ends look like."""

    call: UpstreamCall
    user: web.Request | None
    hold_back: HoldBack
    deadlines: Deadlines
    began: float  # time.perf_counter()
    limit: Limit

    def next_deadline(self, *, within: float | None = None) -> float:
        """Until when the next piece must come, by the event loop's clock."""
        now = asyncio.get_running_loop().time()
        left = self.deadlines.total - (time.perf_counter() - self.began)
        return now + min(within if within is not None else self.deadlines.silence, left)

    def is_over_in_all(self) -> bool:
        return time.perf_counter() - self.began >= self.deadlines.total

    def ended(
        self, *, status: int, error: str | None = None, response: Mapping[str, Any] | None = None, is_whole: bool = True, gone: bool = False
    ) -> Reply:
        """``gone``: the client closed the connection."""
        latency_ms = (time.perf_counter() - self.began) * 1000
        return Reply(response=response, status=status, error=error, latency_ms=latency_ms, ended=is_whole, client_closed=gone)

    def headers(self, upstream: Mapping[str, str]) -> dict[str, str]:
        """Who answered, and the id under which a correction finds this request. What cannot be printed cannot be sent either."""
        kept = {name: value for name, value in upstream.items() if value.isprintable() and not _is_dropped(name.lower())}
        content_type = upstream.get("Content-Type", "application/json")
        kept["Content-Type"] = content_type if content_type.isprintable() else "application/json"
        return kept | self.own_headers()

    def own_headers(self) -> dict[str, str]:
        return {"X-Flywheel-Request": self.call.id} | ({"X-Flywheel-Adapter": self.call.adapter} if self.call.adapter else {})

    def holds(self, status: int, message: str = "") -> bool:
        """Whether this answer is kept from the user."""
        match self.hold_back:
            case HoldBack.FAILURES:
                return is_failure(status)
            case HoldBack.MISSING:
                return status == 404 and (self.call.is_chat or any(f"{mark}{self.call.adapter}{mark}" in message for mark in "`'\""))
            case _:
                return False

    def refused(self, *, status: int, shown: int, message: str, code: str, told: str | None = None) -> UpstreamAnswer:
        """No usable answer. ``status`` is recorded, with ``told``; ``shown`` and ``message`` reach the user."""
        reply = self.ended(status=status, error=(told or message)[:2000])
        if self.user is None or self.holds(status):
            return UpstreamAnswer(answer=None, reply=reply)
        return UpstreamAnswer(answer=error_response(message, status=shown, code=code, headers=self.own_headers()), reply=reply)

    def without_answer(self, error: Exception) -> UpstreamAnswer:
        """503 where another try may find the server back, 504 for a deadline, 502 for everything else."""
        told = f"the model server did not answer: {type(error).__name__}: {error}"
        if self.limit.is_cut and isinstance(error, TimeoutError):
            return self.refused(status=503, shown=503, message=STOPS, code="gateway_stopping")
        if isinstance(error, TimeoutError):
            waited = time.perf_counter() - self.began
            message = f"the model server did not answer within {waited:.3g} s"
            if isinstance(error, aiohttp.ConnectionTimeoutError):
                message = f"the model server accepted no connection within {waited:.3g} s"
            return self.refused(status=504, shown=504, message=message, code="upstream_timeout")
        if isinstance(error, aiohttp.ClientConnectorError):
            return self.refused(status=0, shown=503, message="the model server cannot be reached", code="upstream_unreachable", told=told)
        return self.refused(status=0, shown=502, message="the model server broke off its answer", code="upstream_broken", told=told)

    def answered(self, answer: aiohttp.ClientResponse, content: bytes) -> UpstreamAnswer:
        """A whole answer."""
        status = answer.status
        if status in WRONG_KEY:
            told = f"the model server refuses the gateway's key ({status}): {content[:200].decode('utf-8', 'replace')}"
            return self.refused(status=502, shown=502, message="the model server refuses the gateway", code="upstream_key", told=told)
        if not 200 <= status < 300 and not 400 <= status < 600:
            return self.refused(status=502, shown=502, message=f"the model server answers {status}", code="upstream_broken")
        if status >= 400:
            shown, message = in_openai_form(content, status=status)
            if message in NO_SUCH_ROUTE and not self.call.is_chat:
                message = f"the model server does not serve {self.call.method} {self.call.path}"
                shown = error_content(message, status=status, code="route_not_served")
            return self.failed(status, message, shown, answer.headers)
        try:
            value, as_it_came = read_whole_json(content)
        except ValueError:
            value, as_it_came = None, True
        if isinstance(value, dict):
            content = with_model(content, value, shown_as=self.call.shown_as)
        elif self.call.is_chat:
            message = "the model server answers without a JSON object"
            return self.refused(status=502, shown=502, message=message, code="upstream_broken")
        response = value if isinstance(value, dict) else None
        reply = self.ended(status=status, response=response, is_whole=not self.call.is_chat or bool(response and response.get("choices")))
        reply = reply if as_it_came else replace(reply, left_out=("response",))
        if self.user is None:
            return UpstreamAnswer(answer=None, reply=reply)
        return UpstreamAnswer(answer=web.Response(body=content, status=status, headers=self.headers(answer.headers)), reply=reply)

    def failed(self, status: int, message: str, shown: bytes, upstream: Mapping[str, str]) -> UpstreamAnswer:
        """The model server's own error, in OpenAI's form."""
        reply = self.ended(status=status, error=message)
        if self.user is None or self.holds(status, message):
            return UpstreamAnswer(answer=None, reply=reply)
        headers = self.headers(upstream) | {"Content-Type": "application/json"}
        if status == 503 and "Retry-After" not in upstream:  # a mapping without case
            headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
        return UpstreamAnswer(answer=web.Response(body=shown, status=status, headers=headers), reply=reply)


def _is_dropped(header: str) -> bool:
    return header in NOT_PASSED_BACK or header.startswith("access-control-")


class _Relay:
    """A stream on its way: each whole event is written at once, and of a chat kept for recording."""

    def __init__(self, asked: _Asked, answer: aiohttp.ClientResponse, user: web.Request, keep: Keep | None) -> None:
        self._asked, self._answer, self._user, self._keep = asked, answer, user, keep
        call = asked.call
        keeps_usage = not call.is_chat or (isinstance(call.body, Mapping) and _wants_usage(call.body))
        self._rewrite = StreamRewrite(shown_as=call.shown_as, is_chat=call.is_chat, keep_usage=keeps_usage)
        self._assembly = Assembly()
        self._broken: _Broken | None = None

    async def run(self) -> UpstreamAnswer:
        """The headers leave with the first event: until then another model may be asked, and an error has a status of its own."""
        try:
            first = await self._next()
            while first == b"":
                first = await self._next()
            if first is None or (self._rewrite.error is not None and not self._rewrite.has_chunks):
                return self._failed_at_once()
            response = web.StreamResponse(status=200, headers=self._asked.headers(self._answer.headers))
            await response.prepare(self._user)
            piece: bytes | None = first
            while piece is not None:
                if self._rewrite.done and self._has_ended:
                    await self._kept()
                if piece:
                    await response.write(piece)
                piece = await self._next()
            await self._kept()
            if self._broken is not None:
                await response.write(self._broken.event())
            await response.write_eof()
        except (ConnectionError, asyncio.CancelledError):
            raise ClientGone(self._reply(gone=True)) from None
        return UpstreamAnswer(answer=response, reply=self._reply())

    async def _kept(self) -> None:
        """Once, before the bytes by which a client knows that the answer is whole."""
        if self._keep is not None:
            keep, self._keep = self._keep, None
            await keep(self._reply())

    async def _next(self) -> bytes | None:
        """What can be written now; b"" while an event is not whole; None at the end, also when the stream broke off."""
        try:
            async with self._asked.limit.until(self._asked.next_deadline(within=AFTER_DONE_SECONDS if self._rewrite.done else None)):
                piece = await self._answer.content.readany()
        except TimeoutError:
            if self._asked.limit.is_cut:
                self._break(503, STOPS, code="gateway_stopping")
                return None
            told = "the model server fell silent in the middle of its answer"
            if self._asked.is_over_in_all():
                told = f"the model server did not end its answer within {self._asked.deadlines.total:.3g} s"
            self._break(504, told, code="upstream_timeout")
            return None
        except (aiohttp.ClientError, OSError) as error:
            self._break(502, "the model server broke off its answer", told=f"the stream broke off: {type(error).__name__}: {error}"[:500])
            return None
        if not piece:
            last = self._rewrite.end()
            if self._asked.call.is_chat:
                self._break(502, "the model server ended the stream before its answer was complete")
            return last or None
        if self._asked.call.is_chat:
            self._assembly.feed(piece)
        return self._rewrite.feed(piece)

    def _break(self, status: int, message: str, *, code: str = "upstream_broken", told: str | None = None) -> None:
        """Nothing is broken once the answer has ended, or the server has said itself what is wrong."""
        if not self._has_ended and self._rewrite.error is None:
            self._broken = _Broken(status=status, message=message, code=code, told=told or message)

    @property
    def _has_ended(self) -> bool:
        return self._assembly.ended if self._asked.call.is_chat else self._rewrite.done

    def _failed_at_once(self) -> UpstreamAnswer:
        if (error := self._rewrite.error) is not None:
            return self._asked.failed(self._error_status(), error["message"], orjson.dumps({"error": error}), self._answer.headers)
        broken = self._broken or _Broken(status=502, message="the model server sent an empty stream", code="upstream_broken", told="empty")
        return self._asked.refused(status=broken.status, shown=broken.status, message=broken.message, code=broken.code, told=broken.told)

    def _error_status(self) -> int:
        code = self._rewrite.error.get("code") if self._rewrite.error is not None else None
        return code if isinstance(code, int) and 400 <= code < 600 else 502

    def _reply(self, *, gone: bool = False) -> Reply:
        """A client that goes away after the end of the answer has got all of it."""
        status, told, assembly = 200, None, self._assembly
        if (error := self._rewrite.error) is not None:
            status, told = self._error_status(), error["message"]
        elif self._broken is not None:
            status, told = self._broken.status, self._broken.told
        elif gone and not self._has_ended:
            status, told = CLIENT_CLOSED_REQUEST, "client_closed"
        reply = self._asked.ended(status=status, error=told, response=assembly.completion(), is_whole=self._has_ended, gone=gone)
        return replace(reply, left_out=assembly.left_out)


@dataclass(frozen=True, kw_only=True)
class _Broken:
    """Why a stream ended before its answer. ``told`` is recorded, the message reaches the user."""

    status: int
    message: str
    code: str
    told: str

    def event(self) -> bytes:
        """After the first byte there is no status to send; clients of OpenAI's form raise this as an error."""
        return b"data: " + error_content(self.message, status=self.status, code=self.code) + b"\n\n"
