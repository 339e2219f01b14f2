"""The side port of a process: /healthz, /readyz and /metrics on loopback."""

import json
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client.exposition import CONTENT_TYPE_LATEST

from flywheel.errors import CannotRun
from services.observability import exposition
from services.process.process_names import metrics_port
from services.settings import Settings

Ready = Callable[[], str | None]
"""Answers None when ready, else the reason why not."""
NEVER_SECONDS = 86_400.0


class HealthServer(ThreadingHTTPServer):
    """Sleeps until somebody asks: no look every half second, as the standard library's server has it."""

    daemon_threads = True

    def close(self) -> None:
        """Frees the port. Safe to repeat."""
        ending = threading.Thread(target=self.shutdown, daemon=True)
        ending.start()
        address = (str(self.server_address[0]), int(self.server_address[1]))
        while ending.is_alive():  # a connection wakes the server, which then sees that it is to end
            with suppress(OSError):
                socket.create_connection(address, timeout=0.2).close()
            ending.join(0.05)
        self.server_close()


def serve_health(settings: Settings, process: str, *, ready: Ready, hosted: bool = False) -> HealthServer:
    """Starts the side server in a thread. Raises CannotRun when the port is taken."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/metrics":
                self._answer(200, CONTENT_TYPE_LATEST, exposition(process, hosted=hosted))
            elif self.path == "/healthz":
                self._answer(200, "application/json", json.dumps({"process": process, "alive": True}).encode())
            elif self.path == "/readyz":
                reason = ready()
                body = {"process": process, "ready": reason is None, "reason": reason or ""}
                self._answer(200 if reason is None else 503, "application/json", json.dumps(body).encode())
            else:
                self._answer(404, "text/plain", b"known: /healthz /readyz /metrics\n")

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
            remedy="End what listens there or set http.metrics_port.",
        ) from error
    threading.Thread(target=server.serve_forever, args=(NEVER_SECONDS,), name=f"{process} health", daemon=True).start()
    return server
