"""Events in and out: what is right comes back as it went, what is wrong says where."""

import json
from dataclasses import replace
from typing import Any

import orjson
import pytest

from flywheel.errors import InvalidInput
from flywheel.ids import EventId
from flywheel.traffic.exchange import prompt_from_wire
from flywheel.traffic.inference import Arm
from services.integrations.kafka.event_codec import (
    CORRECTION_TYPE,
    check_correction,
    claimed_ids,
    correction_of,
    decode_correction,
    decode_traffic,
)
from services.ports.cloud_events import encode
from tests.chats import CHATS
from tests.traffic_events import NOON, inference, traffic_data, traffic_event


def changed(**changes: Any) -> bytes:
    return traffic_event(1, **changes)


def test_an_event_comes_back_as_the_value_it_describes() -> None:
    read = decode_traffic(traffic_event(3))
    plain = inference(3, prompt_tokens=9, answer_tokens=4, route_version=1, event_id=EventId("event-3"))
    assert replace(read, exchange=replace(read.exchange, usage=dict(plain.exchange.usage))) == plain
    assert (read.exchange.tokens("prompt_tokens"), read.exchange.tokens("completion_tokens")) == (9, 4)


def test_the_clients_own_id_is_kept_beside_ours() -> None:
    read = decode_traffic(changed(client_request_id="order-7"))
    assert (read.request_id, read.client_request_id) == ("req-1", "order-7")
    assert decode_traffic(changed()).client_request_id == ""


def test_a_failed_attempt_has_no_answer() -> None:
    read = decode_traffic(changed(response=None, status=0, error="connection refused", arm="canary", attempt=1))
    assert (read.exchange.answer, read.attempt.status, read.arm) == (None, 0, Arm.CANARY)


def test_text_parts_are_joined_and_a_tool_call_is_its_json() -> None:
    parts = [{"type": "text", "text": "one"}, {"type": "image_url", "image_url": {}}, {"type": "text", "text": "two"}]
    call = {"id": "call-1", "type": "function", "function": {"name": "book", "arguments": '{"seats": 2}'}}
    read = decode_traffic(
        changed(
            request={"messages": [{"role": "user", "content": parts}, {"role": "assistant", "content": None}], "tools": [{"any": 1}]},
            response={"choices": [{"message": {"content": None, "tool_calls": [call]}, "finish_reason": "tool_calls"}]},
        )
    )
    assert [message.text for message in read.exchange.prompt.messages] == ["one\ntwo", ""]
    assert json.loads(read.exchange.answer_text or "") == {"tool": "book", "arguments": {"seats": 2}}


@pytest.mark.parametrize(
    "response",
    [{}, {"choices": []}, {"choices": [7]}, {"choices": [{"message": "x"}]}, {"usage": {"prompt_tokens": 1e30}}, {"choices": {"0": 1}}],
)
def test_a_strange_response_is_open_to_its_producer(response: dict[str, Any]) -> None:
    assert decode_traffic(changed(response=response)).exchange.answer is None


@pytest.mark.parametrize(
    ("raw", "where"),
    [
        (b"", "$"),
        (b"rubbish", "$"),
        (b"\xff\xfe", "$"),
        (b'{"id": NaN}', "$"),
        (b"[" * 5_000, "$"),
        (b"[]", "$"),
        (b"{}", "$"),
        (b"x" * 1_048_577, "$"),
        (changed(status="200"), "$.data.status"),
        (changed(status=True), "$.data.status"),
        (changed(latency_ms=-1), "$.data.latency_ms"),
        (changed(arm="throne"), "$.data.arm"),
        (changed(extra=1), "$.data"),
        (changed(request={"messages": []}), "$.data.request.messages"),
        (changed(request={"messages": [{"content": "x"}]}), "$.data.request.messages[0]"),
        (changed(timestamp="yesterday"), "$.data.timestamp"),
        (changed(timestamp="2026-01-05T12:00:00"), "$.data.timestamp"),
        (changed(timestamp="0001-01-01T00:00:00+14:00"), "$.data.timestamp"),
        (changed(timestamp="1999-12-31T23:59:59Z"), "$.data.timestamp"),
        (changed(route_version=10**18), "$.data.route_version"),
        (changed(dimensions={"tenant": 3}), "$.data.dimensions.tenant"),
        (encode(type="flywheel.alert.v1", id="x", workload="support", time=NOON, data=traffic_data()), "$.type"),
        (encode(type="flywheel.traffic.v1", id="x", workload="other", time=NOON, data=traffic_data()), "$.subject"),
        (encode(type="flywheel.traffic.v1", id="", workload="support", time=NOON, data=traffic_data()), "$.id"),
    ],
)
def test_what_is_wrong_is_named_by_its_path(raw: bytes, where: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        decode_traffic(raw)
    assert caught.value.where == where


def test_a_lone_surrogate_is_refused() -> None:
    with pytest.raises(InvalidInput):
        decode_traffic(traffic_event(1).replace(b"On its way.", rb"\ud800"))


def test_a_reason_never_repeats_a_users_text() -> None:
    with pytest.raises(InvalidInput) as caught:
        decode_traffic(changed(error={"secret": "my text"}))
    assert "my text" not in caught.value.reason


def test_ids_are_seen_as_far_as_they_can_be_read() -> None:
    assert claimed_ids(changed(status="x")) == ("event-1", "support")
    assert claimed_ids(b"rubbish") == ("", "")
    assert claimed_ids(b'{"id": 7, "data": [], "subject": {}}') == ("", "")
    assert claimed_ids(b"[1]") == ("", "")


def correction(**changes: Any) -> bytes:
    data: dict[str, Any] = {
        "correction_id": "c-1",
        "workload_id": "support",
        "source": "desk",
        "kind": "edit",
        "request_id": "req-1",
        "corrected": "Tomorrow.",
        "author": {"name": "Ann"},
        "created_at": "2026-01-05T12:00:00Z",
        "submitted_by": "support-tool",
    }
    whole = {key: value for key, value in (data | changes).items() if value is not None}
    return encode(type=CORRECTION_TYPE, id="c-1", workload="support", time=NOON, data=whole)


def test_a_correction_comes_with_who_submitted_it() -> None:
    read, submitted_by = decode_correction(correction())
    assert (read.id, read.given_id, read.corrected, read.author, submitted_by) == (
        "support/desk:c-1",
        "c-1",
        "Tomorrow.",
        "Ann",
        "support-tool",
    )


@pytest.mark.parametrize("chat", CHATS, ids=range(len(CHATS)))
def test_a_request_that_the_gateway_takes_is_taken_in_a_correction_unchanged(chat: dict[str, Any]) -> None:
    body = {"request_id": None, "messages": chat["messages"], "tools": chat.get("tools", [])}
    data = {key: value for key, value in json.loads(correction(**body))["data"].items() if value is not None}
    read = correction_of(data, where="$")
    sent = prompt_from_wire(chat, where="$")
    assert (read.inline.messages, read.inline.tools) == (sent.messages, sent.tools)
    check_correction(data)


def test_dimensions_original_message_and_calls_are_read() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "track", "arguments": '{"order":7}'}}
    read, _ = decode_correction(
        correction(
            corrected=None,
            corrected_calls=[{"name": "track", "arguments": {"order": 8}}],
            original={"role": "assistant", "content": "\n\n", "tool_calls": [call]},
            dimensions={"tenant": "acme"},
        )
    )
    assert read.original == '{"tool": "track", "arguments": {"order": 7}}'
    assert read.corrected == '{"tool": "track", "arguments": {"order": 8}}'
    assert read.inline.dimensions == {"tenant": "acme"}


PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 400}}


def test_a_picture_in_a_request_is_kept_as_a_digest_and_marked() -> None:
    messages = [{"role": "user", "content": [PICTURE, {"type": "text", "text": "What is it?"}]}]
    read, _ = decode_correction(correction(messages=messages))
    assert read.inline.left_out == ("messages[0].content[0].image_url.url",)
    assert "AAAA" not in str(read.inline.messages)


DEEP: dict[str, Any] = {}
for _ in range(200):
    DEEP = {"a": DEEP}


@pytest.mark.parametrize(
    ("kind", "changes", "where"),
    [
        ("a role that nobody has", {"messages": [{"role": "boss", "content": "x"}]}, "$.data.messages[0].role"),
        ("content that is a number", {"messages": [{"role": "user", "content": 7}]}, "$.data.messages[0].content"),
        ("no role", {"messages": [{"content": "x"}]}, "$.data.messages[0]"),
        ("a tool that is a text", {"tools": ["get_weather"]}, "$.data.tools[0]"),
        ("a dimension that is a number", {"dimensions": {"tenant": 7}}, "$.data.dimensions.tenant"),
        ("a call without a name", {"corrected": None, "corrected_calls": [{"arguments": {}}]}, "$.data.corrected_calls[0]"),
        ("no calls", {"corrected": None, "corrected_calls": []}, "$.data.corrected_calls"),
        (
            "broken arguments",
            {"corrected": None, "corrected_calls": [{"name": "f", "arguments": '{"a":'}]},
            "$.data.corrected_calls[0].arguments",
        ),
        ("an answer in two forms", {"corrected_calls": [{"name": "f", "arguments": {}}]}, "$.data.corrected_calls"),
        ("an empty message", {"corrected": {"content": ""}}, "$.data.corrected"),
        ("a picture as the answer", {"corrected": {"content": [PICTURE]}}, "$.data.corrected.content[0].image_url.url"),
        ("an answer nested too deeply", {"corrected": {"content": "x", "more": DEEP}}, "$.data.corrected.more"),
        (
            "arguments nested too deeply",
            {"corrected": None, "corrected_calls": [{"name": "f", "arguments": DEEP}]},
            "$.data.corrected_calls",
        ),
        ("a message nested too deeply", {"messages": [{"role": "user", "content": "x", "more": DEEP}]}, "$.data.messages"),
    ],
)
def test_a_correction_that_cannot_be_read_is_refused_with_its_path(kind: str, changes: dict[str, Any], where: str) -> None:
    data = {key: value for key, value in json.loads(correction(**changes))["data"].items() if value is not None}
    with pytest.raises(InvalidInput) as caught:
        check_correction(data)
    assert caught.value.where.startswith(where.replace("$.data", "$")), kind
    assert len(str(caught.value)) < 500
    with pytest.raises(InvalidInput) as caught:
        decode_correction(encode(type=CORRECTION_TYPE, id="c-1", workload="support", time=NOON, data=data))
    assert caught.value.where.startswith(where)


@pytest.mark.parametrize(
    ("changes", "where"), [({"kind": "poke"}, "$.data.kind"), ({"corrected": ""}, "$.data.corrected"), ({"x": 1}, "$.data")]
)
def test_a_wrong_correction_is_named_by_its_path(changes: dict[str, Any], where: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        decode_correction(correction(**changes))
    assert caught.value.where == where


def test_what_we_encode_is_small_and_plain_json() -> None:
    event = orjson.loads(traffic_event(1))
    assert event["specversion"] == "1.0"
    assert event["time"] == "2026-01-05T12:00:00.000000Z"


# Odd values: each field has a rule


TOO_MANY = {f"d{number}": "x" for number in range(5_000)}
ODD: list[tuple[dict[str, Any], str]] = [
    ({"latency_ms": 1e308}, "breaks maximum"),
    ({"latency_ms": 86_400_001}, "breaks maximum"),
    ({"timestamp": "2001-09-09T01:46:40Z"}, "before the year 2020"),
    ({"timestamp": "2026-W48-7"}, "RFC 3339"),
    ({"timestamp": "2026-W48-7T10:00:00Z"}, "RFC 3339"),
    ({"timestamp": "20261129T100000Z"}, "RFC 3339"),
    ({"timestamp": "2026-11-29T10:00:00,5Z"}, "RFC 3339"),
    ({"timestamp": "2026-11-29T10:00Z"}, "RFC 3339"),
    ({"timestamp": "2026-11-29T10:00:00"}, "time zone"),
    ({"adapter": "a\x00"}, "control characters"),
    ({"session_id": "a\x1b[31m"}, "control characters"),
    ({"request_id": "a\n"}, "control characters"),
    ({"client_id": "\x7f"}, "control characters"),
    ({"client_request_id": "\x9b"}, "control characters"),
    ({"dimensions": {"tenant": "a\rb"}}, "control characters"),
    ({"dimensions": {"ten\nant": "a"}}, "control characters"),
    ({"dimensions": {"n" * 101: "a"}}, "breaks maxLength"),
    ({"dimensions": {"": "a"}}, "breaks minLength"),
    ({"dimensions": TOO_MANY}, "breaks maxProperties"),
    ({"request": {"messages": [{"role": "r" * 100_000, "content": "hi"}]}}, "breaks maxLength"),
]


@pytest.mark.parametrize(("odd", "reason"), ODD, ids=[f"{next(iter(odd))} {number}" for number, (odd, _) in enumerate(ODD)])
def test_an_odd_value_is_refused_by_the_rule_of_its_field(odd: dict[str, Any], reason: str) -> None:
    (field,) = odd
    with pytest.raises(InvalidInput, match=reason) as refused:
        decode_traffic(changed(**odd))
    assert (refused.value.where or "").startswith(f"$.data.{field}")


@pytest.mark.parametrize("moment", ["2026-11-29T10:00:00Z", "2026-11-29 10:00:00.5z", "2026-11-29t12:00:00.123456789+02:00"])
def test_every_form_of_rfc_3339_is_read(moment: str) -> None:
    read = decode_traffic(changed(timestamp=moment)).occurred_at
    assert (read.date().isoformat(), read.hour) == ("2026-11-29", 10)


def test_the_time_of_the_envelope_decides_nothing() -> None:
    event = orjson.loads(changed())
    assert decode_traffic(orjson.dumps(event | {"time": "9999-12-31T23:59:59Z"})) == decode_traffic(changed())


def test_of_a_key_that_occurs_twice_the_last_value_counts_in_every_reader() -> None:
    raw = changed().replace(b'"id":', b'"id":"first","id":', 1)
    assert decode_traffic(raw).event_id == "event-1" == claimed_ids(raw)[0] == orjson.loads(raw)["id"] == json.loads(raw)["id"]


def test_an_id_that_is_shown_to_people_holds_no_control_characters() -> None:
    raw = orjson.dumps({"id": "a\x1b[2Jb", "data": {"workload_id": "r\x07"}})
    assert claimed_ids(raw) == ("a\N{REPLACEMENT CHARACTER}[2Jb", "r\N{REPLACEMENT CHARACTER}")
