"""HTTP server for health and metrics of one process: /healthz, /readyz and /metrics on ``http.host``."""

import json
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import structlog
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from flywheel.errors import CannotRun
from services.observability import exposition
from services.process.process_names import metrics_port
from services.process.progress import FlowWatch
from services.settings import Settings

NotReadyReason = Callable[[], str | None]
"""Returns None when the process is ready, else the reason."""
log = structlog.get_logger()
LONGEST_SECONDS = 10.0  # of a connection, and between two of its pieces
POLL_SECONDS = 86_400.0
"""The server checks its shutdown flag once a day; ``close`` wakes it with a connection."""


class HealthServer(ThreadingHTTPServer):
    """Blocks until a request arrives. The standard library's server polls its shutdown flag twice a second; this one does not."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self._open: dict[socket.socket, float] = {}
        super().__init__(address, handler)

    def get_request(self) -> tuple[socket.socket, Any]:
        """Closes connections that are too old: each holds a thread, and a slow caller would hold it for ever."""
        request, address = super().get_request()
        now = time.monotonic()
        for held, since in list(self._open.items()):
            if now - since > LONGEST_SECONDS:
                with suppress(OSError):
                    held.shutdown(socket.SHUT_RDWR)
        self._open[request] = now
        return request, address

    def shutdown_request(self, request: Any) -> None:
        self._open.pop(request, None)
        super().shutdown_request(request)

    def handle_error(self, request: object, client_address: object) -> None:  # noqa: ARG002
        """Of a caller that went away. The standard library writes a whole trace for each."""
        log.info("A health request was not answered.", action="health_unanswered", error=type(sys.exception()).__name__)

    def close(self) -> None:
        """Frees the port. Safe to repeat."""
        shutdown_thread = threading.Thread(target=self.shutdown, daemon=True)
        shutdown_thread.start()
        address = (str(self.server_address[0]), int(self.server_address[1]))
        while shutdown_thread.is_alive():  # a connection wakes the server, so that it checks its shutdown flag
            with suppress(OSError):
                socket.create_connection(address, timeout=0.2).close()
            shutdown_thread.join(0.05)
        self.server_close()


def serve_health(
    settings: Settings,
    process: str,
    *,
    ready: NotReadyReason,
    hosted: bool = False,
    watch: FlowWatch | None = None,
    more: Callable[[], Mapping[str, object]] = dict,
) -> HealthServer:
    """Starts the server in a thread. Raises CannotRun when the port is taken.

    ``hosted``: the process shares its interpreter with others; /metrics has its own metrics only. ``watch``: its flows;
    one that stands makes no process unready. ``more``: what /readyz says beside it.
    """

    class Handler(BaseHTTPRequestHandler):
        timeout = LONGEST_SECONDS

        def do_GET(self) -> None:
            if self.path == "/metrics":
                self._answer(200, CONTENT_TYPE_LATEST, exposition(process, hosted=hosted))
            elif self.path == "/healthz":
                self._answer(200, "application/json", json.dumps({"process": process, "alive": True}).encode())
            elif self.path == "/readyz":
                reason = ready()
                body = {
                    "process": process,
                    "ready": reason is None,
                    "reason": reason or "",
                    **more(),
                    **(watch.health() if watch is not None else {}),
                }
                self._answer(200 if reason is None else 503, "application/json", json.dumps(body).encode())
            else:
                self._answer(404, "text/plain", b"unknown path; use /healthz, /readyz or /metrics\n")

        def _answer(self, status: int, content_type: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Silent: probes come every few seconds."""

    host, port = settings.http.host, metrics_port(settings, process)
    try:
        server = HealthServer((host, port), Handler)
    except OSError as error:
        raise CannotRun(
            "the port is taken",
            where=f"{process} metrics",
            value=f"{host}:{port}",
            remedy="Stop the process that uses this port, or set http.metrics_port.",
        ) from error
    threading.Thread(target=server.serve_forever, args=(POLL_SECONDS,), name=f"{process} health", daemon=True).start()
    return server
