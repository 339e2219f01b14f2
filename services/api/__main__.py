"""``python -m services.api --config flywheel.yaml``: the HTTP api and the outbox's relay, until SIGTERM."""

import argparse
import socket
import sys
import threading
from pathlib import Path

import uvicorn

from flywheel.errors import CannotRun, FlywheelError
from services.api.app import build_app
from services.api.relay_outbox import Relay
from services.api.wiring import api_parts
from services.observability import configure_logging, serve_health, stop_event
from services.process.names import metrics_port
from services.settings import Settings, load

END_SECONDS = 3  # requests in flight get this long


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m services.api", description=__doc__)
    parser.add_argument("--config", type=Path, default=None)
    options = parser.parse_args(arguments)
    try:
        settings = load(options.config)
        configure_logging(settings.log_level)
        return run(settings, stop_event())
    except FlywheelError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return error.exit_code


def run(settings: Settings, stop: threading.Event) -> int:
    """Starts relay, side port and server; ends them in the mirror order."""
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
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=END_SECONDS))
    health = serve_health(host=settings.http.host, port=metrics_port(settings, "api"), process="api", ready=lambda: relay.trouble)

    def serve() -> None:
        try:
            server.run(sockets=[listening])
        finally:
            stop.set()  # a server that ends by itself ends the process

    # Not in the main thread: there uvicorn would take SIGTERM for itself and end with the signal instead of code 0.
    serving = threading.Thread(target=serve, name="http", daemon=True)
    relaying = threading.Thread(target=relay.run, args=(stop,), name="relay", daemon=True)
    serving.start()
    relaying.start()
    stop.wait()
    server.should_exit = True
    serving.join(END_SECONDS + 1)
    relaying.join(1)
    health.shutdown()
    if relay.failure is not None:
        raise relay.failure
    return 0


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
            remedy="End what listens there or set http.api_port.",
        ) from error
    return listening


if __name__ == "__main__":
    sys.exit(main())
