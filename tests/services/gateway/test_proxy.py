"""Users before the gateway, a scripted vLLM behind it."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from flywheel.traffic.inference import Arm
from services.gateway.follow_routes import RouteTable
from services.ports.route_on_the_wire import to_wire
from services.stores.route_files import RouteFiles
from tests.fakes.vllm_server import FakeVllm
from tests.services.gateway.running_gateway import AS_SERVED, CANARY, NEW, QUESTION, ROUTE, ROUTER, SHADOW, running


@pytest.fixture
async def vllm() -> AsyncIterator[FakeVllm]:
    server = FakeVllm(answers=lambda model, messages: f"{model} says yes", adapters={NEW: "/x"})
    await asyncio.to_thread(server.start)
    yield server
    await asyncio.to_thread(server.stop)


async def test_the_alias_is_answered_by_the_champion_and_recorded(tmp_path: Path, vllm: FakeVllm) -> None:
    async with running(tmp_path, vllm.url, ROUTE) as gateway:
        status, body, headers = await gateway.ask(X_Flywheel_Session="s1", X_Flywheel_Dim_Tenant="acme")
        (noted,) = gateway.noted.attempts
    assert (status, body["choices"][0]["message"]["content"]) == (200, "base says yes")
    assert (headers["X-Flywheel-Adapter"], headers["X-Flywheel-Request"]) == ("base", noted.request_id)
    assert (noted.session, noted.dimensions, noted.client, noted.route_version) == ("s1", {"tenant": "acme"}, "app", 1)
    assert (noted.reply.status, noted.reply.error, noted.body, noted.added, noted.arm) == (200, None, AS_SERVED, (), Arm.CHAMPION)
    assert vllm.requests == [{**QUESTION, "model": "base"}]


async def test_a_stream_passes_through_and_is_recorded_as_one_answer(tmp_path: Path, vllm: FakeVllm) -> None:
    async with running(tmp_path, vllm.url, ROUTE) as gateway:
        head = {"Authorization": "Bearer app"}
        async with gateway.client.post(gateway.url + "/v1/chat/completions", json={**QUESTION, "stream": True}, headers=head) as answer:
            text = (await answer.read()).decode()
            assert (answer.content_type, answer.headers["X-Flywheel-Adapter"]) == ("text/event-stream", "base")
        (noted,) = await gateway.noted.until(1)
    assert text.rstrip().endswith("data: [DONE]")
    assert noted.reply.response is not None
    assert noted.reply.response["choices"][0]["message"]["content"] == "base says yes"


async def test_a_session_always_meets_the_same_arm(tmp_path: Path, vllm: FakeVllm) -> None:
    async with running(tmp_path, vllm.url, replace(CANARY, share=0.5)) as gateway:
        met = {
            name: {(await gateway.ask(X_Flywheel_Session=name))[2]["X-Flywheel-Adapter"] for _ in range(3)} for name in map(str, range(20))
        }
    assert all(len(adapters) == 1 for adapters in met.values())
    assert {adapter for adapters in met.values() for adapter in adapters} == {"base", NEW}


async def test_openai_user_is_the_session_where_the_header_is_missing(tmp_path: Path, vllm: FakeVllm) -> None:
    async with running(tmp_path, vllm.url, ROUTE) as gateway:
        await gateway.ask({**QUESTION, "user": "u7"})
        await gateway.ask()
        first, second = gateway.noted.attempts
    assert (first.session, second.session) == ("u7", second.request_id)


async def test_a_session_that_is_not_utf_8_is_answered_and_can_be_recorded(tmp_path: Path, vllm: FakeVllm) -> None:
    body = json.dumps(QUESTION).encode()
    head = (
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\nAuthorization: Bearer app\r\n"
        b"Content-Type: application/json\r\nX-Flywheel-Session: caf\xe9\r\nX-Flywheel-Dim-Tenant: \xff\r\n"
    )
    async with running(tmp_path, vllm.url, CANARY) as here:
        port = int(here.url.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        answer = await reader.read()
        writer.close()
        (attempt,) = await here.noted.until(1)
    assert answer.startswith(b"HTTP/1.1 200")
    assert (attempt.session, attempt.dimensions) == ("caf\ufffd", {"tenant": "\ufffd"})


@pytest.mark.parametrize("failure", [(500, "broken"), (503, "dead"), (404, "not loaded")])
async def test_a_failed_canary_is_answered_by_the_champion_in_two_attempts(
    tmp_path: Path, vllm: FakeVllm, failure: tuple[int, str]
) -> None:
    vllm.failing[NEW] = failure
    async with running(tmp_path, vllm.url, CANARY) as gateway:
        for body in (QUESTION, {**QUESTION, "stream": True}):
            head = {"Authorization": "Bearer app"}
            async with gateway.client.post(gateway.url + "/v1/chat/completions", json=body, headers=head) as answer:
                assert (answer.status, answer.headers["X-Flywheel-Adapter"]) == (200, "base")
                await answer.read()
        noted = await gateway.noted.until(4)
    assert [(one.arm, one.number, one.reply.status) for one in noted] == 2 * [(Arm.CANARY, 1, failure[0]), (Arm.CHAMPION, 2, 200)]
    assert len({one.request_id for one in noted[:2]}) == 1


async def test_a_failed_holdout_is_answered_by_the_champion(tmp_path: Path, vllm: FakeVllm) -> None:
    vllm.failing[NEW] = (500, "broken")
    async with running(tmp_path, vllm.url, replace(CANARY, challenger_arm=Arm.HOLDOUT)) as gateway:
        head = {"Authorization": "Bearer app"}
        async with gateway.client.post(gateway.url + "/v1/chat/completions", json=QUESTION, headers=head) as answer:
            assert (answer.status, answer.headers["X-Flywheel-Adapter"]) == (200, "base")
        noted = await gateway.noted.until(2)
    assert [(one.arm, one.number, one.reply.status) for one in noted] == [(Arm.HOLDOUT, 1, 500), (Arm.CHAMPION, 2, 200)]


async def test_a_request_that_vllm_refuses_is_not_the_canarys_fault(tmp_path: Path, vllm: FakeVllm) -> None:
    vllm.failing[NEW] = (400, "too long")
    async with running(tmp_path, vllm.url, CANARY) as gateway:
        status, body, _ = await gateway.ask()
    assert (status, body["error"]["message"], len(gateway.noted.attempts)) == (400, "too long", 1)


async def test_with_vllm_gone_the_user_is_told_when_to_try_again(tmp_path: Path) -> None:
    async with running(tmp_path, "http://127.0.0.1:9", CANARY) as gateway:
        status, body, headers = await gateway.ask()
    assert (status, body["error"]["type"], headers["Retry-After"]) == (503, "server_error", "5")
    assert [(one.arm, one.reply.status) for one in gateway.noted.attempts] == [(Arm.CANARY, 0), (Arm.CHAMPION, 0)]


async def test_a_shadow_is_asked_after_the_user_and_reaches_nobody(tmp_path: Path, vllm: FakeVllm) -> None:
    async with running(tmp_path, vllm.url, SHADOW) as gateway:
        _, body, headers = await gateway.ask({**QUESTION, "stream": False})
        champion, shadow = await gateway.noted.until(2)
    assert headers["X-Flywheel-Adapter"] == "base"
    assert body["choices"][0]["message"]["content"] == "base says yes"
    assert (champion.arm, shadow.arm, shadow.adapter, shadow.request_id) == (Arm.CHAMPION, Arm.SHADOW, NEW, champion.request_id)
    assert shadow.reply.response is not None


async def test_a_failing_shadow_harms_nobody(tmp_path: Path, vllm: FakeVllm) -> None:
    vllm.failing[NEW] = (500, "broken")
    async with running(tmp_path, vllm.url, SHADOW) as gateway:
        answers = [(await gateway.ask())[0] for _ in range(3)]
        noted = await gateway.noted.until(6)
    assert answers == [200, 200, 200]
    assert [one.reply.status for one in noted if one.arm is Arm.SHADOW] == [500, 500, 500]


async def test_a_user_who_goes_away_frees_vllm_and_is_recorded(tmp_path: Path, vllm: FakeVllm) -> None:
    vllm.delay = 60
    async with running(tmp_path, vllm.url, ROUTE) as gateway:
        waiting = asyncio.create_task(gateway.ask())
        async with asyncio.timeout(30):
            while not vllm.requests:  # noqa: ASYNC110 (what it waits for happens outside this loop)
                await asyncio.sleep(0.01)
        waiting.cancel()
        (noted,) = await gateway.noted.until(1)
    assert (noted.reply.status, noted.reply.error) == (499, "client_closed")


@pytest.mark.parametrize(
    ("token", "model", "status"),
    [
        ("nobody", "router-alias", 401),
        ("stranger", "router-alias", 404),
        ("app", "base", 404),
        ("app", NEW, 404),
        ("app", "no-such", 404),
        ("nobody", "no-such", 401),
        ("operator", "router-alias", 404),
        ("operator", NEW, 200),
        ("their-operator", NEW, 404),
        ("their-operator", "unloaded", 404),
        ("operator", "no-such", 404),
        ("app", "other-alias", 503),
    ],
)
async def test_who_may_ask_what(tmp_path: Path, vllm: FakeVllm, token: str, model: str, status: int) -> None:
    async with running(tmp_path, vllm.url, CANARY) as gateway:
        got, body, _ = await gateway.ask({**QUESTION, "model": model}, token=token)
    assert got == status
    if status >= 400:
        assert body["error"]["message"]
    assert gateway.noted.attempts == []


async def test_a_model_of_others_is_answered_like_one_that_there_is_not(tmp_path: Path, vllm: FakeVllm) -> None:
    async with running(tmp_path, vllm.url, CANARY) as gateway:
        for token, theirs in (("stranger", "router-alias"), ("stranger", NEW), ("their-operator", NEW), ("their-operator", "router-alias")):
            for path in ("/v1/chat/completions", "/v1/embeddings"):
                answers = [await gateway.ask({**QUESTION, "model": name}, token=token, path=path) for name in (theirs, "no-such")]
                assert [(status, str(told).replace(theirs, "no-such")) for status, told, _ in answers] == [(404, str(answers[1][1]))] * 2


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"model": 3}', b"\xff", b'{"messages": []}'])
async def test_a_broken_body_gets_400_with_the_place(tmp_path: Path, vllm: FakeVllm, body: bytes) -> None:
    async with (
        running(tmp_path, vllm.url, ROUTE) as gateway,
        gateway.client.post(gateway.url + "/v1/chat/completions", data=body, headers={"Authorization": "Bearer app"}) as answer,
    ):
        told = (await answer.json())["error"]
    assert (answer.status, told["where"].startswith("body")) == (400, True)
    assert set(told) >= {"where", "value", "reason", "remedy", "message", "type"}


async def test_only_aliases_are_listed_and_only_those_the_token_covers(tmp_path: Path, vllm: FakeVllm) -> None:
    async with running(tmp_path, vllm.url, CANARY) as gateway:
        listed = {}
        for token in ("app", "stranger"):
            async with gateway.client.get(gateway.url + "/v1/models", headers={"Authorization": f"Bearer {token}"}) as answer:
                listed[token] = [one["id"] for one in (await answer.json())["data"]]
    assert listed == {"app": ["router-alias", "other-alias"], "stranger": ["other-alias"]}


async def test_plain_completions_pass_through_unrecorded(tmp_path: Path, vllm: FakeVllm) -> None:
    async with running(tmp_path, vllm.url, ROUTE) as gateway:
        status, body, _ = await gateway.ask({"model": "router-alias", "prompt": "hi"}, path="/v1/completions")
    assert (status, body["choices"][0]["text"], gateway.noted.attempts) == (200, "base says yes", [])


async def test_a_pushed_route_is_in_force_when_the_answer_is_out(tmp_path: Path, vllm: FakeVllm) -> None:
    head = {"Authorization": "Bearer between-us"}
    async with running(tmp_path, vllm.url, ROUTE) as gateway:
        for route, applied in ((CANARY, 2), (ROUTE, 2), (replace(ROUTE, version=7), 7)):
            async with gateway.client.put(gateway.url + "/admin/route", json=to_wire(route), headers=head) as answer:
                assert await answer.json() == {"applied": applied}
        async with gateway.client.get(gateway.url + "/admin/routes", headers=head) as answer:
            assert await answer.json() == {"router": 7}
        for body, status in ({**to_wire(ROUTE), "version": "x"}, 400), ({**to_wire(ROUTE), "workload": "unknown"}, 404):
            async with gateway.client.put(gateway.url + "/admin/route", json=body, headers=head) as answer:
                assert answer.status == status
        async with gateway.client.put(
            gateway.url + "/admin/route", json=to_wire(CANARY), headers={"Authorization": "Bearer operator"}
        ) as answer:
            assert answer.status == 403
    restarted = RouteTable(workloads=[ROUTER], disk=RouteFiles(tmp_path / "routes"))
    restarted.restore()
    assert restarted.in_force(ROUTER) == replace(ROUTE, version=7)
