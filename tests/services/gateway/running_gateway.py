"""A gateway that listens on loopback, in the test's own loop, before a model server that the test names."""

import asyncio
import hashlib
import ssl
import threading
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

import aiohttp
from aiohttp import web

from flywheel.errors import NotAllowed
from flywheel.ids import BASE, AdapterName, WorkloadId
from flywheel.rollout.release import Route
from flywheel.traffic.inference import Arm
from flywheel.traffic.request_policy import RequestPolicy
from services.gateway.access import ModelAccess
from services.gateway.admin import Admin
from services.gateway.app import gateway_app
from services.gateway.capture_rule import CaptureRule, Fsync
from services.gateway.client_connections import open_port
from services.gateway.follow_routes import RouteTable
from services.gateway.pass_through import PassThrough
from services.gateway.proxy import Gateway
from services.gateway.read_request import ServedWorkload
from services.gateway.traffic_event import UpstreamAttempt
from services.gateway.upstream import Deadlines, Upstream
from services.ports.route_on_the_wire import from_wire
from services.process.request_limits import RequestLimiter
from services.settings.secrets import KnownToken
from services.settings.sections import GatewaySettings, Requests
from services.stores.route_files import RouteFiles
from services.stores.token_file import TokenFile
from services.stores.tokens import Tokens

ROUTER, OTHER, NEW = WorkloadId("router"), WorkloadId("other"), AdapterName("router-new")
ROUTE = Route(workload=ROUTER, alias="router-alias", version=1, champion=BASE)
LIVE = replace(ROUTE, version=2, champion=NEW)
CANARY = replace(ROUTE, version=2, challenger=NEW, challenger_arm=Arm.CANARY, share=1.0, salt="release-1")
SHADOW = replace(CANARY, challenger_arm=Arm.SHADOW, share=0.0)
QUESTION: dict[str, Any] = {"model": "router-alias", "messages": [{"role": "user", "content": "hi"}]}
AS_SERVED = {"messages": QUESTION["messages"]}
DEADLINES = Deadlines(connect=5, first_byte=60, silence=60, total=300)


class Noted:
    """What was handed over for the record."""

    def __init__(self) -> None:
        self.attempts: list[UpstreamAttempt] = []
        self.holds = asyncio.Event()  # cleared: a disk that does not answer
        self.holds.set()
        self.asked = asyncio.Event()

    async def keep(self, attempt: UpstreamAttempt, *, size: int, rule: CaptureRule) -> None:
        self.asked.set()
        await self.holds.wait()
        self.attempts.append(attempt)

    def offer(self, attempt: UpstreamAttempt, *, size: int, fsync: Fsync) -> None:
        self.attempts.append(attempt)

    async def until(self, count: int) -> Sequence[UpstreamAttempt]:
        async with asyncio.timeout(30):
            while len(self.attempts) < count:  # noqa: ASYNC110 (what it waits for happens outside this loop)
                await asyncio.sleep(0.01)
        return self.attempts

    def waited_for(self, count: int) -> Sequence[UpstreamAttempt]:
        """The same for a test outside the gateway's loop."""
        deadline = time.monotonic() + 60
        while len(self.attempts) < count:
            assert time.monotonic() < deadline, self.attempts
            time.sleep(0.01)
        return self.attempts


class Running:
    """A gateway that listens, and a client."""

    def __init__(self, url: str, client: aiohttp.ClientSession, noted: Noted, table: RouteTable) -> None:
        self.url, self.client, self.noted, self.table = url, client, noted, table

    async def ask(
        self, body: Any = None, *, token: str = "app", path: str = "/v1/chat/completions", method: str = "POST", **headers: str
    ) -> tuple[int, Any, Any]:
        """(status, JSON, headers)."""
        sent = {"Authorization": f"Bearer {token}"} | {name.replace("_", "-"): value for name, value in headers.items()}
        content = {} if method != "POST" else {"json": QUESTION if body is None else body}
        async with self.client.request(method, self.url + path, headers=sent, **content) as answer:
            return answer.status, await answer.json(), answer.headers

    async def send(self, raw: bytes, *, path: str = "/v1/chat/completions", **headers: str) -> tuple[int, Any, Any]:
        """The same with a body as it is."""
        sent = {"Authorization": "Bearer app", "Content-Type": "application/json"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.client.post(self.url + path, data=raw, headers=sent) as answer:
            return answer.status, await answer.json(), answer.headers

    async def stream(self, body: Any, *, path: str = "/v1/chat/completions") -> tuple[int, bytes]:
        head = {"Authorization": "Bearer app"}
        async with self.client.post(self.url + path, json={**body, "stream": True}, headers=head) as answer:
            return answer.status, await answer.read()


def entry(name: str, *scopes: str, workloads: str = "*") -> KnownToken:
    return KnownToken(
        name=name, scopes=frozenset(scopes), workloads=frozenset({workloads}), sha256=hashlib.sha256(name.encode()).hexdigest()
    )


def served(name: str, requests: Requests | None = None, policy: RequestPolicy | None = None) -> ServedWorkload:
    requests = requests or Requests()
    return ServedWorkload(
        workload=WorkloadId(name),
        alias=f"{name}-alias",
        requests=policy or RequestPolicy(),
        session_from=requests.session_from,
        base_without_champion=requests.without_champion == "base",
        capture=CaptureRule(waits=True, fsync=Fsync.NEVER),
    )


@asynccontextmanager
async def running(
    tmp_path: Path,
    url: str,
    *routes: Route,
    requests: Requests | None = None,
    policy: RequestPolicy | None = None,
    deadlines: Deadlines = DEADLINES,
    cors_origins: Sequence[str] = (),
    key: str | None = None,
    body_seconds: float = 60,
    limiter: RequestLimiter | None = None,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[Running]:
    """``requests`` and ``policy`` are of the workload ``router``; ``other`` has no route."""
    refusals: list[NotAllowed] = []
    noted, table = Noted(), RouteTable(workloads=[ROUTER, OTHER], disk=RouteFiles(tmp_path / "routes"))
    for route in routes:
        table.apply(route)
    people = [entry("app", "infer"), entry("operator", "operate"), entry("stranger", "infer", workloads="other")]
    people.append(entry("their-operator", "operate", workloads="other"))
    tokens = Tokens(entries=people, internal="between-us", issued=TokenFile(tmp_path))
    workloads: Mapping[str, ServedWorkload] = {
        one.alias: one for one in (served("router", requests=requests, policy=policy), served("other"))
    }
    access, upstream = (
        ModelAccess(tokens=tokens, workloads=workloads, table=table, limiter=limiter or RequestLimiter(tokens={}, workloads={})),
        Upstream(url=url, key=key, deadlines=deadlines),
    )
    gateway = Gateway(access=access, table=table, upstream=upstream, record=noted)
    app = gateway_app(
        gateway=gateway,
        others=PassThrough(access=access, table=table, upstream=upstream, routes=GatewaySettings().passed_on),
        admin=Admin(access=tokens, table=table, read_route=from_wire, requests=gateway.requests, ready=lambda: None, more=dict),
        cors_origins=cors_origins,
        body_seconds=body_seconds,
        note_refusal=refusals.append,
    )
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    port = await open_port(runner, "127.0.0.1", 0, idle_seconds=75, tls=tls)
    shadow = asyncio.create_task(gateway.shadow.run())
    async with aiohttp.ClientSession() as client:
        yield Running("http://{}:{}".format(*port.sockets[0].getsockname()[:2]), client, noted, table)
    shadow.cancel()
    port.close()
    await runner.cleanup()
    await upstream.close()


class GatewayThread:
    """The same in a thread and a loop of its own, for tests that wait for other programs."""

    def __init__(self, folder: Path, url: str, *routes: Route, **more: Any) -> None:
        self._wanted = (folder, url, *routes), more
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="gateway", daemon=True)

    def __enter__(self) -> Running:
        self._thread.start()
        arguments, more = self._wanted
        self._context = running(*arguments, **more)
        return asyncio.run_coroutine_threadsafe(self._context.__aenter__(), self._loop).result()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        asyncio.run_coroutine_threadsafe(self._context.__aexit__(None, None, None), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
