"""A stream, cut anywhere, gives the completion it would have been."""

import random

import orjson
import pytest

from services.gateway.assemble_stream import Assembly


def event(**chunk: object) -> bytes:
    return b"data: " + orjson.dumps({"id": "c1", "created": 1, "model": "m", **chunk}) + b"\n\n"


def delta(index: int = 0, finish: str | None = None, **fields: object) -> dict[str, object]:
    return {"index": index, "delta": fields, "finish_reason": finish}


STREAM = (
    event(choices=[delta(role="assistant", content="")])
    + event(choices=[delta(content="Grüße, ")])
    + b": a comment\n\n"
    + event(choices=[delta(content="Welt")])
    + event(choices=[delta(finish="stop")])
    + event(choices=[], usage={"prompt_tokens": 3, "completion_tokens": 2})
    + b"data: [DONE]\n\n"
)


@pytest.mark.parametrize("seed", range(20))
def test_a_stream_in_any_pieces_is_the_same_completion(seed: int) -> None:
    drawn, assembly, rest = random.Random(seed), Assembly(), STREAM
    while rest:
        size = drawn.randint(1, 40)
        assembly.feed(rest[:size])
        rest = rest[size:]
    completion = assembly.completion()
    assert completion is not None
    assert completion["choices"][0] == {"index": 0, "message": {"role": "assistant", "content": "Grüße, Welt"}, "finish_reason": "stop"}
    assert completion["usage"] == {"prompt_tokens": 3, "completion_tokens": 2}
    assert (completion["model"], completion["object"], assembly.ended) == ("m", "chat.completion", True)


def test_tool_calls_are_joined_by_their_index() -> None:
    assembly = Assembly()
    call = {"index": 0, "id": "t1", "function": {"name": "find", "arguments": ""}}
    assembly.feed(event(choices=[delta(tool_calls=[call])]))
    for piece in ('{"q":', '"x"}'):
        assembly.feed(event(choices=[delta(tool_calls=[{"index": 0, "function": {"arguments": piece}}])]))
    completion = assembly.completion()
    assert completion is not None
    assert completion["choices"][0]["message"]["tool_calls"] == [
        {"id": "t1", "type": "function", "function": {"name": "find", "arguments": '{"q":"x"}'}}
    ]


def test_a_stream_that_broke_off_keeps_what_came() -> None:
    assembly = Assembly()
    assembly.feed(STREAM[: STREAM.index(b"Welt")])
    completion = assembly.completion()
    assert completion is not None
    assert completion["choices"][0]["message"]["content"] == "Grüße, "
    assert not assembly.ended


@pytest.mark.parametrize(
    "rubbish",
    [b"", b"data: {\n\n", b"data: 7\n\n", b'data: {"choices": [null]}\n\n', b'data: {"choices": [{"delta": 3}]}\n\n', b"\xff\xfe\n\n"],
)
def test_rubbish_is_passed_over(rubbish: bytes) -> None:
    assembly = Assembly()
    assembly.feed(rubbish)
    assembly.feed(STREAM)
    completion = assembly.completion()
    assert completion is not None
    assert completion["choices"][0]["message"]["content"] == "Grüße, Welt"


def test_an_error_within_the_stream_is_seen() -> None:
    assembly = Assembly()
    assembly.feed(b'data: {"error": {"message": "out of memory"}}\n\n')
    assert assembly.error is not None
    assert "out of memory" in assembly.error
    assert assembly.completion() is None
