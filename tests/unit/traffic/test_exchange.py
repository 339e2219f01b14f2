"""An exchange keeps what was sent and answered, field by field."""

import base64
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flywheel.errors import InvalidInput
from flywheel.traffic.exchange import exchange_from_wire, text_exchange
from flywheel.traffic.redaction import redacted_exchange
from tests.exchanges import CALL, REQUEST


def completion(message: dict[str, Any], *, reason: str | None = "stop", **more: Any) -> dict[str, Any]:
    choices = [{"index": 0, "message": {"role": "assistant", "content": None, **message}, "finish_reason": reason}]
    return {"id": "chatcmpl-7", "object": "chat.completion", "choices": choices, "usage": {"prompt_tokens": 9}, **more}


def answered(message: dict[str, Any], **more: Any) -> Any:
    return exchange_from_wire(REQUEST, completion(message, **more), where="$.data")


def test_a_request_and_its_answer_come_back_as_they_were_sent() -> None:
    response = completion({"tool_calls": [CALL, CALL | {"id": "call-2"}], "reasoning": "I look."}, reason="tool_calls", created=5)
    exchange = exchange_from_wire(REQUEST, response, where="$.data")
    assert exchange.prompt.to_wire() == REQUEST
    assert exchange.response_to_wire() == response
    assert (exchange.completion_id, exchange.left_out, exchange.text_only) == ("chatcmpl-7", (), False)


def test_the_model_the_stream_and_log_probabilities_are_not_kept_and_not_marked() -> None:
    asked = REQUEST | {"model": "router", "stream": True, "stream_options": {"include_usage": True}, "logprobs": True}
    response = completion({"content": "4"}, prompt_logprobs=[None], model="router-1")
    response["choices"][0]["logprobs"] = {"content": [{"token": "4", "logprob": -0.1}]}
    exchange = exchange_from_wire(asked, response, where="$.data")
    assert exchange.prompt.to_wire() == REQUEST | {"logprobs": True}
    assert exchange.response_to_wire() == completion({"content": "4"})
    assert exchange.left_out == ()


@pytest.mark.parametrize("content", ["\n\n", "", None, "I look it up."])
def test_with_a_call_the_answer_is_the_call_whatever_stands_beside_it(content: str | None) -> None:
    exchange = answered({"content": content, "tool_calls": [CALL]})
    assert exchange.answer_text == '{"tool": "weather", "arguments": {"city": "Oslo"}}'
    assert exchange.answer.message.content == content


def test_several_calls_are_all_in_the_answer() -> None:
    other = {"id": "call-2", "type": "function", "function": {"name": "time", "arguments": ""}}
    assert answered({"tool_calls": [CALL, other]}).answer_text == (
        '[{"tool": "weather", "arguments": {"city": "Oslo"}}, {"tool": "time", "arguments": {}}]'
    )


@pytest.mark.parametrize("arguments", ['{"city": "Bos', '{"a":1}{"a":1}', "null", '"x"', '{"a": NaN}', '{"a":"\\ud83d"}'])
def test_broken_arguments_are_kept_as_they_came_and_seen(arguments: str) -> None:
    call = {"id": "c", "type": "function", "function": {"name": "weather", "arguments": arguments}}
    answer = answered({"tool_calls": [call]}).answer
    assert answer.tool_calls[0].arguments == arguments
    assert answer.has_broken_call


def test_calls_of_another_form_are_the_answer_too_and_come_back_as_sent() -> None:
    custom = {"id": "c", "type": "custom", "custom": {"name": "sql", "input": "SELECT 1"}}
    exchange = answered({"tool_calls": [custom]})
    assert exchange.response_to_wire() == completion({"tool_calls": [custom]})
    assert "SELECT 1" in exchange.answer_text
    assert not exchange.answer.has_broken_call


def test_reasoning_is_kept_apart_and_is_never_the_answer() -> None:
    exchange = answered({"reasoning_content": "Let me think."}, reason="length")
    assert (exchange.answer.reasoning, exchange.answer_text, exchange.answer.finish_reason) == ("Let me think.", "", "length")


def test_a_refusal_is_an_answer() -> None:
    assert answered({"refusal": "I cannot help."}).answer_text == "I cannot help."


def test_all_choices_are_kept_and_the_first_is_the_answer() -> None:
    response = completion({"content": "a"})
    response["choices"].append({"index": 1, "message": {"role": "assistant", "content": "b"}, "finish_reason": "stop"})
    exchange = exchange_from_wire(REQUEST, response, where="$.data")
    assert ([one.text for one in exchange.answers], exchange.answer_text) == (["a", "b"], "a")


def test_media_become_references_by_digest_and_the_row_says_so() -> None:
    picture = bytes(range(256)) * 20
    url = "data:image/png;base64," + base64.b64encode(picture).decode()
    sound = {"type": "input_audio", "input_audio": {"data": base64.b64encode(picture).decode(), "format": "wav"}}
    parts = [{"type": "image_url", "image_url": {"url": url}}, sound, {"type": "text", "text": f"see {url} and say"}]
    exchange = exchange_from_wire({"messages": [{"role": "user", "content": parts}]}, None, where="$.data")
    reference = f"sha256={sha256(picture).hexdigest()};bytes={len(picture)}"
    assert exchange.prompt.to_wire()["messages"][0]["content"] == [
        {"type": "image_url", "image_url": {"url": f"data:image/png;{reference}"}},
        {"type": "input_audio", "input_audio": {"data": f"data:audio/wav;{reference}", "format": "wav"}},
        {"type": "text", "text": f"see data:image/png;{reference} and say"},
    ]
    assert exchange.left_out == (
        "request.messages[0].content[0].image_url.url",
        "request.messages[0].content[1].input_audio.data",
        "request.messages[0].content[2].text",
    )
    again = exchange_from_wire(exchange.prompt.to_wire(), None, where="$.data", left_out=exchange.left_out)
    assert again == exchange


def test_redaction_reaches_every_text_and_no_reference() -> None:
    url = "data:image/png;base64," + base64.b64encode(b"4155550134" * 30).decode()
    asked = {
        "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "ann@x.org"}]}]
    }
    exchange = exchange_from_wire(asked, completion({"content": "ann@x.org", "tool_calls": [CALL]}), where="$")
    clean = redacted_exchange(exchange, lambda text: (text.replace("ann@x.org", "<E>").replace("4", "9"), 1))
    assert clean.prompt.messages[0].text == "<E>"
    assert clean.prompt.messages[0].content[0] == exchange.prompt.messages[0].content[0]  # type: ignore[index]
    assert clean.answer is not None
    assert clean.answer.message.content == "<E>"
    assert (clean.completion_id, clean.left_out) == (exchange.completion_id, exchange.left_out)


@pytest.mark.parametrize(
    ("request_body", "where"),
    [
        ({}, "$.data.request.messages"),
        ({"messages": []}, "$.data.request.messages"),
        ({"messages": ["hello"]}, "$.data.request.messages[0]"),
        ({"messages": [{"content": "x"}]}, "$.data.request.messages[0].role"),
    ],
)
def test_a_request_without_readable_messages_is_refused_with_its_path(request_body: dict[str, Any], where: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        exchange_from_wire(request_body, None, where="$.data")
    assert caught.value.where == where


def test_json_that_is_nested_too_deeply_is_refused() -> None:
    deep: Any = "x"
    for _ in range(200):
        deep = [deep]
    with pytest.raises(InvalidInput, match="nested over 100 levels"):
        exchange_from_wire(REQUEST | {"deep": deep}, None, where="$.data")


@pytest.mark.parametrize("calls", ["none", 7, [7], [{}], [{"function": {}}], [{"function": {"name": 1}}], {"0": CALL}])
@pytest.mark.parametrize("content", [7, {"text": "x"}, ["x", None, {"type": "text", "text": 7}], True])
def test_fields_of_a_strange_form_are_kept_and_break_nothing(calls: Any, content: Any) -> None:
    message = {"role": "assistant", "content": content, "tool_calls": calls, "name": 7, "refusal": []}
    exchange = exchange_from_wire({"messages": [message]}, {"choices": [{"message": message}]}, where="$")
    kept = exchange.prompt.to_wire()["messages"][0]
    assert {key: kept[key] for key in message} == message
    assert isinstance(exchange.answer_text, str)


def test_old_rows_are_exchanges_of_text_and_say_so() -> None:
    exchange = text_exchange([("user", "hello")], "hi", finish_reason="stop")
    assert (exchange.prompt.user_turns, exchange.answer_text, exchange.text_only) == ("hello", "hi", True)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.dictionaries(
    st.sampled_from(["content", "name", "tool_calls", "tool_call_id", "refusal", "reasoning", "function_call", "x"]),
    JSON_VALUES,
    max_size=5,
)


@given(fields=FIELDS, settings=st.dictionaries(st.text(max_size=12), JSON_VALUES, max_size=3))
def test_whatever_is_sent_comes_back(fields: dict[str, Any], settings: dict[str, Any]) -> None:
    request = {**settings, "messages": [{"role": "user", **fields}]}
    exchange = exchange_from_wire(request, {"choices": [{"message": {**fields}}]}, where="$")
    wire = exchange.prompt.to_wire()
    again = exchange_from_wire(wire, exchange.response_to_wire(), where="$", left_out=exchange.left_out)
    assert again == exchange
    without = {"messages", "model", "stream", "stream_options"} | ({"tools"} if settings.get("tools") in (None, []) else set())
    assert {key: wire[key] for key in request if key not in without} == {key: one for key, one in request.items() if key not in without}
    message = wire["messages"][0]
    for key, value in fields.items():
        if value not in (None, [], ""):
            assert message[key] == value
