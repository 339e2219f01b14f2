"""A streamed answer is the completion that it would have been without a stream, however the bytes are cut."""

import random
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flywheel.traffic.exchange import Exchange, exchange_from_wire
from services.gateway import assemble_stream, event_stream
from services.gateway.assemble_stream import Assembly

REQUEST = {"messages": [{"role": "user", "content": "x"}]}


def event(end: str = "\n", **chunk: object) -> bytes:
    content = orjson.dumps({"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m", **chunk})
    return b"data: " + content + (end * 2).encode()


def delta(index: int = 0, finish: str | None = None, **fields: object) -> dict[str, object]:
    return {"index": index, "delta": fields, "finish_reason": finish}


def assembled(*pieces: bytes) -> Assembly:
    assembly = Assembly()
    for piece in pieces:
        assembly.feed(piece)
    return assembly


def message(*deltas: dict[str, object]) -> dict[str, Any]:
    completion = assembled(*(event(choices=[one]) for one in deltas)).completion()
    assert completion is not None
    return dict(completion["choices"][0]["message"])


def calls(*fragments: dict[str, object]) -> list[dict[str, Any]]:
    return list(message(*(delta(tool_calls=[fragment]) for fragment in fragments))["tool_calls"])


DONE = b"data: [DONE]\n\n"
STREAM = (
    event(choices=[delta(role="assistant", content="")])
    + event(choices=[delta(content="Grüße, ")])
    + b": a comment\n\n"
    + event(choices=[delta(content="Welt")])
    + event(choices=[delta(finish="stop")])
    + event(choices=[], usage={"prompt_tokens": 3, "completion_tokens": 2})
    + DONE
)
MULTI_LINE = (
    b'\xef\xbb\xbfretry: 5\r\ndata: {"choices": [\r\n'
    b'data: {"index": 0, "delta": {"content": "a"}, "finish_reason": "stop"}\r\ndata: ]}\r\n\r\n'
)
FORMS = {
    "line feeds": STREAM,
    "carriage returns and line feeds": STREAM.replace(b"\n", b"\r\n"),
    "carriage returns": STREAM.replace(b"\n", b"\r"),
    "no space after data:": STREAM.replace(b"data: ", b"data:"),
    "no empty line between events": STREAM.replace(b"\n\n", b"\n"),
    "no end of the last line": STREAM.removesuffix(b"\n\n"),
    "named events with ids": STREAM.replace(b"data: ", b"event: chunk\nid: 7\ndata: "),
    "padding": STREAM.replace(b'"created"', b'"obfuscation":"xYz","created"'),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_stream_is_the_same_completion(form: str) -> None:
    assembly = assembled(FORMS[form])
    assert assembly.completion() == {
        "id": "c1",
        "created": 1,
        "model": "m",
        "object": "chat.completion",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Grüße, Welt"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2},
    }
    assert (assembly.ended, assembly.left_out) == (True, ())


@given(form=st.sampled_from([*FORMS.values(), MULTI_LINE]), cuts=st.lists(st.integers(0, 1200), max_size=40))
def test_a_stream_in_any_pieces_is_the_same_completion(form: bytes, cuts: list[int]) -> None:
    ends = [0, *sorted(cuts), len(form)]
    whole, cut = assembled(form), assembled(*(form[start:end] for start, end in pairwise(ends)))
    assert cut.completion() == whole.completion() is not None
    assert (cut.ended, cut.left_out) == (whole.ended, whole.left_out) == (True, ())


def test_a_stream_may_be_cut_at_every_byte() -> None:
    for form in (*FORMS.values(), MULTI_LINE):
        assert assembled(*(bytes([one]) for one in form)).completion() == assembled(form).completion()


TEXTS = st.text(st.characters(codec="utf-8"), max_size=12)
CALLS = st.fixed_dictionaries(
    {
        "id": st.uuids().map(str),
        "type": st.just("function"),
        "function": st.fixed_dictionaries({"name": st.text(min_size=1, max_size=12), "arguments": TEXTS}),
    }
)
MESSAGES = st.fixed_dictionaries(
    {"role": st.just("assistant")},
    optional={
        "content": st.none() | TEXTS,
        "tool_calls": st.lists(CALLS, min_size=1, max_size=3, unique_by=lambda call: call["id"]),
        "refusal": TEXTS,
        "reasoning": TEXTS,
        "reasoning_content": TEXTS,
        "a_new_field": TEXTS,
    },
)
COMPLETIONS = st.fixed_dictionaries(
    {
        "id": st.text(min_size=1, max_size=8),
        "created": st.integers(0, 10),
        "system_fingerprint": st.none() | st.text(max_size=5),
        "choices": st.lists(
            st.fixed_dictionaries({"message": MESSAGES, "finish_reason": st.sampled_from(["stop", "length", "tool_calls"])}),
            min_size=1,
            max_size=3,
        ),
        "usage": st.fixed_dictionaries({"prompt_tokens": st.integers(0, 9)}),
    }
)


@given(completion=COMPLETIONS, seed=st.integers(0, 2**32))
def test_an_answer_is_the_same_exchange_streamed_or_not(completion: dict[str, Any], seed: int) -> None:
    for choice in completion["choices"]:
        as_servers_write(choice["message"])
    chunks = list(chunks_of(completion, random.Random(seed)))
    streamed = assembled(*(b"data: " + orjson.dumps(chunk) + b"\n\n" for chunk in chunks), DONE)
    assert streamed.ended
    assert exchange(streamed.completion()) == exchange(completion)


def exchange(completion: dict[str, Any] | None) -> Exchange:
    return exchange_from_wire(REQUEST, completion, where="$")


def as_servers_write(held: dict[str, Any]) -> None:
    """Without empty texts beside something else: a stream cannot tell them from null."""
    for name in ("refusal", "reasoning", "reasoning_content"):
        if held.get(name) == "":
            del held[name]
    if held.get("content") == "" and held.keys() & {"tool_calls", "refusal", "reasoning", "reasoning_content"}:
        held["content"] = None


def chunks_of(completion: dict[str, Any], drawn: random.Random) -> Iterator[dict[str, Any]]:
    """The completion as chunks: choices and calls alternate, texts are cut anywhere, the id may be repeated."""
    head = {key: completion[key] for key in ("id", "created", "system_fingerprint")}
    waiting = [list(deltas_of(choice["message"], drawn)) for choice in completion["choices"]]
    while any(waiting):
        at = drawn.choice([at for at, left in enumerate(waiting) if left])
        yield {**head, "choices": [{"index": at, "delta": waiting[at].pop(0), "finish_reason": None, "logprobs": {"content": []}}]}
    for at, choice in enumerate(completion["choices"]):
        yield {**head, "choices": [{"index": at, "delta": {}, "finish_reason": choice["finish_reason"]}]}
    yield {**head, "choices": [], "usage": completion["usage"]}


def deltas_of(held: dict[str, Any], drawn: random.Random) -> Iterator[dict[str, Any]]:
    yield {"role": held["role"], **({"content": ""} if held.get("content") is not None else {})}
    for name in ("reasoning", "reasoning_content", "a_new_field", "content", "refusal"):
        for piece in pieces_of(held.get(name), drawn):
            yield {name: piece}
        if held.get(name) == "":
            yield {name: ""}
    for at, call in enumerate(held.get("tool_calls", ())):
        function = {"name": call["function"]["name"], "arguments": ""}
        yield {"tool_calls": [{"index": at, "id": call["id"], "type": call["type"], "function": function}]}
        for piece in pieces_of(call["function"]["arguments"], drawn):
            repeated = {"id": call["id"]} if drawn.random() < 0.3 else {}
            yield {"tool_calls": [{"index": at, **repeated, "function": {"arguments": piece}}]}


def pieces_of(text: str | None, drawn: random.Random) -> Sequence[str]:
    pieces, rest = [], text or ""
    while rest:
        size = drawn.randint(1, 4)
        pieces.append(rest[:size])
        rest = rest[size:]
    return pieces


def test_a_long_answer_is_whole_however_many_bytes_carry_it() -> None:
    logprobs = {"content": [{"token": "word ", "logprob": -0.5, "top_logprobs": [{"token": "x" * 60, "logprob": -1.0}] * 20}]}
    assembly = Assembly()
    for _ in range(20_000):
        assembly.feed(event(choices=[{**delta(content="word "), "logprobs": logprobs}]))
    assembly.feed(event(choices=[delta(finish="stop")]) + event(choices=[], usage={"completion_tokens": 20_000}) + DONE)
    completion = assembly.completion()
    assert completion is not None
    assert completion["choices"] == [{"index": 0, "message": {"role": "assistant", "content": "word " * 20_000}, "finish_reason": "stop"}]
    assert (completion["usage"], assembly.left_out, assembly.ended) == ({"completion_tokens": 20_000}, (), True)


def test_what_is_beyond_the_limit_is_marked_and_the_rest_still_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assemble_stream, "KEPT_CHARACTERS", 1000)
    pieces = [event(choices=[delta(content="x" * 400)]) for _ in range(4)]
    assembly = assembled(*pieces, event(choices=[delta(finish="length")]), event(choices=[], usage={"completion_tokens": 9}), DONE)
    completion = assembly.completion()
    assert completion is not None
    assert completion["choices"][0]["message"]["content"] == "x" * 800
    assert completion["choices"][0]["finish_reason"] == "length"
    assert completion["usage"] == {"completion_tokens": 9}
    assert (assembly.left_out, assembly.ended) == (("response.choices[0].message.content",), True)


def test_an_event_that_is_too_large_is_passed_over_and_marked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_stream, "LARGEST_EVENT", 1000)
    large = event(choices=[delta(content="y" * 2000)])
    assembly = assembled(event(choices=[delta(content="a")]), large[:700], large[700:], event(choices=[delta(content="b", finish="stop")]))
    completion = assembly.completion()
    assert completion is not None
    assert completion["choices"][0]["message"]["content"] == "ab"
    assert (assembly.left_out, assembly.ended) == (("response",), True)


def test_parallel_tool_calls_are_joined_by_their_index() -> None:
    first = {"index": 0, "id": "t1", "type": "function", "function": {"name": "find", "arguments": '{"q":'}}
    second = {"index": 1, "id": "t2", "type": "function", "function": {"name": "time", "arguments": ""}}
    assert calls(first, second, {"index": 0, "function": {"arguments": '"x"}'}}, {"index": 1, "function": {"arguments": "{}"}}) == [
        {"id": "t1", "type": "function", "function": {"name": "find", "arguments": '{"q":"x"}'}},
        {"id": "t2", "type": "function", "function": {"name": "time", "arguments": "{}"}},
    ]


@pytest.mark.parametrize("indexes", [(0, 0), (None, None)])
def test_calls_without_indexes_of_their_own_are_told_apart_by_their_ids(indexes: tuple[int | None, int | None]) -> None:
    def call(at: int, name: str) -> dict[str, object]:
        return {"index": indexes[at], "id": f"t{at}", "function": {"name": name, "arguments": "{"}}

    rest = {"index": indexes[0], "function": {"arguments": "}"}}
    found = calls(call(0, "find"), rest, call(1, "time"), rest)
    assert [(one["id"], one["function"]) for one in found] == [
        ("t0", {"name": "find", "arguments": "{}"}),
        ("t1", {"name": "time", "arguments": "{}"}),
    ]


@pytest.mark.parametrize(
    "again", [{"id": "t1"}, {"id": "another"}, {"id": "t1", "function": {"name": "find", "arguments": "}"}}, {"id": ""}]
)
def test_a_fragment_may_repeat_the_id_and_the_name(again: dict[str, object]) -> None:
    first = {"index": 0, "id": "t1", "function": {"name": "find", "arguments": "{"}}
    (found,) = calls(first, {"index": 0, "function": {"arguments": "}"}, **again})
    assert (found["id"], found["function"]) == ("t1", {"name": "find", "arguments": "{}"})


def test_a_name_may_come_in_fragments() -> None:
    (found,) = calls(
        {"index": 0, "id": "t1", "function": {"name": "get_"}},
        {"index": 0, "function": {"name": "weather"}},
        {"index": 0, "function": {"arguments": "{}"}},
    )
    assert found["function"] == {"name": "get_weather", "arguments": "{}"}


def test_calls_that_are_not_of_functions_are_assembled_too() -> None:
    (found,) = calls(
        {"index": 0, "id": "t1", "type": "custom", "custom": {"name": "sql", "input": "SELECT "}}, {"index": 0, "custom": {"input": "1"}}
    )
    assert found == {"id": "t1", "type": "custom", "custom": {"name": "sql", "input": "SELECT 1"}}


def test_fields_that_are_not_known_are_assembled_as_a_whole_answer_has_them() -> None:
    found = message(
        delta(reasoning_details=[{"type": "reasoning.text", "text": "I ", "index": 0, "format": "f1"}], annotations=[{"url": "a"}]),
        delta(reasoning_details=[{"type": "reasoning.text", "text": "see", "index": 0, "format": "f1"}], annotations=[{"url": "b"}]),
        delta(audio={"id": "a1", "data": "AAAA", "transcript": "Hel"}),
        delta(audio={"data": "BBBB", "transcript": "lo", "expires_at": 7}),
        delta(content=[{"type": "text", "text": "to"}]),
        delta(content=[{"type": "text", "text": "tal"}, {"type": "reference", "reference_ids": [1]}]),
    )
    assert found == {
        "role": "assistant",
        "content": [{"type": "text", "text": "total"}, {"type": "reference", "reference_ids": [1]}],
        "reasoning_details": [{"type": "reasoning.text", "text": "I see", "index": 0, "format": "f1"}],
        "annotations": [{"url": "a"}, {"url": "b"}],
        "audio": {"id": "a1", "data": "AAAABBBB", "transcript": "Hello", "expires_at": 7},
    }


def test_what_stands_beside_the_deltas_is_kept() -> None:
    chunks = [
        event(prompt_token_ids=[1, 2], choices=[{**delta(content="a"), "token_ids": [5], "stop_reason": None}]),
        event(choices=[{**delta(content="b", finish="stop"), "token_ids": [6, 7], "stop_reason": "###"}], service_tier="flex"),
    ]
    completion = assembled(*chunks).completion()
    assert completion is not None
    assert (completion["prompt_token_ids"], completion["service_tier"]) == ([1, 2], "flex")
    assert completion["choices"][0]["token_ids"] == [5, 6, 7]
    assert completion["choices"][0]["stop_reason"] == "###"


def test_halves_of_a_character_become_one() -> None:
    halves = b'data: {"choices":[{"delta":{"content":"ok \\ud83d"}}]}\n\ndata: {"choices":[{"delta":{"content":"\\ude00"}}]}\n\n'
    completion = assembled(halves).completion()
    assert completion is not None
    assert completion["choices"][0]["message"]["content"] == "ok 😀"


def test_a_half_that_stays_alone_can_still_be_written() -> None:
    completion = assembled(b'data: {"choices":[{"delta":{"content":"ok \\ud83d"}}]}\n\n').completion()
    assert completion is not None
    assert orjson.loads(orjson.dumps(completion))["choices"][0]["message"]["content"] == "ok �"


def test_an_answer_of_reasoning_alone_has_no_content() -> None:
    found = message(delta(role="assistant", content=""), delta(reasoning="I "), delta(reasoning="think"), delta(finish="length"))
    assert found == {"role": "assistant", "content": None, "reasoning": "I think"}


def test_an_empty_answer_is_an_answer() -> None:
    assert message(delta(role="assistant", content=""), delta(finish="stop")) == {"role": "assistant", "content": ""}


def test_a_stream_that_broke_off_keeps_what_came() -> None:
    assembly = assembled(STREAM[: STREAM.index(b"Welt")])
    completion = assembly.completion()
    assert completion is not None
    assert completion["choices"][0]["message"]["content"] == "Grüße, "
    assert (assembly.ended, assembly.left_out) == (False, ())


@pytest.mark.parametrize(
    ("pieces", "ended"),
    [
        ([event(choices=[delta(content="a")]), DONE], True),  # some servers send no finish reason
        ([event(choices=[delta(content="a", finish="stop")])], True),  # some send no [DONE]
        ([event(choices=[delta(content="a", finish="stop")]), event(choices=[delta(1, content="b")])], False),
        ([event(choices=[delta(content="a", finish="stop")]), event(choices=[delta(1, finish="stop")])], True),
        ([event(choices=[delta(content="a")])], False),
        ([event(choices=[delta(content="a", finish="stop")]), b"data: [DO"], True),
        ([DONE], False),
        ([], False),
    ],
)
def test_an_answer_has_ended_by_done_or_by_all_finish_reasons(pieces: list[bytes], ended: bool) -> None:
    assembly = assembled(*pieces)
    assert (assembly.ended, assembly.left_out) == (ended, ())


@pytest.mark.parametrize(
    "rubbish",
    [b"", b"data: 7\n\n", b"data: null\n\n", b'data: {"choices": [null]}\n\n', b'data: {"choices": [{"delta": 3}]}\n\n', b"\xff\n\n"],
)
def test_rubbish_is_passed_over(rubbish: bytes) -> None:
    assembly = assembled(rubbish, STREAM)
    completion = assembly.completion()
    assert completion is not None
    assert completion["choices"][0]["message"]["content"] == "Grüße, Welt"
    assert assembly.left_out == ()


@pytest.mark.parametrize("broken", [b'data: {"choices": [{"de\n\n', b"data: ?\n\n", b"data: " + b"[" * 5000 + b"\n\n", b"data: \xff\n\n"])
def test_an_event_that_cannot_be_read_marks_the_answer(broken: bytes) -> None:
    assert assembled(STREAM[: STREAM.index(b": a comment")], broken, STREAM).left_out == ("response",)


@pytest.mark.parametrize(
    "sent",
    [
        b'data: {"error": {"message": "out of memory", "code": 500}}\n\n',
        b'data: {"error": "no"}\n\n',
        b'event: error\ndata: {"message": "busy"}\n\n',
        b"event: error\ndata: it broke\n\n",
    ],
)
def test_an_error_within_the_stream_ends_no_answer(sent: bytes) -> None:
    assert assembled(sent).completion() is None
    assembly = assembled(event(choices=[delta(content="a")]), sent, DONE)
    assert (assembly.completion() is not None, assembly.ended, assembly.left_out) == (True, False, ())
