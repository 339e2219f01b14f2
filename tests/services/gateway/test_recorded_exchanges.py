"""What users send and get, through the gateway, as an event, to the recorder's columns: the same record streamed or not."""

import asyncio
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest

from flywheel.traffic.answer_format import fits
from flywheel.traffic.attempt_outcome import AttemptOutcome
from flywheel.traffic.column import FeatureRow
from flywheel.traffic.exchange import exchange_from_wire
from flywheel.traffic.features import columns_of
from flywheel.traffic.inference import Inference
from services.gateway.traffic_event import UpstreamAttempt, event_data
from services.integrations.kafka.event_codec import TRAFFIC_TYPE, decode_traffic
from services.ports.cloud_events import encode
from tests.fakes.vllm_server import FakeVllm
from tests.services.gateway.odd_server import DONE, END, HALF, STREAM, odd_server, whole
from tests.services.gateway.running_gateway import AS_SERVED, QUESTION, ROUTE, SHADOW, Running, running
from tests.services.gateway.test_upstream_failures import stopped_after

sys.path.insert(0, str(Path(__file__).resolve().parent))
from gateway_parts import MailRedactor

SCHEMA: dict[str, object] = {"type": "object", "required": ["tool"]}
TRACK = {"id": "c1", "type": "function", "function": {"name": "track", "arguments": '{"order":7}'}}
TIME = {"id": "c2", "type": "function", "function": {"name": "time", "arguments": ""}}


def recorded(attempt: UpstreamAttempt) -> tuple[Inference, FeatureRow]:
    """As the recorder reads the attempt's event, and its columns in a workload whose answers are tool calls."""
    data = event_data(attempt, redactor=MailRedactor())
    raw = encode(type=TRAFFIC_TYPE, id=attempt.event_id, workload=attempt.workload, time=attempt.arrived_at, data=data)
    inference = decode_traffic(raw)
    valid = fits(inference.exchange.answer, SCHEMA) if inference.attempt.outcome is AttemptOutcome.OK else None
    return inference, columns_of(inference, valid_format=valid)


async def answered(tmp_path: Path, pieces: list[bytes], *, streamed: bool) -> tuple[Inference, FeatureRow]:
    async with odd_server(pieces) as url, running(tmp_path, url, ROUTE) as gateway:
        await (gateway.stream(QUESTION) if streamed else gateway.ask())
        (noted,) = await gateway.noted.until(1)
    return recorded(noted)


def completion(message: Mapping[str, Any], reason: str) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": reason, "logprobs": None, "stop_reason": None}
    head = {"id": "chatcmpl-1", "object": "chat.completion", "created": 5, "model": "base", "system_fingerprint": None}
    return head | {"choices": [choice], "usage": {"prompt_tokens": 3, "completion_tokens": 4}}


def as_stream(whole_answer: Mapping[str, Any]) -> Iterator[bytes]:
    """As vLLM would stream it: calls and texts in fragments, the usage at the end."""
    head = {key: whole_answer[key] for key in ("id", "created", "model")} | {"object": "chat.completion.chunk"}

    def chunk(delta: Mapping[str, Any], reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": reason, "logprobs": None}
        return b"data: " + orjson.dumps({**head, "choices": [choice]}) + b"\n\n"

    held = whole_answer["choices"][0]["message"]
    yield chunk({"role": "assistant", "content": ""})
    for key in ("reasoning", "content"):
        for character in held.get(key) or "":
            yield chunk({key: character})
    for index, call in enumerate(held.get("tool_calls") or ()):
        yield chunk({"tool_calls": [{"index": index, **call, "function": {"name": call["function"]["name"], "arguments": ""}}]})
        for character in call["function"]["arguments"]:
            yield chunk({"tool_calls": [{"index": index, "function": {"arguments": character}}]})
    yield chunk({}, whole_answer["choices"][0]["finish_reason"])
    yield b"data: " + orjson.dumps({**head, "choices": [], "usage": whole_answer["usage"]}) + b"\n\n" + DONE


def broken(arguments: str) -> dict[str, Any]:
    return {"content": None, "tool_calls": [{**TRACK, "function": {"name": "track", "arguments": arguments}}]}


TRACKED = '{"tool": "track", "arguments": {"order": 7}}'
ANSWERS: dict[str, tuple[dict[str, Any], str, str, float, str]] = {
    # name: (message, finish reason, answer that graders read, valid format, opening)
    "blanks beside a call": (
        {"content": "\n\n", "tool_calls": [TRACK]},
        "tool_calls",
        TRACKED,
        1,
        "json",
    ),
    "a sentence beside a call": (
        {"content": "I look.", "tool_calls": [TRACK]},
        "tool_calls",
        TRACKED,
        1,
        "json",
    ),
    "a call without arguments": ({"content": None, "tool_calls": [TIME]}, "tool_calls", '{"tool": "time", "arguments": {}}', 1, "json"),
    "arguments cut in the middle": (broken('{"city": "Bos'), "length", '{"tool": "track", "arguments": "{\\"city\\": \\"Bos"}', 0, "json"),
    "arguments twice": (broken('{"a":1}{"a":1}'), "tool_calls", '{"tool": "track", "arguments": "{\\"a\\":1}{\\"a\\":1}"}', 0, "json"),
    "two calls at once": (
        {"content": None, "tool_calls": [TRACK, TIME]},
        "tool_calls",
        '[{"tool": "track", "arguments": {"order": 7}}, {"tool": "time", "arguments": {}}]',
        0,
        "json",
    ),
    "reasoning alone": ({"content": None, "reasoning": "Let me think.", "tool_calls": []}, "length", "", 0, "empty"),
    "nothing at all": ({"content": ""}, "stop", "", 0, "empty"),
    "reasoning before an answer": ({"content": "Yes.", "reasoning": "Hm."}, "stop", "Yes.", 0, "prose"),
}


@pytest.mark.parametrize("name", ANSWERS)
async def test_an_answer_is_recorded_as_it_was_given_streamed_or_not(tmp_path: Path, name: str) -> None:
    message, reason, text, valid, opening = ANSWERS[name]
    given = completion(message, reason)
    as_whole, columns = await answered(tmp_path, whole("200 OK", orjson.dumps(given)), streamed=False)
    as_streamed, streamed_columns = await answered(tmp_path, [STREAM, *as_stream(given)], streamed=True)
    expected = exchange_from_wire(AS_SERVED, given, where="$")
    assert as_whole.exchange == expected
    assert as_streamed.exchange == expected
    for found in (columns, streamed_columns):
        assert [found[key] for key in ("valid_format", "answer_opening", "error", "finish_reason")] == [valid, opening, 0.0, reason]
    assert as_whole.exchange.answer_text == text
    assert as_whole.attempt.outcome is as_streamed.attempt.outcome is AttemptOutcome.OK


async def test_a_long_stream_is_recorded_to_its_end(tmp_path: Path) -> None:
    given = completion({"content": "word " * 4_000}, "stop")
    found, _ = await answered(tmp_path, [STREAM, b"".join(as_stream(given))], streamed=True)
    assert found.exchange == exchange_from_wire(AS_SERVED, given, where="$")


async def test_a_stream_that_ends_without_its_end_is_a_model_error(tmp_path: Path) -> None:
    found, columns = await answered(tmp_path, [STREAM, *HALF], streamed=True)
    assert (found.attempt.outcome, found.exchange.answer_text) == (AttemptOutcome.MODEL_ERROR, "half an ")
    assert (columns["error"], columns["finish_reason"], columns["valid_format"], columns["answer_chars"]) == (1.0, "error", None, None)


async def test_a_stream_with_its_finish_reason_needs_no_done(tmp_path: Path) -> None:
    found, columns = await answered(tmp_path, [STREAM, *HALF, END], streamed=True)
    assert (found.attempt.outcome, found.exchange.answer_text, columns["error"]) == (AttemptOutcome.OK, "half an answer", 0.0)


@pytest.mark.parametrize("answer", [b'{"choices": []}', b'{"object": "list"}'])
async def test_a_completion_without_a_choice_is_a_model_error(tmp_path: Path, answer: bytes) -> None:
    found, _ = await answered(tmp_path, whole("200 OK", answer), streamed=False)
    assert (found.attempt.status, found.attempt.outcome, found.exchange.answer) == (200, AttemptOutcome.MODEL_ERROR, None)


async def test_half_of_a_character_in_an_answer_is_recorded(tmp_path: Path) -> None:
    sent = json.dumps(completion({"content": "ok \ud83d"}, "stop")).encode()
    found, _ = await answered(tmp_path, whole("200 OK", sent), streamed=False)
    assert (found.attempt.outcome, found.exchange.answer_text) == (AttemptOutcome.OK, "ok �")


async def test_a_client_that_closes_after_the_end_has_its_answer(tmp_path: Path) -> None:
    async with odd_server([STREAM, *HALF, END, DONE, 0.5, b": late\n\n"]) as url, running(tmp_path, url, ROUTE) as gateway:
        await stopped_after(gateway, b"[DONE]")
        (noted,) = await gateway.noted.until(1)
    found, columns = recorded(noted)
    assert (found.attempt.outcome, columns["error"], columns["client_aborted"]) == (AttemptOutcome.OK, 0.0, 0.0)


async def test_a_client_that_closes_in_the_middle_is_nobodys_error(tmp_path: Path) -> None:
    async with odd_server([STREAM, *HALF, 30.0]) as url, running(tmp_path, url, ROUTE) as gateway:
        await stopped_after(gateway, b"half an")
        (noted,) = await gateway.noted.until(1)
    found, columns = recorded(noted)
    assert (found.attempt.outcome, found.attempt.status, found.exchange.answer_text) == (AttemptOutcome.CLIENT_ABORTED, 499, "half an ")
    assert (columns["error"], columns["client_aborted"], columns["valid_format"], columns["latency_ms"]) == (None, 1.0, None, None)


async def test_a_client_that_closes_before_a_whole_answer_is_nobodys_error(tmp_path: Path) -> None:
    with FakeVllm(delay=30) as vllm:
        async with running(tmp_path, vllm.url, ROUTE) as gateway:
            asking = asyncio.create_task(gateway.ask())
            while not vllm.paths:  # noqa: ASYNC110 (what it waits for happens outside this loop)
                await asyncio.sleep(0.01)
            asking.cancel()
            (noted,) = await gateway.noted.until(1)
    assert recorded(noted)[0].attempt.outcome is AttemptOutcome.CLIENT_ABORTED


@pytest.mark.parametrize(
    ("status", "outcome", "column"),
    [
        ("400 Bad Request", AttemptOutcome.CLIENT_ERROR, "client_error"),
        ("413 Too Large", AttemptOutcome.CLIENT_ERROR, "client_error"),
        ("429 Too Many Requests", AttemptOutcome.THROTTLED, "throttled"),
        ("500 Oh", AttemptOutcome.MODEL_ERROR, "error"),
        ("401 Unauthorized", AttemptOutcome.MODEL_ERROR, "error"),
    ],
)
async def test_each_refusal_counts_in_its_own_column(tmp_path: Path, status: str, outcome: AttemptOutcome, column: str) -> None:
    found, columns = await answered(tmp_path, whole(status, b'{"error":{"message":"no"}}'), streamed=False)
    assert found.attempt.outcome is outcome
    assert [name for name in ("error", "client_error", "throttled", "client_aborted") if columns[name] == 1.0] == [column]


async def asked(gateway: Running, **headers: str) -> Inference:
    await gateway.ask(**headers)
    return recorded((await gateway.noted.until(1))[-1])[0]


@pytest.mark.parametrize(
    ("headers", "own"),
    [
        ({"X_Request_ID": "order-7"}, "order-7"),
        ({"X_Client_Request_Id": "sdk-9"}, "sdk-9"),
        ({"X_Request_ID": "order-7", "X_Client_Request_Id": "sdk-9"}, "order-7"),
        ({"X_Request_ID": "  "}, ""),
        ({}, ""),
    ],
)
async def test_the_clients_own_id_is_recorded(tmp_path: Path, headers: dict[str, str], own: str) -> None:
    with FakeVllm() as vllm:
        async with running(tmp_path, vllm.url, ROUTE) as gateway:
            assert (await asked(gateway, **headers)).client_request_id == own


async def test_what_was_sent_is_recorded_whatever_its_form(tmp_path: Path) -> None:
    sent = {
        "messages": [
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "hi"}]},
            {"role": "assistant", "content": None, "tool_calls": [TRACK]},
            {"role": "tool", "tool_call_id": "c1", "content": "{}"},
        ],
        "tools": [{"type": "function", "function": {"name": "track", "parameters": {"type": "object"}}}],
        "tool_choice": "auto",
        "response_format": {"type": "json_object"},
        "temperature": 0.25,
        "seed": 7,
    }
    with FakeVllm() as vllm:
        async with running(tmp_path, vllm.url, SHADOW) as gateway:
            await gateway.ask({"model": "router-alias", **sent})
            attempts = await gateway.noted.until(2)
    for attempt in attempts:  # the champion's and the shadow's
        assert recorded(attempt)[0].exchange.prompt.to_wire() == sent
