"""What users get when the model server answers badly, late or not at all: OpenAI's form of an error, with a fitting status."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flywheel.traffic.inference import Arm
from services.settings.sections import Requests
from tests.fakes.vllm_server import FakeVllm
from tests.services.gateway.odd_server import DONE, END, HALF, RESET, STREAM, odd_server, whole
from tests.services.gateway.running_gateway import CANARY, DEADLINES, LIVE, NEW, QUESTION, ROUTE, Running, running

HTML = b"<html><head><title>502 Bad Gateway</title><style>h1 {color: red}</style></head><body><h1>502 Bad Gateway</h1></body></html>"
OPENAI_FIELDS = {"message", "type", "param", "code"}
BASE_ANSWERS = Requests(without_champion="base")
LONG = 30.0  # seconds of silence of a server; every test ends before


@pytest.fixture
async def vllm() -> AsyncIterator[FakeVllm]:
    server = FakeVllm(adapters={NEW: "/x"})
    await asyncio.to_thread(server.start)
    yield server
    await asyncio.to_thread(server.stop)


def events(content: bytes) -> list[Any]:
    """The data of a stream's events."""
    found = [line[6:] for line in content.decode().splitlines() if line.startswith("data: ")]
    return [one if one == "[DONE]" else json.loads(one) for one in found]


@pytest.mark.parametrize(
    ("content", "content_type", "message"),
    [
        (b'{"error":{"message":"too long","type":"BadRequestError","param":"max_tokens","code":400}}', "application/json", "too long"),
        (b'{"error":{"message":"too long"}}', "application/json", "too long"),
        (b'{"error":"Unauthorized"}', "application/json", "Unauthorized"),
        (b'{"error":{"code":7}}', "application/json", "the model server answers 418"),
        (b'{"detail":"Not Found"}', "application/json", "Not Found"),
        (b'{"detail":[{"loc":["body","n"],"msg":"not a number"}]}', "application/json", '[{"loc":["body","n"],"msg":"not a number"}]'),
        (b'{"message":"no room","error_type":"overloaded"}', "application/json", "no room"),
        (b'["a"]', "application/json", '["a"]'),
        (b"", "text/plain", "the model server answers 418"),
        (b"upstream connect error \xff", "text/plain", "upstream connect error �"),
        (HTML, "text/html", "502 Bad Gateway"),
        (b"n must be < 2, but 3 > 2" + b"<style>h1 {" * 2_000, "text/html", "n must be < 2, but 3 > 2"),
        (b"<" * 30_000, "text/html", "<" * 2_000),
    ],
)
async def test_an_error_of_any_shape_reaches_the_user_in_openais_form(
    tmp_path: Path, content: bytes, content_type: str, message: str
) -> None:
    async with odd_server(whole("418 Oh", content, content_type=content_type)) as url, running(tmp_path, url, ROUTE) as gateway:
        status, body, headers = await gateway.ask()
        (noted,) = await gateway.noted.until(1)
    assert (status, body["error"]["message"], headers["Content-Type"]) == (418, message, "application/json")
    assert set(body["error"]) >= OPENAI_FIELDS
    assert isinstance(body["error"]["type"], str)
    assert (noted.reply.status, noted.reply.error) == (418, message)
    assert headers["X-Flywheel-Request"] == noted.request_id


async def test_an_error_in_openais_form_is_passed_on_byte_by_byte(tmp_path: Path) -> None:
    sent = b'{"error": {"message":"slow down","type":"tokens","param":null,"code":"rate_limit_exceeded","more":1}}'
    answer = whole("429 Too Many Requests", sent, headers="Retry-After: 7\r\n")
    async with odd_server(answer) as url, running(tmp_path, url, ROUTE) as gateway:
        head = {"Authorization": "Bearer app"}
        async with gateway.client.post(f"{gateway.url}/v1/chat/completions", json=QUESTION, headers=head) as got:
            assert (got.status, await got.read(), got.headers["Retry-After"]) == (429, sent, "7")


@pytest.mark.parametrize("content", [b"", b"[]", b"<html>fine</html>", b'{"choices":[', b"null"])
async def test_an_answer_that_is_no_json_object_is_a_broken_answer(tmp_path: Path, content: bytes) -> None:
    async with odd_server(whole("200 OK", content)) as url, running(tmp_path, url, ROUTE) as gateway:
        status, body, _ = await gateway.ask()
        (noted,) = await gateway.noted.until(1)
    assert (status, body["error"]["code"], noted.reply.status, noted.reply.response) == (502, "upstream_broken", 502, None)


@pytest.mark.parametrize("status", ["401 Unauthorized", "403 Forbidden"])
async def test_a_refused_key_of_the_gateway_is_not_the_users_fault(tmp_path: Path, status: str) -> None:
    async with odd_server(whole(status, b'{"error":"Unauthorized"}')) as url, running(tmp_path, url, ROUTE) as gateway:
        got, body, _ = await gateway.ask()
        (noted,) = await gateway.noted.until(1)
    assert (got, body["error"]["code"]) == (502, "upstream_key")
    assert "refuses the gateway's key" in (noted.reply.error or "")


async def test_a_redirect_is_not_followed(tmp_path: Path) -> None:
    answer = whole("302 Found", b"", headers="Location: http://169.254.169.254/\r\n")
    async with odd_server(answer) as url, running(tmp_path, url, ROUTE) as gateway:
        status, body, headers = await gateway.ask()
    assert (status, body["error"]["code"], "Location" in headers) == (502, "upstream_broken", False)


@pytest.mark.parametrize("status", ["600 Odd", "999 No"])
async def test_a_status_that_no_answer_has_is_a_broken_answer_and_can_be_recorded(tmp_path: Path, status: str) -> None:
    async with odd_server(whole(status, b'{"choices":[]}')) as url, running(tmp_path, url, ROUTE) as gateway:
        got, body, _ = await gateway.ask()
        (noted,) = await gateway.noted.until(1)
    assert (got, body["error"]["code"], noted.reply.status) == (502, "upstream_broken", 502)
    assert body["error"]["message"] == f"the model server answers {status[:3]}"


@pytest.mark.parametrize("streams", [False, True])
async def test_headers_that_cannot_be_sent_on_are_left_out(tmp_path: Path, streams: bool) -> None:
    odd = "x-control: a\x01b\r\nx-half: \xff\r\nx-plain: yes\r\n"
    content = b'{"choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}]}'
    (answer,) = whole("200 OK", content, headers=odd)
    head = STREAM.replace(b"\r\n\r\n", b"\r\n" + odd.encode("latin-1") + b"\r\n")
    pieces = [head, *HALF, END, DONE] if streams else [answer.replace(odd.encode(), odd.encode("latin-1"))]
    async with odd_server(pieces) as url, running(tmp_path, url, ROUTE) as gateway:
        async with gateway.client.post(
            gateway.url + "/v1/chat/completions", json={**QUESTION, "stream": streams}, headers={"Authorization": "Bearer app"}
        ) as got:
            status, headers = got.status, got.headers
            await got.read()
        (noted,) = await gateway.noted.until(1)
    assert (status, headers["x-plain"], "x-control" in headers, "x-half" in headers) == (200, "yes", False, False)
    assert (noted.reply.status, noted.reply.ended) == (200, True)


async def test_half_a_character_in_an_answer_is_marked_on_its_record(tmp_path: Path) -> None:
    content = b'{"choices":[{"index":0,"message":{"role":"assistant","content":"half \\ud83d"},"finish_reason":"stop"}]}'
    async with odd_server(whole("200 OK", content)) as url, running(tmp_path, url, ROUTE) as gateway:
        await gateway.ask()
        (noted,) = await gateway.noted.until(1)
    assert noted.reply.left_out == ("response",)


async def test_an_answer_that_takes_too_long_in_all_says_so(tmp_path: Path) -> None:
    comments = [piece for _ in range(100) for piece in (0.05, b": still there\n\n")]
    deadlines = replace(DEADLINES, total=0.5)
    async with odd_server([STREAM, *HALF, *comments]) as url, running(tmp_path, url, ROUTE, deadlines=deadlines) as gateway:
        _, content = await gateway.stream(QUESTION)
    assert events(content)[-1]["error"]["message"] == "the model server did not end its answer within 0.5 s"


async def test_a_connection_that_is_reset_before_the_answer_is_a_broken_answer(tmp_path: Path) -> None:
    async with odd_server([RESET]) as url, running(tmp_path, url, ROUTE) as gateway:
        status, body, _ = await gateway.ask()
        (noted,) = await gateway.noted.until(1)
    assert (status, body["error"]["code"], noted.reply.status) == (502, "upstream_broken", 0)


async def test_a_refused_connection_says_when_to_try_again(tmp_path: Path) -> None:
    async with running(tmp_path, "http://127.0.0.1:9", ROUTE) as gateway:
        for path, body in (("/v1/chat/completions", QUESTION), ("/v1/embeddings", {"model": "router-alias", "input": "x"})):
            status, told, headers = await gateway.ask(body, path=path)
            assert (status, told["error"]["code"], headers["Retry-After"]) == (503, "upstream_unreachable", "5")
            assert set(told["error"]) >= OPENAI_FIELDS
    assert [one.reply.status for one in gateway.noted.attempts] == [0]


@pytest.mark.parametrize(("sent", "shown"), [("", "5"), ("retry-after: 7\r\n", "7")])
async def test_a_503_of_the_model_server_has_one_time_to_try_again(tmp_path: Path, sent: str, shown: str) -> None:
    busy = whole("503 Busy", b"starting", content_type="text/plain", headers=sent)
    async with odd_server(busy) as url, running(tmp_path, url, ROUTE) as gateway:
        status, body, headers = await gateway.ask()
    assert (status, body["error"]["message"], headers.getall("Retry-After")) == (503, "starting", [shown])


# Deadlines


async def test_no_answer_within_the_first_byte_deadline_is_504(tmp_path: Path) -> None:
    deadlines = replace(DEADLINES, first_byte=0.1)
    async with odd_server([LONG]) as url, running(tmp_path, url, ROUTE, deadlines=deadlines) as gateway:
        status, body, _ = await gateway.ask()
        streamed, content = await gateway.stream(QUESTION)
        noted = await gateway.noted.until(2)
    assert (status, body["error"]["code"], body["error"]["type"]) == (504, "upstream_timeout", "server_error")
    assert (streamed, json.loads(content)["error"]["code"]) == (504, "upstream_timeout")
    assert [one.reply.status for one in noted] == [504, 504]


async def test_a_silent_canary_is_answered_by_the_champion(tmp_path: Path, vllm: FakeVllm) -> None:
    vllm.answers = lambda model, messages: f"{model} says yes"
    vllm.slow = {NEW: LONG}
    async with running(tmp_path, vllm.url, CANARY, deadlines=replace(DEADLINES, first_byte=1.0)) as gateway:
        status, _, headers = await gateway.ask()
    assert (status, headers["X-Flywheel-Adapter"]) == (200, "base")
    assert [one.reply.status for one in gateway.noted.attempts] == [504, 200]


@pytest.mark.parametrize("deadlines", [replace(DEADLINES, silence=0.5), replace(DEADLINES, total=0.7)], ids=["silence", "total"])
async def test_silence_in_the_middle_of_a_stream_ends_it_with_an_error(tmp_path: Path, deadlines: Any) -> None:
    async with odd_server([STREAM, *HALF, LONG]) as url, running(tmp_path, url, ROUTE, deadlines=deadlines) as gateway:
        status, content = await gateway.stream(QUESTION)
        (noted,) = await gateway.noted.until(1)
    *_, last = events(content)
    assert (status, last["error"]["code"], last["error"]["type"]) == (200, "upstream_timeout", "server_error")
    assert (noted.reply.status, noted.reply.response is not None) == (504, True)


async def test_silence_in_the_middle_of_a_whole_answer_is_504(tmp_path: Path) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 400\r\n\r\n{"
    async with odd_server([head, LONG]) as url, running(tmp_path, url, ROUTE, deadlines=replace(DEADLINES, silence=0.5)) as gateway:
        status, body, _ = await gateway.ask()
    assert (status, body["error"]["code"]) == (504, "upstream_timeout")


# Streams


async def test_a_stream_that_ends_in_the_middle_is_broken_and_says_so(tmp_path: Path) -> None:
    async with odd_server([STREAM, *HALF]) as url, running(tmp_path, url, ROUTE) as gateway:
        status, content = await gateway.stream(QUESTION)
        (noted,) = await gateway.noted.until(1)
    first, second, last = events(content)
    assert (status, first["model"], second["choices"][0]["delta"]["content"]) == (200, "router-alias", "half an ")
    assert (last["error"]["code"], last["error"]["type"]) == ("upstream_broken", "server_error")
    assert noted.reply.status == 502
    assert "before its answer was complete" in (noted.reply.error or "")


@pytest.mark.parametrize("end", [[END], [END, RESET], [END, DONE], [END, DONE, RESET], [END + DONE[:-2]]])
async def test_a_stream_that_ends_after_its_finish_reason_is_complete(tmp_path: Path, end: list[bytes]) -> None:
    async with odd_server([STREAM, *HALF, *end]) as url, running(tmp_path, url, ROUTE) as gateway:
        status, content = await gateway.stream(QUESTION)
        (noted,) = await gateway.noted.until(1)
    assert (status, [one for one in events(content) if "error" in one]) == (200, [])
    assert (noted.reply.status, noted.reply.error) == (200, None)


async def test_a_server_that_stays_after_done_does_not_hold_the_user(tmp_path: Path) -> None:
    async with odd_server([STREAM, *HALF, END, DONE, LONG]) as url, running(tmp_path, url, ROUTE) as gateway:
        _, content = await gateway.stream(QUESTION)
        (noted,) = await gateway.noted.until(1)
    assert (events(content)[-1], noted.reply.status) == ("[DONE]", 200)


async def test_a_part_of_an_event_before_the_break_does_not_reach_the_user(tmp_path: Path) -> None:
    async with odd_server([STREAM, *HALF, b'data: {"id":"c1","choi']) as url, running(tmp_path, url, ROUTE) as gateway:
        _, content = await gateway.stream(QUESTION)
    assert [set(one) for one in events(content)][2:] == [{"error"}]


async def test_a_stream_that_breaks_before_its_first_event_has_an_error_status(tmp_path: Path) -> None:
    for pieces in ([STREAM], [STREAM, RESET], [STREAM, b'data: {"id":']):
        async with odd_server(pieces) as url, running(tmp_path, url, ROUTE) as gateway:
            status, content = await gateway.stream(QUESTION)
        assert (status, json.loads(content)["error"]["code"]) == (502, "upstream_broken")


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (b'{"message":"out of memory","type":"InternalServerError","param":null,"code":500}', 500, "out of memory"),
        (b'{"message":"prompt too long","code":400}', 400, "prompt too long"),
        (b'"engine died"', 502, "engine died"),
    ],
)
async def test_an_error_as_first_event_has_its_own_status(tmp_path: Path, error: bytes, status: int, message: str) -> None:
    async with odd_server([STREAM, b'data: {"error":' + error + b"}\n\n", DONE]) as url, running(tmp_path, url, ROUTE) as gateway:
        got, content = await gateway.stream(QUESTION)
        (noted,) = await gateway.noted.until(1)
    told = json.loads(content)["error"]
    assert (got, told["message"], set(told) >= OPENAI_FIELDS) == (status, message, True)
    assert (noted.reply.status, noted.reply.error) == (status, message)


async def test_an_error_in_the_middle_of_a_stream_gets_openais_form(tmp_path: Path) -> None:
    async with odd_server([STREAM, *HALF, b'data: {"error":"engine died"}\n\n', DONE]) as url, running(tmp_path, url, ROUTE) as gateway:
        status, content = await gateway.stream(QUESTION)
        (noted,) = await gateway.noted.until(1)
    *_, error, done = events(content)
    assert (status, error["error"]["message"], set(error["error"]) >= OPENAI_FIELDS, done) == (200, "engine died", True, "[DONE]")
    assert (noted.reply.status, noted.reply.error) == (502, "engine died")


async def test_a_canary_whose_stream_fails_at_once_is_answered_by_the_champion(tmp_path: Path, vllm: FakeVllm) -> None:
    vllm.answers = lambda model, messages: {"content": "x", "fails": True} if model == NEW else "yes"
    async with running(tmp_path, vllm.url, CANARY) as gateway:
        status, content = await gateway.stream(QUESTION)
        noted = await gateway.noted.until(2)
    assert (status, b"yes" in content, [one.reply.status for one in noted]) == (200, True, [500, 200])


# The client goes away


async def stopped_after(gateway: Running, mark: bytes) -> None:
    """A client that closes its connection as soon as it has read ``mark``."""
    head = {"Authorization": "Bearer app"}
    async with gateway.client.post(f"{gateway.url}/v1/chat/completions", json={**QUESTION, "stream": True}, headers=head) as answer:
        read = b""
        while mark not in read:
            read += await answer.content.readany()
        answer.close()


async def test_a_client_that_closes_after_done_has_got_its_answer(tmp_path: Path) -> None:
    async with odd_server([STREAM, *HALF, END, DONE, 0.5, b": late\n\n"]) as url, running(tmp_path, url, ROUTE) as gateway:
        await stopped_after(gateway, b"[DONE]")
        (noted,) = await gateway.noted.until(1)
    assert (noted.reply.status, noted.reply.error) == (200, None)


async def test_a_client_that_closes_in_the_middle_is_recorded_as_closed(tmp_path: Path) -> None:
    async with odd_server([STREAM, *HALF, LONG]) as url, running(tmp_path, url, ROUTE) as gateway:
        await stopped_after(gateway, b"half an")
        (noted,) = await gateway.noted.until(1)
    assert (noted.reply.status, noted.reply.error) == (499, "client_closed")


# A champion that is not loaded


@pytest.mark.parametrize("streams", [False, True])
async def test_a_champion_that_is_not_loaded_is_503_and_never_404(tmp_path: Path, vllm: FakeVllm, streams: bool) -> None:
    vllm.restart_empty()
    async with running(tmp_path, vllm.url, LIVE) as gateway:
        status, body, headers = await gateway.ask({**QUESTION, "stream": streams})
        (noted,) = await gateway.noted.until(1)
    assert (status, body["error"]["code"], headers["Retry-After"]) == (503, "model_not_ready", "5")
    assert headers["X-Flywheel-Request"] == noted.request_id
    assert (noted.reply.status, noted.adapter) == (404, NEW)
    assert NEW not in body["error"]["message"]


@pytest.mark.parametrize("streams", [False, True])
async def test_by_policy_the_base_answers_for_a_champion_that_is_not_loaded(tmp_path: Path, vllm: FakeVllm, streams: bool) -> None:
    vllm.restart_empty()
    async with running(tmp_path, vllm.url, LIVE, requests=BASE_ANSWERS) as gateway:
        head = {"Authorization": "Bearer app"}
        asked = {**QUESTION, "stream": streams}
        async with gateway.client.post(f"{gateway.url}/v1/chat/completions", json=asked, headers=head) as answer:
            assert (answer.status, answer.headers["X-Flywheel-Adapter"]) == (200, "base")
            await answer.read()
        noted = await gateway.noted.until(2)
    assert [(one.adapter, one.arm, one.number, one.reply.status) for one in noted] == [
        (NEW, Arm.CHAMPION, 1, 404),
        ("base", Arm.CHAMPION, 2, 200),
    ]


async def test_with_canary_and_champion_gone_the_base_answers_third(tmp_path: Path, vllm: FakeVllm) -> None:
    vllm.restart_empty()
    both = replace(CANARY, champion="router-old", version=3)
    async with running(tmp_path, vllm.url, both, requests=BASE_ANSWERS) as gateway:
        status, _, headers = await gateway.ask()
    assert (status, headers["X-Flywheel-Adapter"]) == (200, "base")
    assert [(one.arm, one.number, one.reply.status) for one in gateway.noted.attempts] == [
        (Arm.CANARY, 1, 404),
        (Arm.CHAMPION, 2, 404),
        (Arm.CHAMPION, 3, 200),
    ]


async def test_a_base_of_another_name_is_503_and_never_404(tmp_path: Path, vllm: FakeVllm) -> None:
    vllm.base = "smollm"
    for requests in (None, BASE_ANSWERS):
        async with running(tmp_path, vllm.url, ROUTE, requests=requests) as gateway:
            status, body, _ = await gateway.ask()
        assert (status, body["error"]["code"], len(gateway.noted.attempts)) == (503, "model_not_ready", 1)


async def test_an_unrecorded_route_waits_for_the_champion_too(tmp_path: Path, vllm: FakeVllm) -> None:
    vllm.restart_empty()
    asked = {"model": "router-alias", "prompt": "hi"}
    async with running(tmp_path, vllm.url, LIVE) as gateway:
        status, body, headers = await gateway.ask(asked, path="/v1/completions")
        assert (status, body["error"]["code"], headers["Retry-After"]) == (503, "model_not_ready", "5")
    async with running(tmp_path, vllm.url, LIVE, requests=BASE_ANSWERS) as gateway:
        status, body, headers = await gateway.ask(asked, path="/v1/completions")
        assert (status, body["model"], headers["X-Flywheel-Adapter"]) == (200, "router-alias", "base")
