"""A proxy that passes HTTP on byte by byte, and keeps what went through: what was sent, what came back, who closed first.

In: the address behind it, and for the next request a fault, if there shall be one. Out: each ``Passage``, in the order in which the
requests came. It runs in a thread of its own. One side that closes its connection in the middle closes the other.
"""

import asyncio
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import aiohttp
from aiohttp import web

OF_ONE_HOP = frozenset({"host", "connection", "keep-alive", "transfer-encoding", "content-length", "upgrade", "te", "trailer"})


@dataclass(kw_only=True)
class Passage:
    """One request and what came back. ``ended``: all of the answer went through."""

    path: str
    headers: Mapping[str, str]  # with lower-case names
    sent: bytes
    status: int | None = None  # None: no answer came
    answer_headers: Mapping[str, str] = field(default_factory=dict)
    answered: bytes = b""
    ended: bool = False
    over: threading.Event = field(default_factory=threading.Event)  # nothing more goes through


@dataclass(frozen=True, kw_only=True)
class UpstreamFault:
    """What goes wrong with one request.

    ``status``: it is answered so, with ``content``, and goes no further. ``hangs``: it is not answered until its sender gives up.
    ``after_events``: its stream ends after so many, 0: before the answer; ``before``: its stream ends before these bytes. Streams end
    as HTTP ends them; if ``resets``, by an aborted connection.
    """

    status: int | None = None
    content: bytes = b""
    hangs: bool = False
    after_events: int | None = None
    before: bytes | None = None
    resets: bool = False


class RecordingProxy:
    """``with RecordingProxy(address) as proxy``. ``target`` may be changed between two requests; ``fault`` is used up by the next one."""

    def __init__(self, target: str, *, keeps: Callable[[str], bool] = lambda path: True) -> None:
        self.target, self.fault, self.passages, self.url = target, None, list[Passage](), ""
        self.fault: UpstreamFault | None
        self._keeps = keeps

    def __enter__(self) -> "RecordingProxy":
        ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, args=(ready,), name="recording-proxy", daemon=True)
        self._thread.start()
        assert ready.wait(30), "the proxy did not start"
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join(10)

    def since(self, count: int) -> list[Passage]:
        """The passages after the first ``count``, once all of them are over."""
        found = self.passages[count:]
        for passage in found:
            assert passage.over.wait(60), passage.path
        return found

    def _run(self, ready: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve(ready))
        self._loop.close()

    async def _serve(self, ready: threading.Event) -> None:
        self._stopped = asyncio.Event()
        app = web.Application(client_max_size=64 * 2**20)
        app.router.add_route("*", "/{path:.*}", self._pass_on)
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        timeout = aiohttp.ClientTimeout(total=None)
        async with aiohttp.ClientSession(timeout=timeout, auto_decompress=False, connector=aiohttp.TCPConnector(limit=0)) as self._session:
            await site.start()
            self.url = "http://{}:{}".format(*runner.addresses[0][:2])
            ready.set()
            await self._stopped.wait()
            await runner.cleanup()

    async def _pass_on(self, request: web.Request) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        passage = Passage(path=request.path, headers=headers, sent=await request.read())
        fault = None
        if self._keeps(request.path):
            fault, self.fault = self.fault, None
            self.passages.append(passage)
        try:
            return await self._answer(request, passage, fault)
        except (aiohttp.ClientError, OSError):
            _break(request)
            return web.Response(status=502)
        finally:
            passage.over.set()

    async def _answer(self, request: web.Request, passage: Passage, fault: UpstreamFault | None) -> web.StreamResponse:
        if fault is not None and fault.status is not None:
            passage.status, passage.answered, passage.ended = fault.status, fault.content, True
            kind = "application/json" if fault.content.startswith(b"{") else "text/html"
            return web.Response(status=fault.status, body=fault.content, content_type=kind)
        if fault is not None and fault.hangs:
            await asyncio.Event().wait()
        if fault is not None and fault.after_events == 0:
            _break(request)
            return web.Response(status=502)
        sent = {name: value for name, value in request.headers.items() if name.lower() not in OF_ONE_HOP}
        url = self.target + request.path_qs
        async with self._session.request(request.method, url, headers=sent, data=passage.sent or None, allow_redirects=False) as answer:
            passage.status = answer.status
            passage.answer_headers = {name.lower(): value for name, value in answer.headers.items()}
            kept = {name: value for name, value in answer.headers.items() if name.lower() not in OF_ONE_HOP}
            response = web.StreamResponse(status=answer.status, headers=kept)
            await response.prepare(request)
            async for piece in answer.content.iter_any():
                cut = _beginning(passage.answered + piece, fault)
                part = piece if cut is None else cut[len(passage.answered) :]
                passage.answered += part
                await response.write(part)
                if cut is not None:
                    if fault is not None and fault.resets:
                        _break(request)
                    return response
            await response.write_eof()
            passage.ended = True
            return response


def _beginning(content: bytes, fault: UpstreamFault | None) -> bytes | None:
    """What comes before the fault; None while it has not come."""
    if fault is not None and fault.before is not None and fault.before in content:
        return content[: content.index(fault.before)]
    if fault is None or fault.after_events is None:
        return None
    pieces = content.split(b"\n\n")
    return b"\n\n".join(pieces[: fault.after_events]) + b"\n\n" if len(pieces) > fault.after_events else None


def _break(request: web.Request) -> None:
    """Aborts the connection, as when a process dies."""
    transport: Any = request.transport
    if transport is not None:
        transport.abort()
