"""The users' port: connections of clients, and what is answered where a request is no HTTP.

An error of the HTTP itself has OpenAI's form like all others, and one line of the log: what a stranger sends leaves no stack trace.
"""

import asyncio
import ssl

import structlog
from aiohttp import HttpVersion11, web

from services.gateway.error_responses import error_response
from services.process.tls import HANDSHAKE_SECONDS

log = structlog.get_logger()
WAITING_CONNECTIONS = 128
MOST_OF_A_MESSAGE = 200


class ClientConnection(web.RequestHandler):
    """Compressed bodies are not unpacked here, where no bound would hold: see ``read_request.body_of``."""

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """Answers, and closes the connection."""
        log.warning("A request could not be read.", action="request_unreadable", status=status, error=type(exc).__name__)
        if request.writer.output_size > 0:
            raise ConnectionError("an answer has begun: it can only be broken off")
        told = "the request is not HTTP" if status < 500 else "the gateway failed; its log has the reason"
        answer = error_response(f"{told}: {message[:MOST_OF_A_MESSAGE]}" if message and status < 500 else told, status=status)
        answer.force_close()
        return answer


async def open_port(
    runner: web.AppRunner, host: str, port: int, *, idle_seconds: float, shared: bool = False, tls: ssl.SSLContext | None = None
) -> asyncio.Server:
    """A connection that has sent no whole head of a request for ``idle_seconds`` is closed.

    ``shared``: the kernel spreads connections over all processes that listen there, and leaves out one that died. Raises OSError.
    """
    server, loop = runner.server, asyncio.get_running_loop()
    assert server is not None, "runner.setup() comes before"

    def connection() -> ClientConnection:
        return ClientConnection(
            server,
            loop=loop,
            access_log=None,  # type: ignore[arg-type]  # None: no such log
            auto_decompress=False,
            keepalive_timeout=idle_seconds,  # aiohttp's counts for a head that does not end too
        )

    handshake = HANDSHAKE_SECONDS if tls is not None else None
    return await loop.create_server(
        connection, host, port, ssl=tls, ssl_handshake_timeout=handshake, reuse_port=shared or None, backlog=WAITING_CONNECTIONS
    )


async def expectation(request: web.Request) -> None:
    """``Expect: 100-continue`` is answered; any other expectation is refused in OpenAI's form."""
    if request.version != HttpVersion11:
        return
    if request.headers.get("Expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # the answer proper has not begun
        return
    refusal = error_response("Expect: only 100-continue is known", status=417)
    raise web.HTTPExpectationFailed(text=refusal.text, content_type="application/json")
