"""What an attempt becomes on the wire: readable by the recorder, redacted, under 1 MB."""

import sys
from pathlib import Path
from typing import Any

import orjson
import pytest

from flywheel.ids import RequestId
from flywheel.traffic.inference import Arm, Inference
from services.gateway.traffic_event import UpstreamAttempt, can_be_captured, event_data
from services.integrations.kafka.event_codec import MAX_EVENT_BYTES, TRAFFIC_TYPE, decode_traffic
from services.ports.cloud_events import encode

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "services" / "gateway"))
from gateway_parts import MailRedactor, attempt, completion


def on_the_wire(one: UpstreamAttempt) -> tuple[Inference, bytes]:
    data = event_data(one, redactor=MailRedactor())
    raw = encode(type=TRAFFIC_TYPE, id=one.event_id, workload=one.workload, time=one.arrived_at, data=data, partitionkey="k")
    return decode_traffic(raw), raw


def test_the_recorder_reads_what_the_gateway_writes() -> None:
    inference, _ = on_the_wire(attempt())
    assert (inference.event_id, inference.request_id, inference.exchange.answer_text, inference.exchange.answer.finish_reason) == (
        "r1-1",
        "r1",
        "hi",
        "stop",
    )
    assert (inference.session, inference.client, inference.route_version, inference.latency_ms) == ("s1", "app", 3, 12.5)
    assert (inference.dimensions, bool(inference.exchange.left_out), inference.redacted) == ({"tenant": "acme"}, False, True)


def test_a_failed_attempt_has_no_response_and_its_status() -> None:
    inference, _ = on_the_wire(attempt(response=None, status=0, error="vLLM did not answer", arm=Arm.CANARY))
    assert (inference.exchange.answer_text, inference.status, inference.error, inference.arm) == (
        None,
        0,
        "vLLM did not answer",
        Arm.CANARY,
    )


def test_the_attempts_of_one_request_are_different_events() -> None:
    first, second = attempt(arm=Arm.CANARY), attempt(number=2)
    assert len({first.event_id, second.event_id, attempt(arm=Arm.SHADOW).event_id}) == 3
    assert attempt(request_id=RequestId("r2")).event_id != first.event_id


def test_personal_data_is_redacted_wherever_it_stands() -> None:
    who = "anna@example.com"
    body = {
        "model": "router",
        "user": who,
        "messages": [{"role": "user", "content": f"I am {who}"}, {"role": "user", "content": [{"type": "text", "text": who}]}],
        "tools": [{"function": {"description": f"ask {who}"}}],
        "metadata": {who: who},
    }
    spoken = attempt(body=body, response=completion(f"hello {who}"), session=who, dimensions={"tenant": who}, error=f"for {who}")
    _, raw = on_the_wire(spoken)
    assert who.encode() not in raw
    assert raw.count(b"<EMAIL_ADDRESS:") >= 9


def test_a_redacted_session_is_still_one_session() -> None:
    one, other = (on_the_wire(attempt(session=who, request_id=RequestId(who)))[0] for who in ("a@example.com", "a@example.com"))
    assert one.session == other.session
    assert one.session != on_the_wire(attempt(session="b@example.com"))[0].session


def test_ids_made_by_machines_stay_as_they_are() -> None:
    data = event_data(attempt(), redactor=MailRedactor())
    assert data["response"]["id"] == "chatcmpl-4155550134"


@pytest.mark.parametrize("filling", ["x", "ü", "\x00", "\U0001f600"])
def test_an_event_over_1_mb_is_cut_and_says_so(filling: str) -> None:
    messages = [{"role": "system", "content": filling * 400_000}, {"role": "user", "content": "the last words " + filling * 400_000}]
    inference, raw = on_the_wire(attempt(body={"messages": messages}, response=completion(filling * 400_000)))
    assert len(raw) < MAX_EVENT_BYTES
    assert bool(inference.exchange.left_out)
    assert inference.exchange.prompt.messages[-1].text.startswith("the last words")
    assert inference.exchange.answer_text


def test_a_large_request_that_fits_is_whole() -> None:
    inference, _ = on_the_wire(attempt(body={"messages": [{"role": "user", "content": "x" * 900_000}]}))
    assert not bool(inference.exchange.left_out)
    assert len(inference.exchange.prompt.messages[0].text) == 900_000


def test_many_small_messages_over_1_mb_are_cut_too() -> None:
    messages = [{"role": "user", "content": f"message {place} " + "y" * 50} for place in range(20_000)]
    inference, raw = on_the_wire(attempt(body={"messages": messages}, response=None, status=500, error="no"))
    assert len(raw) < MAX_EVENT_BYTES
    assert inference.exchange.prompt.messages[-1].text.startswith("message 19999")


def test_a_session_longer_than_the_schema_allows_becomes_its_digest() -> None:
    assert len(on_the_wire(attempt(session="s" * 5_000))[0].session) == 64


@pytest.mark.parametrize("messages", [None, [], "hi", [{}], [{"role": 3}], ["hi"], [{"role": "user", "content": 7}]])
def test_a_request_without_proper_messages_is_not_captured(messages: Any) -> None:
    assert not can_be_captured({"model": "router", "messages": messages})


def test_numbers_and_nulls_survive_redaction() -> None:
    body = {"messages": [{"role": "user", "content": None}], "temperature": 0.5, "stop": None, "n": 1, "stream": True}
    data = event_data(attempt(body=body), redactor=MailRedactor())
    assert data["request"] == body
    assert orjson.loads(orjson.dumps(data)) == data
