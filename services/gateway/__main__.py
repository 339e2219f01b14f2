"""``python -m services.gateway --config flywheel.yaml``: serves until SIGTERM."""

import asyncio
import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import structlog
from aiohttp import web

from flywheel.errors import CannotRun
from services.gateway.access import ModelAccess
from services.gateway.admin import Admin
from services.gateway.app import admin_app, gateway_app
from services.gateway.capture_attempts import Capture, Onward, encoded_by
from services.gateway.client_connections import open_port
from services.gateway.follow_routes import RouteTable, follow_topic, poll_api
from services.gateway.pass_through import PassThrough
from services.gateway.proxy import Gateway
from services.gateway.upstream import Upstream
from services.gateway.wiring import GatewayParts, RecordParts, gateway_parts
from services.process.process_names import gateway_port, numbered
from services.process.progress import FlowWatch
from services.process.refused_attempts import RefusedAttempts
from services.process.start_stop import main, stop_event_of_loop
from services.process.tls import server_context
from services.settings import Settings

PROCESS = "gateway"
log = structlog.get_logger()
CUT_SECONDS, WRITE_SECONDS = 2.0, 2.0
"""For the last bytes of answers that were cut, and for what is not on disk yet: so much longer than ``drain_seconds`` the end may take."""
LOOK_SECONDS = 0.05


async def serve(settings: Settings, asked_to_stop: threading.Event, *, number: int = 1) -> None:
    """Wires, listens, and ends in the mirror order of its start. ``number``: of several gateways that share the users' port."""
    stop = stop_event_of_loop(asked_to_stop)
    tls = server_context(settings.http)
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # follow_topic logs once that the broker is down
    parts = gateway_parts(settings, number=number)
    table = RouteTable(workloads=[one.workload for one in parts.workloads.values()], disk=parts.route_files)
    table.restore()
    capture = Capture(sealed=parts.capture.sealed, open_record=lambda: _record(parts.capture.open_record()))

    def ready() -> str | None:
        missing = table.without_route()
        return f"no route yet for {', '.join(missing)}" if missing else None

    def more() -> dict[str, object]:
        """Why exchanges wait to be recorded, and flows that stand."""
        return {"recording": capture.trouble() or "", **watch.health()}

    watch = FlowWatch(numbered(PROCESS, number), [capture.flow], disk=capture.disk_wait, journal=parts.journal)
    access, upstream = _access(parts, table), parts.upstream
    gateway = Gateway(access=access, table=table, upstream=upstream, record=capture)
    admin = Admin(access=parts.tokens, table=table, read_route=parts.read_route, requests=gateway.requests, ready=ready, more=more)
    others = PassThrough(access=access, table=table, upstream=upstream, routes=parts.http.passed_on)
    app = _users_app(parts, gateway, others, admin, body_seconds=settings.http.body_seconds)
    own = await _own_port(admin, settings.http.host, gateway_port(settings, number))
    # handler_cancellation: a user who goes away frees vLLM at once, also before the first byte.
    runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=CUT_SECONDS)
    await runner.setup()
    http = settings.http
    with _taken(http.host, http.gateway_port, remedy="set http.gateway_port"):
        shared = settings.gateway.processes > 1
        port = await open_port(runner, http.host, http.gateway_port, idle_seconds=http.idle_seconds, shared=shared, tls=tls)
    capture.start()
    watch.start()
    tasks = [
        asyncio.create_task(poll_api(table=table, api=parts.route_api, session=upstream.session), name="route-poll"),
        asyncio.create_task(follow_topic(table=table, open_topic=parts.open_topic), name="route-topic"),
        asyncio.create_task(gateway.shadow.run(), name="shadow"),
    ]
    stopped = asyncio.create_task(stop.wait(), name="stop")
    log.info("The gateway listens.", action="gateway_started", host=settings.http.host, port=settings.http.gateway_port)
    try:
        done, _ = await asyncio.wait([stopped, *tasks], return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in [*tasks, stopped]:
            task.cancel()
        await drain(port, runner, upstream, seconds=settings.gateway.drain_seconds)
        await runner.cleanup()
        with suppress(TimeoutError):  # a consumer that hangs on a dead broker
            async with asyncio.timeout(0.5):
                await asyncio.gather(*tasks, stopped, return_exceptions=True)
        watch.close()
        await asyncio.to_thread(capture.stop, within_seconds=WRITE_SECONDS)
        await upstream.close()
        await own.cleanup()
    for task in done - {stopped}:
        task.result()  # one of the tasks that never end has ended: its error is the process's


async def drain(port: asyncio.Server, runner: web.AppRunner, upstream: Upstream, *, seconds: float) -> None:
    """Closes the port and idle connections, lets answers under way end, and cuts those that have not after ``seconds``."""
    port.close()
    await asyncio.sleep(0)  # requests that had arrived by now are handled
    server = runner.server
    assert server is not None
    server.pre_shutdown()
    if server.connections:
        log.info(
            "The gateway ends; answers under way are finished.",
            action="gateway_drains",
            connections=len(server.connections),
            seconds=seconds,
        )
    deadline = asyncio.get_running_loop().time() + seconds
    while server.connections and asyncio.get_running_loop().time() < deadline:  # noqa: ASYNC110 (aiohttp tells nobody when one closes)
        await asyncio.sleep(LOOK_SECONDS)
    if server.connections:
        log.warning("Answers are cut.", action="gateway_cuts", connections=len(server.connections))
    upstream.cut()


def _users_app(parts: GatewayParts, gateway: Gateway, others: PassThrough, admin: Admin, *, body_seconds: float) -> web.Application:
    return gateway_app(
        gateway=gateway,
        others=others,
        admin=admin,
        cors_origins=parts.http.cors_origins,
        body_seconds=body_seconds,
        note_refusal=RefusedAttempts(PROCESS, journal=parts.journal).note,
    )


def _access(parts: GatewayParts, table: RouteTable) -> ModelAccess:
    return ModelAccess(tokens=parts.tokens, workloads=parts.workloads, table=table, limiter=parts.limiter)


def _record(parts: RecordParts) -> Onward:
    return Onward(
        redactor=parts.redactor,
        encode=encoded_by(parts.encode),
        spool=parts.spool,
        publisher=parts.publisher,
        question=parts.question,
        topic=parts.topic,
    )


async def _own_port(admin: Admin, host: str, port: int) -> web.AppRunner:
    """Health, metrics and routes of this process alone."""
    own = web.AppRunner(admin_app(admin), access_log=None, shutdown_timeout=CUT_SECONDS)
    await own.setup()
    with _taken(host, port, remedy="set http.metrics_port"):
        await web.TCPSite(own, host, port).start()
    return own


@contextmanager
def _taken(host: str, port: int, *, remedy: str) -> Iterator[None]:
    """Raises CannotRun where the port cannot be opened."""
    try:
        yield
    except OSError as error:
        raise CannotRun(
            "the port is taken",
            where="gateway",
            value=f"{host}:{port}",
            remedy=f"Stop the process that uses this port, or {remedy}.",
        ) from error


if __name__ == "__main__":
    sys.exit(main(PROCESS, lambda start: asyncio.run(serve(start.settings, start.stop, number=start.number))))
