"""Requests as clients send them: bodies that cannot be forwarded, sessions, defaults, usage, models, web pages."""

import asyncio
import gzip
import json
import time
import zlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flywheel.ids import WorkloadId
from flywheel.traffic.inference import Arm
from flywheel.traffic.request_policy import RequestPolicy
from services.gateway.proxy import CHATS
from services.gateway.read_request import MOST_LEVELS
from services.gateway.traffic_event import event_data
from services.integrations.kafka.event_codec import TRAFFIC_TYPE, decode_traffic
from services.ports.cloud_events import encode
from services.settings.sections import Requests
from tests.fakes.vllm_server import FakeVllm
from tests.services.gateway.gateway_parts import MailRedactor
from tests.services.gateway.running_gateway import CANARY, LIVE, NEW, QUESTION, ROUTE, SHADOW, Running, running

MESSAGES = b'"messages":[{"role":"user","content":"hi"}]'
PAGE = "https://app.example.org"


@pytest.fixture
async def vllm() -> AsyncIterator[FakeVllm]:
    server = FakeVllm(answers=lambda model, messages: f"{model} says yes", adapters={NEW: "/x"})
    await asyncio.to_thread(server.start)
    yield server
    await asyncio.to_thread(server.stop)


def nested(levels: int, *, kind: str = "[]") -> bytes:
    """A body with a field that is ``levels`` deep."""
    inner = b"[" * levels + b"]" * levels if kind == "[]" else b'{"a":' * levels + b"1" + b"}" * levels
    return b'{"model":"router-alias",' + MESSAGES + b',"metadata":' + inner + b"}"


@pytest.mark.parametrize(
    ("raw", "status", "where"),
    [
        (b"", 400, "body"),
        (b"not json", 400, "body"),
        (b'{"model":"router-alias",', 400, "body"),
        (b"[]", 400, "body"),
        (b'"text"', 400, "body"),
        (b"null", 400, "body"),
        (b"\xff\xfe", 400, "body"),
        (b'{"model":"router-alias","temperature":NaN}', 400, "body.temperature"),
        (b'{"model":"router-alias","temperature":-Infinity}', 400, "body.temperature"),
        (b'{"model":"router-alias","stop":["a",{"b":1e999}]}', 400, "body.stop[1].b"),
        (b'{"model":"router-alias","tools":[{"enum":[18446744073709551615,18446744073709551616]}]}', 400, "body.tools[0].enum[1]"),
        (b'{"model":"router-alias","seed":-9223372036854775809}', 400, "body.seed"),
        (b'{"model":"router-alias","seed":' + b"9" * 5_000 + b"}", 400, "body"),
        (b'{"model":"router-alias","messages":[{"role":"user","content":"\\ud83d"}]}', 400, "body.messages[0].content"),
        (b'{"model":"router-alias","user":"' + b"x" * 2_000_000 + b'\\ud83d"}', 400, "body"),
        (b'{"model":"router-alias","a":' + b"[" * 5_000 + b"NaN" + b"]" * 5_000 + b"}", 400, "body"),
        (b'{"model":"router-alias","\\udc00":1}', 400, "body"),
        (b'{"model":"router-alias","messages":[{"role":"user","content":"caf\xe9"}]}', 400, "body"),
        (b'{"model":"router-alias"}', 400, "body.messages"),
        (b'{"model":"router-alias","messages":[]}', 400, "body.messages"),
        (b'{"model":"router-alias","messages":"hi"}', 400, "body.messages"),
        (b'{"model":"router-alias","messages":["hi"]}', 400, "body.messages[0]"),
        (b'{"model":"router-alias","messages":[{"role":"user","content":"hi"},{"content":"hi"}]}', 400, "body.messages[1].role"),
        (b"{" + MESSAGES + b"}", 400, "body.model"),
        (b'{"model":null,' + MESSAGES + b"}", 400, "body.model"),
        (b'{"model":"",' + MESSAGES + b"}", 400, "body.model"),
        (b'{"model":7,' + MESSAGES + b"}", 400, "body.model"),
        (b'{"model":["router-alias"],' + MESSAGES + b"}", 400, "body.model"),
        (b'{"model":"gpt-4o",' + MESSAGES + b"}", 404, "model"),
        (b'{"model":"router-alias ",' + MESSAGES + b"}", 404, "model"),
        (b'{"model":"\\u0000",' + MESSAGES + b"}", 404, "model"),
        (nested(100), 400, "body.metadata"),
        (nested(100, kind="{}"), 400, "body.metadata"),
        (nested(300), 400, "body.metadata"),
        (nested(900), 400, "body.metadata"),
        (nested(100_000), 400, "body"),
        (nested(100_000, kind="{}"), 400, "body"),
    ],
)
async def test_a_body_that_cannot_be_forwarded_is_refused_in_openais_form(
    tmp_path: Path, vllm: FakeVllm, raw: bytes, status: int, where: str
) -> None:
    async with running(tmp_path, vllm.url, ROUTE) as gateway:
        got, body, _ = await gateway.send(raw)
        again, *_ = await gateway.ask()
    error = body["error"]
    assert (got, error["type"], error["where"]) == (status, "invalid_request_error", where)
    assert len(json.dumps(body)) < 2_000
    assert set(error) >= {"message", "type", "param", "code", "where", "value", "reason", "remedy"}
    assert (again, len(vllm.requests), len(gateway.noted.attempts)) == (200, 1, 1)


async def test_as_many_levels_as_can_be_recorded_are_forwarded(tmp_path: Path, vllm: FakeVllm) -> None:
    async with running(tmp_path, vllm.url, ROUTE) as gateway:
        for levels in (1, MOST_LEVELS - 1):
            status, _, _ = await gateway.send(nested(levels))
            assert status == 200
        brackets = json.dumps({**QUESTION, "messages": [{"role": "user", "content": "[{" * 500}]}).encode()
        assert (await gateway.send(brackets))[0] == 200
    assert len(vllm.requests) == 3


async def test_long_numbers_that_stay_as_they_are_are_served(tmp_path: Path, vllm: FakeVllm) -> None:
    question = {**QUESTION, "messages": [{"role": "user", "content": f"call {10**40}"}], "seed": 2**64 - 1, "priority": -(2**63)}
    async with running(tmp_path, vllm.url, ROUTE) as gateway:
        assert (await gateway.send(json.dumps(question).encode()))[0] == 200
    assert {name: vllm.requests[-1][name] for name in ("messages", "seed", "priority")} == {
        name: question[name] for name in ("messages", "seed", "priority")
    }


@pytest.mark.parametrize(
    ("raw", "value", "reason"),
    [
        (b'{"model":"router-alias","seed":123456789012345678901}', "123456789012345678901", "is a whole number of over 64 bits"),
        (b'{"model":"router-alias","temperature":NaN,"a":"' + "é".encode() + b'"}', "nan", "is not a finite number"),
        (b'{"model":"router-alias","user":"x\\ud83d"}', "x\\ud83d", "holds half of a character (a lone surrogate)"),
        (b'{"model":"router-alias","temperature":0,5}', 'temperature":0,5}', "is not JSON in UTF-8"),
        (nested(300), "a list", "is nested over 100 levels deep"),
        (b'{"model":"router-alias","messages":[7]}', 7, "must be an object"),
    ],
)
async def test_a_refusal_shows_the_value_and_the_reason(tmp_path: Path, vllm: FakeVllm, raw: bytes, value: object, reason: str) -> None:
    async with running(tmp_path, vllm.url, ROUTE) as gateway:
        _, body, _ = await gateway.send(raw)
    error = body["error"]
    assert value == error["value"] or value in error["value"]
    assert error["reason"].startswith(reason)
    assert error["remedy"]


async def test_a_byte_order_mark_is_passed_over(tmp_path: Path, vllm: FakeVllm) -> None:
    async with running(tmp_path, vllm.url, ROUTE) as gateway:
        assert (await gateway.send(b"\xef\xbb\xbf" + json.dumps(QUESTION).encode()))[0] == 200


async def test_a_compressed_body_is_read(tmp_path: Path, vllm: FakeVllm) -> None:
    async with running(tmp_path, vllm.url, ROUTE) as gateway:
        status, _, _ = await gateway.send(gzip.compress(json.dumps(QUESTION).encode()), Content_Encoding="gzip")
    assert (status, vllm.requests) == (200, [{**QUESTION, "model": "base"}])


PACKED = json.dumps(QUESTION).encode()
RAW_DEFLATE = zlib.compressobj(wbits=-zlib.MAX_WBITS)
WAYS_TO_PACK = [
    ("deflate", zlib.compress(PACKED), 200),
    ("deflate", RAW_DEFLATE.compress(PACKED) + RAW_DEFLATE.flush(), 200),
    ("GZIP", gzip.compress(PACKED), 200),
    ("identity", PACKED, 200),
    ("gzip", PACKED, 400),
    ("gzip", gzip.compress(PACKED)[:-9], 400),
    ("br", PACKED, 415),
    ("gzip, gzip", gzip.compress(gzip.compress(PACKED)), 415),
]


@pytest.mark.parametrize(("encoding", "raw", "expected"), WAYS_TO_PACK)
async def test_what_is_packed_in_another_way_is_read_or_refused(
    tmp_path: Path, vllm: FakeVllm, encoding: str, raw: bytes, expected: int
) -> None:
    async with running(tmp_path, vllm.url, ROUTE) as gateway:
        status, body, _ = await gateway.send(raw, Content_Encoding=encoding)
    assert (status, set(body.get("error", {"message": 1}).keys()) >= {"message"}) == (expected, True)


async def test_what_unpacks_to_hundreds_of_megabytes_is_unpacked_to_a_bound_while_others_are_served(tmp_path: Path, vllm: FakeVllm) -> None:
    """The same CPU time for a bomb of ten times the size, and another user's request comes through meanwhile."""
    bombs = [gzip.compress(b" " * size * 1024**2, compresslevel=1) for size in (40, 400)]
    spent = []
    async with running(tmp_path, vllm.url, ROUTE) as gateway:
        for bomb in bombs:
            began = time.process_time()
            (status, body, _), (beside, _, _) = await asyncio.gather(gateway.send(bomb, Content_Encoding="gzip"), gateway.ask())
            spent.append(time.process_time() - began)
            assert (status, body["error"]["type"], beside) == (413, "invalid_request_error", 200)
    assert spent[1] < 4 * spent[0] + 0.1


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nX-Request-ID: a\x01b\r\n\r\n", 400),
        (b"GET /v1/models HTTP/1.1\r\nHost: a\r\nX-Long: " + b"y" * 9_000 + b"\r\n\r\n", 400),
        (b"GET /v1/models HTTP/1.1\r\nHost: a\r\nContent-Type: a\r\nContent-Type: b\r\n\r\n", 400),
        (b"GET /v1/models HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"GET /v1/models HTTP/1.1\r\nHost: a\r\nExpect: gifts\r\nConnection: close\r\n\r\n", 417),
        (b"\x16\x03\x01\x02\x00\x01\x00 TLS\r\n\r\n", 400),
        (b"secret\r\n\r\n", 400),
    ],
)
async def test_what_is_no_http_gets_openais_form_and_leaves_no_trace(
    tmp_path: Path, vllm: FakeVllm, head: bytes, status: int, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    async with running(tmp_path, vllm.url, ROUTE) as gateway:
        reader, writer = await asyncio.open_connection(*gateway.url.removeprefix("http://").split(":"))
        writer.write(head)
        answer = await reader.read()
        writer.close()
    first, _, body = answer.partition(b"\r\n\r\n")
    assert int(first.split()[1]) == status
    assert json.loads(body)["error"]["type"] == "invalid_request_error"
    told = caplog.text + capsys.readouterr().out
    assert ("Traceback" in told, "secret" in told, "yyy" in told) == (False, False, False)


async def test_a_client_may_wait_for_the_word_to_go_on(tmp_path: Path, vllm: FakeVllm) -> None:
    async with running(tmp_path, vllm.url, ROUTE) as gateway:
        head = {"Authorization": "Bearer app"}
        async with gateway.client.post(gateway.url + "/v1/chat/completions", json=QUESTION, headers=head, expect100=True) as answer:
            assert answer.status == 200


async def test_a_body_over_32_mib_is_413_in_openais_form(tmp_path: Path, vllm: FakeVllm) -> None:
    async with running(tmp_path, vllm.url, ROUTE) as gateway:
        status, body, _ = await gateway.send(b'{"a":"' + b"x" * 33 * 1024**2 + b'"}')
    assert (status, body["error"]["type"]) == (413, "invalid_request_error")


async def test_a_method_that_is_not_served_is_405_in_openais_form(tmp_path: Path, vllm: FakeVllm) -> None:
    async with running(tmp_path, vllm.url, ROUTE) as gateway:
        for method in ("PUT", "DELETE", "PATCH"):
            status, body, headers = await gateway.ask(method=method)
            assert (status, body["error"]["type"], "POST" in headers["Allow"]) == (405, "invalid_request_error", True)


async def test_a_failure_that_nobody_foresaw_is_500_in_openais_form(
    tmp_path: Path, vllm: FakeVllm, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async with running(tmp_path, vllm.url, ROUTE) as gateway:
        monkeypatch.setattr(gateway.table, "serving", lambda *_, **__: 1 / 0)
        status, body, _ = await gateway.ask({**QUESTION, "messages": [{"role": "user", "content": "secret"}]})
    assert (status, body["error"]["type"], "ZeroDivision" in body["error"]["message"]) == (500, "server_error", False)
    logged = capsys.readouterr().out
    assert "ZeroDivisionError" in logged
    assert "secret" not in logged


# The session


SOURCES: list[tuple[dict[str, Any], str]] = [
    ({"user": "u1"}, "u1"),
    ({"safety_identifier": "s1"}, "s1"),
    ({"prompt_cache_key": "k1"}, "k1"),
    ({"metadata": {"session_id": "m1"}}, "m1"),
    ({"metadata": {"session_id": 12}}, "12"),
    ({"user": " ", "safety_identifier": None, "prompt_cache_key": ["x"], "metadata": {"session_id": "m1"}}, "m1"),
    ({"user": "u1", "safety_identifier": "s1", "metadata": {"session_id": "m1"}}, "u1"),
    ({"metadata": "m1", "prompt_cache_key": "k1"}, "k1"),
    ({"user": "u\x001\x1b[31m\n"}, "u\N{REPLACEMENT CHARACTER}1\N{REPLACEMENT CHARACTER}[31m"),
    ({"user": "\n", "prompt_cache_key": "k1"}, "k1"),
]


@pytest.mark.parametrize(("more", "session"), SOURCES)
async def test_a_conversation_is_one_session_wherever_clients_put_it(
    tmp_path: Path, vllm: FakeVllm, more: Mapping[str, Any], session: str
) -> None:
    async with running(tmp_path, vllm.url, replace(CANARY, share=0.34)) as gateway:
        met = {(await gateway.ask({**QUESTION, **more}))[2]["X-Flywheel-Adapter"] for _ in range(6)}
    assert len(met) == 1
    assert {one.session for one in gateway.noted.attempts} == {session}


async def test_the_header_comes_before_the_fields_by_default(tmp_path: Path, vllm: FakeVllm) -> None:
    async with running(tmp_path, vllm.url, ROUTE) as gateway:
        await gateway.ask({**QUESTION, "user": "u1"}, X_Flywheel_Session="h1")
    assert gateway.noted.attempts[0].session == "h1"


async def test_what_odd_clients_send_in_headers_can_be_recorded(tmp_path: Path, vllm: FakeVllm) -> None:
    many = {f"X-Flywheel-Dim-{number}": "x" for number in range(100)}
    odd = {"X-Flywheel-Dim-": "x", f"X-Flywheel-Dim-{'n' * 3000}": "\x85", "X-Request-ID": "\x9b31m", "X-Flywheel-Session": "\x80"}
    async with running(tmp_path, vllm.url, ROUTE) as gateway:
        assert (await gateway.ask(QUESTION, **many, **odd))[0] == 200
    read = decode_traffic(
        encode(
            type=TRAFFIC_TYPE,
            id="event-1",
            workload=WorkloadId("router"),
            time=gateway.noted.attempts[0].arrived_at,
            data=event_data(gateway.noted.attempts[0], redactor=MailRedactor()),
        )
    )
    assert len(read.dimensions) == 20


async def test_a_role_of_a_hundred_thousand_characters_is_refused_before_a_model_is_asked(tmp_path: Path, vllm: FakeVllm) -> None:
    async with running(tmp_path, vllm.url, ROUTE) as gateway:
        status, body, _ = await gateway.ask({**QUESTION, "messages": [{"role": "r" * 100_000, "content": "hi"}]})
    assert (status, vllm.requests) == (400, [])
    assert "messages[0].role" in body["error"]["message"]


async def test_the_order_of_the_sources_is_a_setting(tmp_path: Path, vllm: FakeVllm) -> None:
    requests = Requests(session_from=("metadata.session_id", "header"))
    async with running(tmp_path, vllm.url, ROUTE, requests=requests) as gateway:
        await gateway.ask({**QUESTION, "user": "u1", "metadata": {"session_id": "m1"}}, X_Flywheel_Session="h1")
        await gateway.ask({**QUESTION, "user": "u1"}, X_Flywheel_Session="h1")
        await gateway.ask({**QUESTION, "user": "u1"})
    first, second, third = gateway.noted.attempts
    assert (first.session, second.session, third.session) == ("m1", "h1", third.request_id)


async def test_requests_without_a_session_are_counted(tmp_path: Path, vllm: FakeVllm) -> None:
    before = [CHATS.labels("router", kind)._value.get() for kind in ("with_session", "without_session")]
    async with running(tmp_path, vllm.url, ROUTE) as gateway:
        for body in (QUESTION, QUESTION, {**QUESTION, "user": "u1"}):
            await gateway.ask(body)
        counted = await gateway.ask(path="/admin/requests", method="GET", token="between-us")
        refused = await gateway.ask(path="/admin/requests", method="GET", token="operator")
        async with gateway.client.get(gateway.url + "/metrics") as answer:
            text = await answer.text()
    after = [CHATS.labels("router", kind)._value.get() for kind in ("with_session", "without_session")]
    assert (counted[1], refused[0]) == ({"router": {"with_session": 1, "without_session": 2}}, 403)
    assert [late - early for early, late in zip(before, after, strict=True)] == [1, 2]
    assert 'flywheel_gateway_chat_requests_total{kind="without_session",workload="router"}' in text


# What the gateway adds


async def test_what_the_gateway_adds_is_served_recorded_and_marked(tmp_path: Path, vllm: FakeVllm) -> None:
    policy = RequestPolicy(system_prompt="Be brief.", defaults={"temperature": 0.2}, caps={"max_tokens": 100})
    as_got = {
        "messages": [{"role": "system", "content": "Be brief."}, *QUESTION["messages"]],
        "temperature": 0.2,
        "max_tokens": 100,
        "user": "u1",
    }
    async with running(tmp_path, vllm.url, SHADOW, policy=policy) as gateway:
        await gateway.ask({**QUESTION, "user": "u1"})
        champion, shadow = await gateway.noted.until(2)
    assert [body for body in vllm.requests if body["model"] == "base"] == [{**as_got, "model": "base"}]
    assert [body for body in vllm.requests if body["model"] == NEW] == [{**as_got, "model": NEW}]
    assert (champion.body, champion.added) == (as_got, ("messages[0]", "temperature", "max_tokens"))
    assert (shadow.arm, shadow.body, shadow.added) == (Arm.SHADOW, champion.body, champion.added)


async def test_an_operator_who_asks_an_adapter_by_name_gets_it_as_it_is(tmp_path: Path, vllm: FakeVllm) -> None:
    async with running(tmp_path, vllm.url, LIVE, policy=RequestPolicy(system_prompt="Be brief.")) as gateway:
        _, body, headers = await gateway.ask({**QUESTION, "model": NEW}, token="operator")
    assert (body["model"], headers["X-Flywheel-Adapter"], vllm.requests) == (NEW, NEW, [{**QUESTION, "model": NEW}])


# Usage


def usages(content: bytes) -> list[Any]:
    chunks = [json.loads(line[6:]) for line in content.decode().splitlines() if line.startswith("data: {")]
    return [chunk["usage"] for chunk in chunks if "usage" in chunk]


@pytest.mark.parametrize(
    ("options", "sent", "shown"),
    [
        ({}, {"include_usage": True}, 0),
        ({"stream_options": None}, {"include_usage": True}, 0),
        ({"stream_options": {}}, {"include_usage": True}, 0),
        ({"stream_options": {"include_usage": False, "continuous_usage_stats": True}}, {"include_usage": True}, 0),
        ({"stream_options": {"include_usage": True}}, {"include_usage": True}, 1),
        ({"stream_options": {"include_obfuscation": False}}, {"include_obfuscation": False, "include_usage": True}, 0),
    ],
)
async def test_usage_is_recorded_and_shown_only_to_clients_that_ask(
    tmp_path: Path, vllm: FakeVllm, options: dict[str, Any], sent: dict[str, Any], shown: int
) -> None:
    async with running(tmp_path, vllm.url, ROUTE) as gateway:
        status, content = await gateway.stream({**QUESTION, **options})
        (noted,) = await gateway.noted.until(1)
    assert (status, vllm.requests[0]["stream_options"], len(usages(content))) == (200, sent, shown)
    assert noted.reply.response is not None
    assert noted.reply.response["usage"]["prompt_tokens"] == 10
    assert noted.body == {"messages": QUESTION["messages"], "stream": True, **options}


@pytest.mark.parametrize("stream", [True, "true", "True", 1])
async def test_a_stream_asked_for_in_any_way_ends_with_its_usage(tmp_path: Path, vllm: FakeVllm, stream: Any) -> None:
    async with running(tmp_path, vllm.url, ROUTE) as gateway:
        head = {"Authorization": "Bearer app"}
        async with gateway.client.post(f"{gateway.url}/v1/chat/completions", json={**QUESTION, "stream": stream}, headers=head) as answer:
            assert (answer.content_type, usages(await answer.read())) == ("text/event-stream", [])
        (noted,) = await gateway.noted.until(1)
    assert noted.reply.response is not None
    assert "usage" in noted.reply.response


async def test_stream_options_that_fit_no_stream_are_left_to_the_model_server(tmp_path: Path, vllm: FakeVllm) -> None:
    async with running(tmp_path, vllm.url, ROUTE) as gateway:
        status, body, _ = await gateway.ask({**QUESTION, "stream_options": {"include_usage": True}})
        await gateway.stream({**QUESTION, "stream_options": "x"})
    assert (status, body["error"]["param"]) == (400, "stream_options")
    assert [one.get("stream_options") for one in vllm.requests] == [{"include_usage": True}, "x"]


# Models


async def test_a_model_is_retrieved_by_its_alias(tmp_path: Path, vllm: FakeVllm) -> None:
    async with running(tmp_path, vllm.url, CANARY) as gateway:
        _, listed, _ = await gateway.ask(path="/v1/models", method="GET")
        status, one, _ = await gateway.ask(path="/v1/models/router-alias", method="GET")
        assert (status, one) == (200, listed["data"][0])
        assert one == {"id": "router-alias", "object": "model", "created": 0, "owned_by": "flywheel"}
        for name, token, expected in (
            ("base", "app", 404),
            (NEW, "app", 404),
            ("a/b%20c", "app", 404),
            ("router-alias", "stranger", 404),
            ("router-alias", "nobody", 401),
            ("router-alias", "operator", 403),
        ):
            status, body, _ = await gateway.ask(path=f"/v1/models/{name}", method="GET", token=token)
            assert (status, body["error"]["code"]) == (expected, {401: "invalid_api_key", 403: None, 404: "model_not_found"}[expected])


# Web pages


async def preflight(gateway: Running, origin: str) -> tuple[int, Mapping[str, str]]:
    asked = {"Origin": origin, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization, x-stainless-os"}
    async with gateway.client.options(f"{gateway.url}/v1/chat/completions", headers=asked) as answer:
        return answer.status, answer.headers.copy()


async def test_a_preflight_is_answered_before_the_token(tmp_path: Path, vllm: FakeVllm) -> None:
    async with running(tmp_path, vllm.url, ROUTE, cors_origins=[PAGE]) as gateway:
        status, headers = await preflight(gateway, PAGE)
    assert (status, headers["Access-Control-Allow-Origin"], headers["Access-Control-Allow-Headers"]) == (
        204,
        PAGE,
        "authorization, x-stainless-os",
    )
    assert "POST" in headers["Access-Control-Allow-Methods"]


async def test_an_allowed_page_can_read_answers_errors_and_streams(tmp_path: Path, vllm: FakeVllm) -> None:
    async with running(tmp_path, vllm.url, ROUTE, cors_origins=[PAGE]) as gateway:
        answers = [
            await gateway.ask(Origin=PAGE),
            await gateway.ask(Origin=PAGE, token="nobody"),
            await gateway.ask(path="/v1/nothing", Origin=PAGE),
        ]
        head = {"Authorization": "Bearer app", "Origin": PAGE}
        async with gateway.client.post(f"{gateway.url}/v1/chat/completions", json={**QUESTION, "stream": True}, headers=head) as answer:
            streamed = answer.headers.copy()
            await answer.read()
    assert [status for status, _, _ in answers] == [200, 401, 404]
    for headers in (*(headers for _, _, headers in answers), streamed):
        assert (headers.getall("Access-Control-Allow-Origin"), headers["Vary"]) == ([PAGE], "Origin")
        assert {"X-Flywheel-Request", "X-Flywheel-Adapter"} <= set(headers["Access-Control-Expose-Headers"].split(", "))


@pytest.mark.parametrize(
    ("origins", "origin"), [((), PAGE), ((PAGE,), "https://evil.example.org"), ((PAGE,), f"{PAGE}.evil.org"), ((PAGE,), "null")]
)
async def test_another_page_can_read_nothing(tmp_path: Path, vllm: FakeVllm, origins: tuple[str, ...], origin: str) -> None:
    async with running(tmp_path, vllm.url, ROUTE, cors_origins=origins) as gateway:
        refused, headers = await preflight(gateway, origin)
        _, _, answered = await gateway.ask(Origin=origin)
    assert refused == 405
    assert not any(name.lower().startswith("access-control") for name in (*headers, *answered))


async def test_every_page_may_be_allowed_and_the_daemons_own_routes_never(tmp_path: Path, vllm: FakeVllm) -> None:
    async with running(tmp_path, vllm.url, ROUTE, cors_origins=["*"]) as gateway:
        assert (await preflight(gateway, "https://any.example.org"))[0] == 204
        async with gateway.client.get(f"{gateway.url}/readyz", headers={"Origin": PAGE}) as answer:
            assert "Access-Control-Allow-Origin" not in answer.headers
