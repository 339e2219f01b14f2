"""Routes on the wire, on the api and on the topic."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import orjson
import pytest
from aiohttp import web
from kafka import KafkaProducer

from flywheel.errors import InvalidInput
from flywheel.ids import BASE, AdapterName, WorkloadId
from flywheel.rollout.release import Route
from flywheel.traffic.inference import Arm
from services.gateway import follow_routes
from services.gateway.follow_routes import RouteTable, follow_topic, poll_api
from services.integrations.api.published_routes import ApiRoutes, NoRoutes
from services.integrations.kafka.route_topic import TopicRoutes
from services.integrations.kafka.topics import KafkaAccess, create_topics, topic_spec
from services.ports.route_on_the_wire import from_wire, to_wire
from services.stores.route_files import RouteFiles

ROUTE = Route(
    workload=WorkloadId("router"),
    alias="router-alias",
    version=3,
    champion=BASE,
    challenger=AdapterName("router-new"),
    challenger_arm=Arm.CANARY,
    share=0.25,
    salt="release-1",
    changed_at=datetime(2026, 11, 22, 12, 0, tzinfo=UTC),
)


def test_a_route_comes_back_from_the_wire_as_it_was() -> None:
    for route in (ROUTE, Route(workload=WorkloadId("router"), alias="a", version=1, champion=BASE)):
        assert from_wire(orjson.loads(orjson.dumps(to_wire(route)))) == route


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("version", 0),
        ("version", "3"),
        ("version", 1e30),
        ("version", True),
        ("workload", None),
        ("champion", ""),
        ("challenger", 7),
        ("challenger_arm", "champion"),
        ("share", 1.5),
        ("share", "half"),
        ("changed_at", "yesterday"),
    ],
)
def test_a_route_that_does_not_fit_is_refused_by_its_key(key: str, value: object) -> None:
    with pytest.raises(InvalidInput) as refused:
        from_wire({**to_wire(ROUTE), key: value})
    assert refused.value.where == f"route.{key}"


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ([], 'must be of type "object"'),
        ({key: value for key, value in to_wire(ROUTE).items() if key != "salt"}, "lacks salt"),
        ({**to_wire(ROUTE), "weight": 1}, "has unknown keys: weight"),
    ],
)
def test_a_route_has_exactly_the_keys_of_its_schema(value: object, reason: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        from_wire(value)
    assert (refused.value.where, refused.value.reason) == ("route", reason)


@pytest.mark.parametrize("shape", ["list", "object", "error", "text"])
async def test_the_apis_routes_are_read_or_its_silence_is_named(shape: str) -> None:
    async def routes(request: web.Request) -> web.Response:
        assert request.headers["Authorization"] == "Bearer between-us"
        if shape == "error":
            return web.Response(status=503)
        if shape == "text":
            return web.Response(text="hello")
        return web.json_response([to_wire(ROUTE)] if shape == "list" else {"routes": [to_wire(ROUTE)]})

    app = web.Application()
    app.router.add_get("/v1/routes", routes)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        async with aiohttp.ClientSession() as session:
            api = ApiRoutes(api_url="http://{}:{}".format(*runner.addresses[0][:2]), key="between-us")
            if shape in ("error", "text"):
                with pytest.raises(NoRoutes):
                    await api.read(session)
            else:
                assert await api.read(session) == [ROUTE]
    finally:
        await runner.cleanup()


@pytest.mark.broker
async def test_every_route_of_the_topic_is_followed_from_the_beginning(tmp_path: Path, broker: str) -> None:
    access = KafkaAccess(bootstrap=broker)
    await asyncio.to_thread(create_topics, access, names={"releases": "releases"}, spec=topic_spec(), replication=1)
    producer = KafkaProducer(bootstrap_servers=broker)

    def publish(value: bytes) -> None:
        producer.send("releases", value=value, key=b"router").get(timeout=20)

    def event(version: int) -> bytes:
        return orjson.dumps({"data": to_wire(replace(ROUTE, version=version))})

    table = RouteTable(workloads=[WorkloadId("router")], disk=RouteFiles(tmp_path / "routes"))
    huge = json.dumps({"data": {**to_wire(ROUTE), "version": 10**30}}).encode()  # what a foreign producer may write
    for raw in (event(1), b"{rubbish", orjson.dumps({"data": {"adapter": "x"}}), huge, b"[1]", b"5", event(2)):
        await asyncio.to_thread(publish, raw)
    following = asyncio.create_task(follow_topic(table=table, open_topic=lambda: TopicRoutes(access=access, topic="releases")))
    try:
        await in_force(table, 2)
        await asyncio.to_thread(publish, event(5))
        await in_force(table, 5)
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        producer.close()


async def in_force(table: RouteTable, version: int) -> None:
    async with asyncio.timeout(40):
        while table.versions().get("router") != version:  # noqa: ASYNC110 (what it waits for happens outside this loop)
            await asyncio.sleep(0.05)


async def test_a_route_that_cannot_be_applied_ends_nothing() -> None:
    """Whatever makes it so: the last one stays, and the next one comes into force."""

    class Fails(RouteFiles):
        def save(self, route: Route) -> None:
            if route.version == 2:
                raise TypeError("Integer exceeds 64-bit range")

    class Topic:
        async def follow(self) -> AsyncIterator[Route]:
            for version in (1, 2, 3):
                yield replace(ROUTE, version=version)

    table = RouteTable(workloads=[WorkloadId("router")], disk=Fails(Path("unused")))
    following = asyncio.create_task(follow_topic(table=table, open_topic=Topic))
    await in_force(table, 3)
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)


async def test_the_ledger_takes_back_a_route_that_another_wrote_on_the_topic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the second poll: the first may have been under way while a newer route came by the topic."""
    monkeypatch.setattr(follow_routes, "SLOW_POLL_SECONDS", 0.01)
    foreign = replace(ROUTE, version=4_000_000, champion=AdapterName("evil"))
    polls: list[int] = []
    files = RouteFiles(tmp_path / "routes")
    table = RouteTable(workloads=[WorkloadId("router")], disk=files)
    table.apply(ROUTE)

    class Api:
        async def read(self, session: object) -> list[Route]:
            polls.append(table.versions()["router"])
            if len(polls) == 3:
                table.apply(foreign)
                assert table.versions() == {"router": 4_000_000}
            return [ROUTE]

    polling = asyncio.create_task(poll_api(table=table, api=Api(), session=None))  # type: ignore[arg-type]
    while len(polls) < 7:  # noqa: ASYNC110 (polls follow each other after 10 ms)
        await asyncio.sleep(0.01)
    polling.cancel()
    await asyncio.gather(polling, return_exceptions=True)
    assert polls[:6] == [3, 3, 3, 4_000_000, 3, 3]
    assert table.versions() == {"router": ROUTE.version}
    assert [route.champion for route in files.load()[0]] == [ROUTE.champion]
    late = RouteTable(workloads=[WorkloadId("router")], disk=files)
    late.apply(replace(ROUTE, version=9))
    assert late.apply(ROUTE) == 9
