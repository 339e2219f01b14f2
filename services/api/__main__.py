"""``python -m services.api --config flywheel.yaml``: the HTTP api and the outbox's relay, until SIGTERM."""

import math
import socket
import sys
from functools import partial

import uvicorn

from flywheel.errors import CannotRun
from services.api.app import build_app
from services.api.http_server import HttpServer, closing_idle
from services.api.relay_outbox import Relay
from services.api.wiring import api_parts, ledger_changes
from services.process.health import serve_health
from services.process.loop import run_loop
from services.process.progress import FlowWatch
from services.process.run_together import run_together
from services.process.start_stop import Start, main
from services.process.tls import server_context

PROCESS = "api"
END_SECONDS = 3  # requests in flight get this long
RESEND_LOOK_SECONDS = 5.0  # for what was not confirmed in time; a new event wakes the relay at once
RELAY_LEAST_SECONDS = 0.2


def run(start: Start) -> None:
    """Starts relay, health server and API server; ends them in reverse order."""
    settings, stop = start.settings, start.stop
    parts = api_parts(settings)
    relay = Relay(
        outbox=parts.ledger.outbox,
        corrections=parts.ledger.corrections,
        journal=parts.ledger.journal,
        open_publisher=parts.open_publisher,
        corrections_topic=parts.corrections_topic,
    )
    listening = _listen(settings.http.host, settings.http.api_port)
    app = build_app(parts, ready=lambda: relay.trouble)
    idle = settings.http.idle_seconds
    config = uvicorn.Config(
        app,
        http=closing_idle(idle),
        timeout_keep_alive=math.ceil(idle),
        log_config=None,
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=END_SECONDS,
    )
    server = HttpServer(config, stop=stop, tls=server_context(settings.http))
    watch = FlowWatch(PROCESS, [relay.flow], journal=lambda: parts.ledger.journal)
    health = serve_health(settings, PROCESS, ready=lambda: relay.trouble, watch=watch)

    def relay_events() -> None:
        loop = partial(run_loop, process=PROCESS, every_seconds=RESEND_LOOK_SECONDS, least_seconds=RELAY_LEAST_SECONDS, watch=watch)
        try:
            loop(step=relay.tick, stop=stop, changed=ledger_changes(settings))
        finally:
            relay.close()

    watch.start()
    # The server is not in the main thread: there uvicorn would take SIGTERM for itself and end with the signal instead of code 0.
    failure = run_together({"relay": relay_events, "http": lambda: server.run(sockets=[listening])}, stop=stop, end_seconds=END_SECONDS + 1)
    watch.close()
    health.close()
    if failure is not None:
        raise failure.error


def _listen(host: str, port: int) -> socket.socket:
    try:
        listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
    except OSError as error:
        raise CannotRun(
            f"the port cannot be taken: {error.strerror}",
            where="http.api_port",
            value=f"{host}:{port}",
            remedy="Stop the process that uses this port or set http.api_port.",
        ) from error
    return listening


if __name__ == "__main__":
    sys.exit(main(PROCESS, run))
