"""What an attempt becomes on the wire: the exchange as it was served, readable by the recorder, redacted, under 1 MB."""

import base64
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest

from flywheel.errors import InvalidInput
from flywheel.ids import RequestId
from flywheel.traffic.attempt_outcome import AttemptOutcome
from flywheel.traffic.exchange import exchange_from_wire
from flywheel.traffic.inference import Arm, Inference
from flywheel.traffic.redaction import CUT_MARK
from services.gateway.traffic_event import UpstreamAttempt, event_data
from services.integrations.kafka.event_codec import MAX_EVENT_BYTES, TRAFFIC_TYPE, decode_traffic
from services.ports.cloud_events import encode
from tests import exchanges
from tests.exchanges import CALL

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "services" / "gateway"))
from gateway_parts import MailRedactor, attempt, completion

REQUEST: dict[str, Any] = exchanges.REQUEST | {"stop": None}


def on_the_wire(one: UpstreamAttempt) -> tuple[Inference, bytes]:
    data = event_data(one, redactor=MailRedactor())
    raw = encode(type=TRAFFIC_TYPE, id=one.event_id, workload=one.workload, time=one.arrived_at, data=data, partitionkey="k")
    return decode_traffic(raw), raw


def asked(*contents: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": content} for content in contents]}


def test_the_recorder_reads_what_the_gateway_writes() -> None:
    one, _ = on_the_wire(attempt())
    assert (one.event_id, one.request_id, one.exchange.answer_text, one.attempt.status) == ("r1-1", "r1", "hi", 200)
    assert one.exchange.answer is not None
    assert one.exchange.answer.finish_reason == "stop"
    assert (one.session, one.client, one.route_version, one.attempt.latency_ms) == ("s1", "app", 3, 12.5)
    assert (one.dimensions, one.exchange.left_out, one.redacted, one.attempt.outcome) == ({"tenant": "acme"}, (), True, AttemptOutcome.OK)


def test_the_exchange_is_recorded_as_it_was_served() -> None:
    answered = completion("\n\n")
    answered["choices"][0]["message"]["tool_calls"] = [CALL, CALL | {"id": "call-2"}]
    answered["choices"][0] |= {"logprobs": {"content": [{"token": "x"}]}, "stop_reason": "###"}
    answered |= {"usage": {"prompt_tokens": 9, "prompt_tokens_details": {"cached_tokens": 3}}, "service_tier": "flex"}
    one, raw = on_the_wire(attempt(body={**REQUEST, "stream": True}, response=answered, added=("temperature", "messages[0]")))
    assert one.exchange == exchange_from_wire(REQUEST, answered, where="$.data", added=("temperature", "messages[0]"))
    assert one.exchange.prompt.to_wire() == REQUEST
    assert (len(one.exchange.answers[0].tool_calls), one.exchange.completion_id) == (2, answered["id"])
    assert b"logprobs" not in raw
    assert one.exchange.left_out == ()


def test_log_probabilities_make_no_event_too_large() -> None:
    answered = completion("word " * 600)
    answered["choices"][0]["logprobs"] = {"content": [{"token": "word", "top_logprobs": [{"token": "x" * 60}] * 20}] * 900}
    one, _ = on_the_wire(attempt(response=answered))
    assert (one.exchange.answer_text, one.exchange.left_out) == ("word " * 600, ())


def test_a_failed_attempt_has_no_response_and_its_status() -> None:
    one, _ = on_the_wire(attempt(response=None, status=0, error="vLLM did not answer", arm=Arm.CANARY))
    assert (one.exchange.answer, one.attempt.status, one.attempt.error, one.arm) == (None, 0, "vLLM did not answer", Arm.CANARY)
    assert one.attempt.outcome is AttemptOutcome.MODEL_ERROR


@pytest.mark.parametrize(
    ("reply", "outcome"),
    [
        ({"ended": True}, AttemptOutcome.OK),
        ({"ended": True, "client_closed": True}, AttemptOutcome.OK),
        ({"ended": False}, AttemptOutcome.MODEL_ERROR),
        ({"ended": False, "client_closed": True, "status": 499}, AttemptOutcome.CLIENT_ABORTED),
        ({"status": 429, "response": None}, AttemptOutcome.THROTTLED),
        ({"status": 400, "response": None}, AttemptOutcome.CLIENT_ERROR),
    ],
)
def test_the_event_says_whose_error_it_was(reply: dict[str, Any], outcome: AttemptOutcome) -> None:
    data = event_data(attempt(**reply), redactor=MailRedactor())
    assert (data["ended"], data["outcome"]) == (reply.get("ended", True), outcome.value)
    assert on_the_wire(attempt(**reply))[0].attempt.outcome is outcome


def test_the_attempts_of_one_request_are_different_events() -> None:
    first, second = attempt(arm=Arm.CANARY), attempt(number=2)
    assert len({first.event_id, second.event_id, attempt(arm=Arm.SHADOW).event_id}) == 3
    assert attempt(request_id=RequestId("r2")).event_id != first.event_id


def test_personal_data_is_redacted_wherever_it_stands() -> None:
    who = "anna@example.com"
    call = {"id": "c1", "type": "function", "function": {"name": "mail", "arguments": f'{{"to": "{who}"}}'}}
    parts = [{"type": "text", "text": who}, {"type": "image_url", "image_url": {"url": f"https://x/{who}"}}]
    body = {
        "user": who,
        "messages": [{"role": "user", "content": f"I am {who}", "name": who}, {"role": "user", "content": parts}],
        "tools": [{"function": {"description": f"ask {who}", "parameters": {"enum": [who]}}}],
        "metadata": {who: who},
    }
    answered = completion(f"hello {who}")
    answered["choices"][0]["message"] |= {"tool_calls": [call], "reasoning": f"{who} writes", "refusal": who}
    spoken = attempt(
        body=body, response=answered, session=who, dimensions={"tenant": who}, error=f"for {who}", client_request_id=f"req of {who}"
    )
    _, raw = on_the_wire(spoken)
    assert who.encode() not in raw
    assert raw.count(b"<EMAIL_ADDRESS:") == 17


def test_a_text_that_cannot_be_searched_is_left_out_of_the_event() -> None:
    class Cuts(MailRedactor):
        def redact(self, text: str, names: tuple[str, ...] = ()) -> tuple[str, int]:
            return (CUT_MARK, 1) if "poison" in text else super().redact(text)

    one = attempt(body=asked("hello", "poison of Ann"), response=completion("poison of Bob"), session="poison", dimensions={"poison": "x"})
    data = event_data(one, redactor=Cuts())
    assert data["left_out"] == ["request.messages[1].content", "response.choices[0].message.content"]
    assert (data["session_id"], data["dimensions"]) == (CUT_MARK, {CUT_MARK: "x"})
    assert b"poison" not in orjson.dumps(data)


def test_names_of_dimensions_are_redacted_like_their_values() -> None:
    one, _ = on_the_wire(attempt(dimensions={"anna@example.com": "acme"}))
    (name,) = one.dimensions
    assert name.startswith("<EMAIL_ADDRESS:")


def test_names_that_a_request_gives_are_known_in_all_of_its_texts() -> None:
    class Names(MailRedactor):
        def redact(self, text: str, names: tuple[str, ...] = ()) -> tuple[str, int]:
            return super().redact(text.replace("Anna", "<PERSON:01234567>") if names == ("Anna Schmidt",) else text)

    one = attempt(body=asked("I am Anna") | {"user": "Anna Schmidt"}, response=completion("Hello Anna"), session="Anna-1")
    data = event_data(one, redactor=Names())
    assert b"Anna" not in orjson.dumps(data)


def test_a_redacted_session_is_still_one_session() -> None:
    one, other = (on_the_wire(attempt(session=who, request_id=RequestId(who)))[0] for who in ("a@example.com", "a@example.com"))
    assert one.session == other.session
    assert one.session != on_the_wire(attempt(session="b@example.com"))[0].session


@pytest.mark.parametrize("number", ["4155550134", "+1-415-555-0134", "4111-1111-1111-1111"])
def test_a_number_as_a_clients_own_id_is_redacted(number: str) -> None:
    class Numbers:
        def redact(self, text: str, names: tuple[str, ...] = ()) -> tuple[str, int]:
            return text.replace(number, "<PHONE_NUMBER:01234567>"), text.count(number)

    data = event_data(attempt(client_request_id=number), redactor=Numbers())
    assert data["client_request_id"] == "<PHONE_NUMBER:01234567>"


def test_ids_made_by_machines_stay_as_they_are() -> None:
    one, _ = on_the_wire(attempt(client_request_id="req_4155550134-a:7/b=="))
    assert (one.exchange.completion_id, one.client_request_id) == ("chatcmpl-4155550134", "req_4155550134-a:7/b==")
    personal, _ = on_the_wire(attempt(response=completion("hi") | {"id": "joe@example.org"}))
    assert personal.exchange.completion_id.startswith("<EMAIL_ADDRESS:")


class Counting(MailRedactor):
    """Remembers what it searched."""

    def __init__(self) -> None:
        self.searched = 0

    def redact(self, text: str, names: tuple[str, ...] = ()) -> tuple[str, int]:
        self.searched += len(text)
        return super().redact(text)


def test_pictures_and_sounds_are_neither_searched_nor_kept() -> None:
    encoded = base64.b64encode(bytes(range(256)) * 20_000).decode()  # 5 MB
    parts = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{encoded}"}},
        {"type": "input_audio", "input_audio": {"data": encoded, "format": "wav"}},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": encoded}},
    ]
    answered = completion(None)
    answered["choices"][0]["message"]["audio"] = {"id": "a1", "data": encoded, "transcript": "A cat."}
    redactor = Counting()
    data = event_data(attempt(body=asked(parts), response=answered), redactor=redactor)
    assert redactor.searched < 2_000
    assert len(orjson.dumps(data)) < 3_000
    assert data["left_out"] == [
        "request.messages[0].content[1].image_url.url",
        "request.messages[0].content[2].input_audio.data",
        "request.messages[0].content[3].source.data",
        "response.choices[0].message.audio.data",
    ]


def test_what_the_assembly_left_out_is_marked_and_no_path_names_a_user() -> None:
    picture = "data:image/png;base64," + "A" * 400
    one, raw = on_the_wire(attempt(body=asked("x") | {"metadata": {"anna@example.com": picture}}, left_out=("response",)))
    assert one.exchange.left_out[0] == "response"
    assert one.exchange.left_out[1].startswith("request.metadata.<EMAIL_ADDRESS:")
    assert b"anna@example.com" not in raw


@pytest.mark.parametrize("filling", ["x", "ü", "\x00", "\U0001f600", "anna@example.com "])
def test_an_event_over_1_mb_is_cut_and_says_where(filling: str) -> None:
    body = {
        "messages": [{"role": "system", "content": filling * 400_000}, {"role": "user", "content": "the last words " + filling * 400_000}]
    }
    one, raw = on_the_wire(attempt(body=body, response=completion("It is " + filling * 400_000)))
    assert len(raw) < MAX_EVENT_BYTES
    assert set(one.exchange.left_out) >= {"request.messages[1].content"} or one.exchange.left_out == ("request", "response")
    assert one.exchange.prompt.messages[-1].text.startswith("the last words")
    assert one.exchange.answer_text is not None
    assert one.exchange.answer_text.startswith("It is ")
    assert b"anna@" not in raw


def test_a_long_prompt_is_cut_before_its_answer_and_keeps_everything_else() -> None:
    body = REQUEST | {"messages": [{"role": "system", "content": "x" * 2_000_000}, *REQUEST["messages"]]}
    one, _ = on_the_wire(attempt(body=body, response=completion("y" * 50_000)))
    assert one.exchange.left_out == ("request.messages[0].content",)
    assert one.exchange.answer_is_whole
    assert one.exchange.prompt.to_wire() == body | {"messages": [{"role": "system", "content": "x" * 100_000}, *REQUEST["messages"]]}


def test_a_long_answer_is_cut_where_the_prompt_is_short() -> None:
    one, _ = on_the_wire(attempt(response=completion("y" * 2_000_000)))
    assert one.exchange.left_out == ("response.choices[0].message.content",)
    assert one.exchange.answer_text == "y" * 100_000


def test_a_cut_leaves_no_half_of_personal_data() -> None:
    """Wherever the cut falls."""
    who = "ann@mail.example"
    for shift in range(len(who) + 2):
        text = "x" * shift + f" {who}" * 120_000
        _, raw = on_the_wire(attempt(body=asked(text)))
        assert b"ann@" not in raw
        assert b"EMAIL_ADDRESS" in raw
        assert b" ann" not in raw


def test_what_is_cut_away_is_not_searched() -> None:
    redactor = Counting()
    event_data(attempt(body=asked("x" * 20_000_000)), redactor=redactor)
    assert redactor.searched < 300_000


def test_a_large_request_that_fits_is_whole() -> None:
    one, _ = on_the_wire(attempt(body=asked("x" * 900_000)))
    assert (one.exchange.left_out, len(one.exchange.prompt.messages[0].text)) == ((), 900_000)


def test_many_small_messages_over_1_mb_are_cut_too() -> None:
    body = asked(*(f"message {place} " + "y" * 50 for place in range(20_000)))
    one, raw = on_the_wire(attempt(body=body, response=None, status=500, error="no"))
    assert len(raw) < MAX_EVENT_BYTES
    assert one.exchange.left_out == ("request", "response")
    assert one.exchange.prompt.messages[-1].text.startswith("message 19999")


def test_a_session_longer_than_the_schema_allows_becomes_its_digest() -> None:
    assert len(on_the_wire(attempt(session="s" * 5_000))[0].session) == 64


@pytest.mark.parametrize("messages", [None, [], "hi", [{}], [{"role": 3}], ["hi"]])
def test_a_request_without_readable_messages_has_no_event(messages: Any) -> None:
    with pytest.raises(InvalidInput, match=r"\$\.request\.messages"):
        event_data(attempt(body={"messages": messages}), redactor=MailRedactor())


@pytest.mark.parametrize("content", [7, {"text": "x"}, True, ["x", None]])
def test_content_of_a_strange_form_is_recorded_as_it_was_sent(content: Any) -> None:
    one, _ = on_the_wire(attempt(body=asked(content), response=None, status=400, error="no"))
    assert one.exchange.prompt.to_wire() == asked(content)


def test_numbers_and_nulls_survive_redaction() -> None:
    body = asked(None) | {"temperature": 0.5, "stop": None, "n": 1}
    data = event_data(attempt(body=body), redactor=MailRedactor())
    assert data["request"] == body
    assert orjson.loads(orjson.dumps(data)) == data


def test_a_session_that_is_the_request_itself_is_not_searched() -> None:
    """It is an id of ours, and a search costs more than everything else that is done to a short request."""
    searched: list[str] = []

    class Noting(MailRedactor):
        def redact(self, text: str, names: tuple[str, ...] = ()) -> tuple[str, int]:
            searched.append(text)
            return super().redact(text)

    for session in ("4155550134", "ticket 4155550134"):
        event_data(attempt(request_id=RequestId("4155550134"), session=session), redactor=Noting())
    assert [text for text in searched if "4155550134" in text and "chatcmpl" not in text] == ["ticket 4155550134"]
