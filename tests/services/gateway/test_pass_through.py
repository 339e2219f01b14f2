"""What the model server serves beside chat: who may use it, under which name, and what stays out of reach."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from flywheel.traffic.request_policy import RequestPolicy
from services.gateway.pass_through import PASSED
from services.settings.sections import PASSED_ON
from tests.fakes.vllm_server import FakeVllm
from tests.services.gateway.running_gateway import CANARY, LIVE, NEW, QUESTION, Running, running

ALIAS = {"model": "router-alias"}
SERVED = [  # route, body, path at the model server
    ("completions", {"prompt": "hi"}, "/v1/completions"),
    ("embeddings", {"input": ["a", "b"]}, "/v1/embeddings"),
    ("responses", {"input": "hi"}, "/v1/responses"),
    ("rerank", {"query": "hi", "documents": ["a", "b"]}, "/v1/rerank"),
    ("tokenize", {"prompt": "one two"}, "/tokenize"),
]


@pytest.fixture
async def vllm() -> AsyncIterator[FakeVllm]:
    server = FakeVllm(answers=lambda model, messages: f"{model} says yes", adapters={NEW: "/x"}, embeds=True)
    await asyncio.to_thread(server.start)
    yield server
    await asyncio.to_thread(server.stop)


@pytest.mark.parametrize(("route", "body", "path"), SERVED)
async def test_other_routes_are_passed_on_to_the_champion_and_counted(
    tmp_path: Path, vllm: FakeVllm, route: str, body: dict[str, Any], path: str
) -> None:
    counted = PASSED.labels("router", route, "200")
    before = counted._value.get()
    async with running(tmp_path, vllm.url, LIVE) as gateway:
        status, answer, headers = await gateway.ask({**ALIAS, **body}, path=f"/v1/{route}")
    assert (status, headers["X-Flywheel-Adapter"], answer.get("model", "router-alias")) == (200, NEW, "router-alias")
    assert (vllm.requests, vllm.paths) == ([{**body, "model": NEW}], [path])
    assert (gateway.noted.attempts, counted._value.get() - before) == ([], 1)


@pytest.mark.parametrize(("route", "body"), [("completions", {"prompt": "hi"}), ("responses", {"input": "hi"})])
async def test_streams_of_other_routes_are_passed_on_under_the_alias(
    tmp_path: Path, vllm: FakeVllm, route: str, body: dict[str, Any]
) -> None:
    async with running(tmp_path, vllm.url, LIVE) as gateway:
        status, content = await gateway.stream({**ALIAS, **body}, path=f"/v1/{route}")
    assert (status, b"router-alias" in content, b'"model": "router-new"' in content) == (200, True, False)
    assert (gateway.noted.attempts, "stream_options" in vllm.requests[0]) == ([], False)


async def test_what_is_not_recorded_never_meets_a_canary(tmp_path: Path, vllm: FakeVllm) -> None:
    async with running(tmp_path, vllm.url, CANARY) as gateway:
        _, body, headers = await gateway.ask({**ALIAS, "prompt": "hi"}, path="/v1/completions", X_Flywheel_Session="s1")
    assert (headers["X-Flywheel-Adapter"], body["choices"][0]["text"]) == ("base", "base says yes")


async def test_a_form_with_a_file_is_passed_on_with_the_champions_name(tmp_path: Path, vllm: FakeVllm) -> None:
    async with running(tmp_path, vllm.url, LIVE) as gateway:
        sound = b'\r\nContent-Disposition: form-data; name="model"\r\n\r\nbase\r\n' + bytes(range(256))
        form = aiohttp.FormData({"model": "router-alias", "language": "en"}, quote_fields=False)
        form.add_field("file", sound, filename="a b.wav", content_type="audio/wav")
        head = {"Authorization": "Bearer app"}
        async with gateway.client.post(f"{gateway.url}/v1/audio/transcriptions", data=form, headers=head) as answer:
            assert (answer.status, await answer.json()) == (200, {"text": f"{len(sound)} bytes of audio/wav, called a b.wav"})
    assert vllm.requests == [{"model": NEW, "language": "en"}]


@pytest.mark.parametrize(
    ("content_type", "raw"),
    [
        ("multipart/form-data", b"--x\r\n"),
        ("multipart/form-data; boundary=x", b"--x\r\nbroken"),
        ("multipart/form-data; boundary=x", b'--x\r\nContent-Disposition: form-data; name="model"\r\n\r\nrouter-alias'),
        ("multipart/form-data; boundary=x", b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\nx\r\n--x--\r\n'),
        (
            "multipart/form-data; boundary=x",
            2 * b'--x\r\nContent-Disposition: form-data; name="model"\r\n\r\nrouter-alias\r\n' + b"--x--\r\n",
        ),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="model"; filename="m"\r\n\r\nrouter-alias\r\n--x--\r\n',
        ),
        (
            "multipart/form-data; boundary=x",
            b"--x\r\nContent-Disposition: form-data; name*=utf-8''a%0d%0aContent-Type:%20b\r\n\r\nx\r\n"
            b'--x\r\nContent-Disposition: form-data; name="model"\r\n\r\nrouter-alias\r\n--x--\r\n',
        ),
        ("application/json", b'{"input": "x"}'),
        ("application/json", b""),
        ("application/json", b'{"model": null, "input": "x"}'),
    ],
)
async def test_a_body_that_names_no_model_is_400(tmp_path: Path, vllm: FakeVllm, content_type: str, raw: bytes) -> None:
    async with running(tmp_path, vllm.url, LIVE) as gateway:
        status, body, _ = await gateway.send(raw, path="/v1/embeddings", Content_Type=content_type)
    assert (status, body["error"]["type"], vllm.paths) == (400, "invalid_request_error", [])


async def test_a_file_name_cannot_name_another_model(tmp_path: Path, vllm: FakeVllm) -> None:
    name = "utf-8''a%0d%0aContent-Disposition:%20form-data%3b%20name=%22model%22"
    raw = (
        b'--x\r\nContent-Disposition: form-data; name="model"\r\n\r\nrouter-alias\r\n'
        + f'--x\r\nContent-Disposition: form-data; name="file"; filename*={name}\r\n\r\nbase\r\n--x--\r\n'.encode()
    )
    async with running(tmp_path, vllm.url, LIVE) as gateway:
        status, _, _ = await gateway.send(raw, path="/v1/audio/transcriptions", Content_Type="multipart/form-data; boundary=x")
    assert (status, [one["model"] for one in vllm.requests]) in ((200, [NEW]), (400, [NEW]))


async def test_what_the_model_server_does_not_serve_is_404_in_openais_form(tmp_path: Path, vllm: FakeVllm) -> None:
    vllm.embeds = False
    async with running(tmp_path, vllm.url, LIVE) as gateway:
        status, body, _ = await gateway.ask({**ALIAS, "input": "x"}, path="/v1/embeddings")
        assert (status, body["error"]["code"]) == (404, "route_not_served")
        assert body["error"]["message"] == "the model server does not serve POST /v1/embeddings"
        status, body, _ = await gateway.ask(path="/v1/chat/completions", method="GET")
        assert (status, body["error"]["code"]) == (405, "route_not_served")


async def test_a_stored_response_needs_a_token_of_every_workload(tmp_path: Path, vllm: FakeVllm) -> None:
    async with running(tmp_path, vllm.url, LIVE) as gateway:
        found = [await gateway.ask(path="/v1/responses/resp_1?x=1", method="GET", token=token) for token in ("app", "stranger", "nobody")]
        gone, told, _ = await gateway.ask(path="/v1/responses/resp_2", method="GET")
    assert [status for status, _, _ in found] == [200, 403, 401]
    assert (gone, told["error"]["message"]) == (404, "Response with id 'resp_2' not found.")


@pytest.mark.parametrize(
    ("token", "model", "status"),
    [
        ("nobody", "router-alias", 401),
        ("stranger", "router-alias", 404),
        ("app", NEW, 404),
        ("app", "base", 404),
        ("app", "unheard-of", 404),
        ("operator", NEW, 200),
        ("operator", "unheard-of", 404),
        ("app", "other-alias", 503),
    ],
)
async def test_who_may_use_other_routes(tmp_path: Path, vllm: FakeVllm, token: str, model: str, status: int) -> None:
    async with running(tmp_path, vllm.url, LIVE) as gateway:
        got, body, _ = await gateway.ask({"model": model, "prompt": "hi"}, path="/v1/completions", token=token)
    assert got == status
    assert set(body.get("error", ())) >= ({"message", "type", "param", "code"} if status >= 400 else set())


REACHING = [
    "/v1/load_lora_adapter",
    "/v1/unload_lora_adapter",
    "/v1/metrics",
    "/v1/sleep",
    "/v1/models/../load_lora_adapter",
    "/v1/responses/../load_lora_adapter",
    "/v1/responses/%2e%2e/load_lora_adapter",
    "/v1/responses/..%2fload_lora_adapter",
    "/v1/responses%2f..%2f..%2fmetrics",
    "/v1/responses/..;/..;/metrics",
    "/v1/responses//../metrics",
    "/v1/completions/%5c..%5cmetrics",
    "/v1//load_lora_adapter",
    "//v1/load_lora_adapter",
    "/v1/completions%00/../../sleep",
    "/v1/completions/%0d%0aX: y",
    "/v1/LOAD_LORA_ADAPTER",
    "/sleep",
    "/reset_prefix_cache",
    "/tokenize",
]


async def raw_request(gateway: Running, method: str, path: str, body: bytes) -> bytes:
    """As it is written here: an HTTP client would tidy the path."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(gateway.url.rpartition(":")[2]))
    head = f"{method} {path} HTTP/1.1\r\nHost: g\r\nConnection: close\r\nAuthorization: Bearer app\r\nContent-Type: application/json\r\n"
    writer.write(head.encode() + f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
    answer = await reader.read()
    writer.close()
    return answer


@pytest.mark.parametrize("path", REACHING)
async def test_the_model_servers_administration_cannot_be_reached(tmp_path: Path, vllm: FakeVllm, path: str) -> None:
    body = b'{"model":"router-alias","lora_name":"x","lora_path":"/x","prompt":"hi"}'
    async with running(tmp_path, vllm.url, LIVE) as gateway:
        for method in ("POST", "GET", "DELETE"):
            answer = await raw_request(gateway, method, path, body)
            assert answer.split(b" ")[1][:1] == b"4", answer[:200]
    assert (vllm.paths, vllm.admin, NEW in vllm.adapters) == ([], [], True)


async def test_only_the_named_routes_are_passed_on(tmp_path: Path, vllm: FakeVllm) -> None:
    async with running(tmp_path, vllm.url, LIVE) as gateway:
        for route in PASSED_ON:
            await gateway.ask({**ALIAS, "prompt": "hi", "input": "hi"}, path=f"/v1/{route}")
        reached = len(vllm.paths)
        status, body, _ = await gateway.ask({**ALIAS}, path="/v1/fine_tuning/jobs")
    assert (status, body["error"]["type"], reached, len(vllm.paths)) == (404, "invalid_request_error", len(PASSED_ON), len(PASSED_ON))


async def test_caps_hold_on_every_route(tmp_path: Path, vllm: FakeVllm) -> None:
    policy = RequestPolicy(system_prompt="Be brief.", defaults={"top_p": 0.5}, caps={"max_tokens": 10, "n": 1})
    async with running(tmp_path, vllm.url, LIVE, policy=policy) as gateway:
        await gateway.ask({**ALIAS, "prompt": "hi", "max_tokens": 99, "n": 4}, path="/v1/completions")
        await gateway.ask({**ALIAS, "input": "hi"}, path="/v1/responses")
        await gateway.ask({**ALIAS, "input": ["hi"]}, path="/v1/embeddings")
    assert vllm.requests == [
        {"prompt": "hi", "max_tokens": 10, "n": 1, "model": NEW},
        {"input": "hi", "max_output_tokens": 10, "model": NEW},
        {"input": ["hi"], "model": NEW},
    ]


async def test_the_alias_may_be_asked_again_with_the_answers_model(tmp_path: Path, vllm: FakeVllm) -> None:
    async with running(tmp_path, vllm.url, replace(CANARY, version=3)) as gateway:
        _, first, headers = await gateway.ask(X_Flywheel_Session="s1")
        status, second, _ = await gateway.ask({**QUESTION, "model": first["model"]}, X_Flywheel_Session="s1")
        _, content = await gateway.stream(QUESTION)
    assert (first["model"], headers["X-Flywheel-Adapter"]) == ("router-alias", NEW)
    assert (status, second["model"]) == (200, "router-alias")
    assert (content.count(b'"model":"router-alias"'), content.count(b'"model":"router-new"')) == (content.count(b'"id"'), 0)
