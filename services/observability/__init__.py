"""What every process shows: structured logs, /healthz /readyz /metrics on its own loopback port, a quiet end on SIGTERM."""

import json
import logging
import signal
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import structlog
from prometheus_client import Counter, Gauge, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from flywheel.errors import CannotRun

STEPS = Counter("flywheel_steps_total", "Steps of a process's loop", ["process", "outcome"])
LAST_STEP = Gauge("flywheel_last_step_timestamp_seconds", "When the loop last ended a step", ["process"])
Ready = Callable[[], str | None]
"""Answers None when ready, else the reason why not."""


def configure_logging(level: str = "info") -> None:
    """JSON lines on standard error: a sentence in ``event``, a stable ``action`` for machines."""
    logging.basicConfig(level=level.upper(), stream=sys.stderr, format="%(levelname)s %(name)s %(message)s")
    for chatty in ("httpx", "presidio-analyzer", "kafka", "aiokafka", "alembic", "apscheduler"):
        logging.getLogger(chatty).setLevel(logging.WARNING)  # a line a request or a text says nothing to an operator
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def serve_health(*, host: str, port: int, process: str, ready: Ready) -> ThreadingHTTPServer:
    """Starts the side server in a thread. Raises CannotRun when the port is taken."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/metrics":
                self._answer(200, CONTENT_TYPE_LATEST, generate_latest())
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
            """Silent: probes come every second."""

    try:
        server = ThreadingHTTPServer((host, port), Handler)
    except OSError as error:
        raise CannotRun(
            "the port is taken",
            where=f"{process} metrics",
            value=f"{host}:{port}",
            remedy="End what listens there or set http.metrics_port.",
        ) from error
    threading.Thread(target=server.serve_forever, name="health", daemon=True).start()
    return server


def stop_event() -> threading.Event:
    """Set on SIGTERM and SIGINT."""
    event = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: event.set())
    return event


def run_loop(*, process: str, step: Callable[[datetime], None], every_seconds: float, stop: threading.Event) -> None:
    """Calls ``step(now)`` again and again until ``stop``. An unexpected error ends the process: its restart reads again."""
    while not stop.is_set():
        began = time.monotonic()
        try:
            step(datetime.now(UTC))
        except BaseException:
            STEPS.labels(process, "failed").inc()
            raise
        STEPS.labels(process, "done").inc()
        LAST_STEP.labels(process).set_to_current_time()
        stop.wait(max(0.0, every_seconds - (time.monotonic() - began)))
