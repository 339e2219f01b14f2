"""A stream on its way to the user: what is changed, and that nothing else is."""

from itertools import pairwise

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway import rewrite_stream
from services.gateway.rewrite_stream import StreamRewrite, with_model

USAGE = b'data: {"id":"c","model":"new","choices":[],"usage":{"prompt_tokens":1}}\n\n'
CHUNK = (
    'data: {"id":"c","model":"new","choices":[{"index":0,"delta":{"content":"é \\"model\\":\\"new\\""},"finish_reason":null}]}\n\n'.encode()
)
LAST = b'data: {"id":"c", "model" : "new","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
STREAM = b": keep-alive\n\n" + CHUNK + b"event: x\r\ndata: 7\r\n\r\n" + LAST + USAGE + b"data: [DONE]\n\n"
SHOWN = (
    STREAM.replace(b'"model":"new"', b'"model":"alias"')
    .replace(b'"model" : "new"', b'"model" : "alias"')
    .replace(USAGE.replace(b'"new"', b'"alias"'), b"")
)


def passed(*pieces: bytes, keep_usage: bool = False, is_chat: bool = True) -> tuple[bytes, StreamRewrite]:
    rewrite = StreamRewrite(shown_as="alias", is_chat=is_chat, keep_usage=keep_usage)
    return b"".join([*(rewrite.feed(piece) for piece in pieces), rewrite.end()]), rewrite


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_the_pieces_of_a_stream_do_not_matter(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(STREAM)]
    shown, rewrite = passed(*(STREAM[start:end] for start, end in pairwise(edges)))
    assert (shown, rewrite.done, rewrite.error) == (SHOWN, True, None)


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_a_stream_that_comes_byte_by_byte_is_shown_event_by_event(end: bytes) -> None:
    stream = STREAM.replace(b"\r\n", b"\n").replace(b"\n", end)
    rewrite = StreamRewrite(shown_as="new", is_chat=True, keep_usage=True)
    shown = [shown for at in range(len(stream)) if (shown := rewrite.feed(stream[at : at + 1]))]
    assert (b"".join(shown).strip(), len(shown)) == (stream.strip(), 6)


def test_only_the_model_is_written_anew() -> None:
    shown, _ = passed(CHUNK)
    assert shown == CHUNK.replace(b'"model":"new"', b'"model":"alias"')
    assert shown.count(b'\\"model\\":\\"new\\"') == 1  # a text that looks like it stays


def test_usage_that_was_asked_for_stays() -> None:
    assert passed(USAGE, keep_usage=True)[0] == USAGE.replace(b'"new"', b'"alias"')
    assert passed(USAGE)[0] == b""


@pytest.mark.parametrize("choices", [b"[]", b'[{"index":0,"delta":{}}]', b'[{"index":0,"delta":{"content":""},"finish_reason":null}]'])
def test_a_chunk_that_holds_only_the_usage_is_left_out(choices: bytes) -> None:
    event = b'data: {"id":"c","choices":' + choices + b',"usage":{"total_tokens":1}}\n\n'
    assert passed(event)[0] == b""
    assert passed(event, keep_usage=True)[0] == event


def test_usage_beside_content_is_left_out_of_its_chunk() -> None:
    event = b'event: x\ndata: {"model":"new","choices":[{"index":0,"delta":{"role":"assistant"}}],"usage":{"total_tokens":1}}\n\n'
    shown, _ = passed(event)
    assert shown == b'event: x\ndata: {"model":"alias","choices":[{"index":0,"delta":{"role":"assistant"}}]}\n\n'
    last = LAST.replace(b'"stop"}]', b'"stop"}],"usage":{"total_tokens":1}')
    shown, _ = passed(last)
    assert (b"total_tokens" in shown, b'"finish_reason":"stop"' in shown) == (False, True)


def test_a_chunk_without_choices_and_usage_stays() -> None:
    filtered = b'data: {"choices":[],"prompt_filter_results":[]}\n\n'
    assert passed(filtered)[0] == filtered


@pytest.mark.parametrize("end", [b"\r\n", b"\r"])
def test_other_line_ends_are_understood_and_kept(end: bytes) -> None:
    stream, shown = STREAM.replace(b"\r\n", b"\n").replace(b"\n", end), SHOWN.replace(b"\r\n", b"\n").replace(b"\n", end)
    assert passed(stream)[0] == shown
    rewrite = StreamRewrite(shown_as="alias", is_chat=True, keep_usage=False)
    assert b"".join(rewrite.feed(stream[at : at + 1]) for at in range(len(stream))).strip() == shown.strip()


@pytest.mark.parametrize(
    ("data", "message"),
    [(b'{"message":"no","code":500}', "no"), (b'{"error":{"message":"no"}}', "no"), (b"no", "no"), (b'"no"', "no"), (b"{", "{")],
)
def test_an_event_named_error_is_an_error_of_a_chat(data: bytes, message: str) -> None:
    event = b"event: error\ndata: " + data + b"\n\n"
    shown, rewrite = passed(event)
    assert rewrite.error is not None
    assert (rewrite.error["message"], orjson.loads(shown.split(b"data: ")[1])["error"]) == (message, rewrite.error)
    if b'"error"' not in data:
        assert passed(event, is_chat=False)[0] == event


def test_the_response_inside_an_event_has_the_name_too() -> None:
    event = b'event: response.created\ndata: {"type":"response.created","response":{"model":"new","error":null}}\n\n'
    shown, rewrite = passed(event)
    assert (shown, rewrite.error) == (event.replace(b'"new"', b'"alias"'), None)


@pytest.mark.parametrize("choices", [b'[{"delta":"x"}]', b'["x"]', b'"x"', b'[{"delta":{"content":"x"}}]', b"null"])
def test_what_beside_the_usage_is_not_understood_stays(choices: bytes) -> None:
    assert passed(b'data: {"choices":' + choices + b',"usage":{}}\n\n')[0] == b'data: {"choices":' + choices + b"}\n\n"


@pytest.mark.parametrize("data", [b"data: {", b"data: [1]", b"data: null", b"data:", b"hello", b'data: {"choices":7}', b"id: 4"])
def test_what_is_no_chunk_is_passed_on_as_it_came(data: bytes) -> None:
    assert passed(data + b"\n\n", CHUNK)[0].startswith(data + b"\n\n")


def test_an_event_over_several_lines_is_read_as_one() -> None:
    shown, _ = passed(b'data: {"model":\ndata: "new"}\n\n')
    assert shown == b'data: {"model":\ndata: "new"}\n\n'  # the name is cut by a line; the event itself is whole
    error = passed(b'data: {"error":\ndata: "no"}\n\n')[1].error
    assert error is not None
    assert error["message"] == "no"


def test_an_event_that_is_too_large_is_passed_on_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rewrite_stream, "LARGEST_EVENT", 100)
    pieces = [b"data: " + b"x" * 60, b"y" * 60, b"z" * 60, b"\n\n", CHUNK]
    assert passed(*pieces)[0] == b"".join(pieces).replace(b'"model":"new"', b'"model":"alias"')


def test_a_name_of_any_characters_is_found() -> None:
    assert with_model(b'{"model":"a.b(c"}', {"model": "a.b(c"}, shown_as='q"\\') == b'{"model":"q\\"\\\\"}'
    assert with_model(b'{"model":3}', {"model": 3}, shown_as="alias") == b'{"model":3}'
