"""The released examples of the traffic event: each stays valid and readable for ever."""

import json
from importlib.resources import files
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from flywheel.traffic.attempt_outcome import AttemptOutcome
from flywheel.traffic.inference import Arm
from schemas import schema
from services.integrations.kafka.event_codec import decode_traffic

EXAMPLES = sorted(
    (example for example in files("schemas").joinpath("examples").iterdir() if example.name.startswith("traffic.v1.")),
    key=lambda example: example.name,
)


def read(case: str) -> bytes:
    return files("schemas").joinpath(f"examples/traffic.v1.{case}.json").read_bytes()


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_an_example_fits_its_schemas_and_is_readable(example: Any) -> None:
    event = json.loads(example.read_text())
    Draft202012Validator(schema("envelope.v1")).validate(event)
    Draft202012Validator(schema("traffic/traffic.v1")).validate(event["data"])
    assert decode_traffic(example.read_bytes()).event_id == event["id"]


def test_the_schemas_are_schemas() -> None:
    for name in ("envelope.v1", "traffic/traffic.v1"):
        Draft202012Validator.check_schema(schema(name))


def test_what_is_left_out_has_its_default() -> None:
    least = decode_traffic(read("least"))
    assert (least.redacted, bool(least.exchange.left_out), least.attempt.number, least.route_version, dict(least.dimensions)) == (
        False,
        False,
        1,
        0,
        {},
    )


def test_each_case_reads_as_its_name_says() -> None:
    assert decode_traffic(read("failed_attempt")).exchange.answer_text is None
    assert decode_traffic(read("no_answer_came")).attempt.status == 0
    assert decode_traffic(read("shadow")).arm is Arm.SHADOW
    assert bool(decode_traffic(read("truncated")).exchange.left_out)
    assert decode_traffic(read("tool_call")).exchange.answer_text == '{"tool": "track_order", "arguments": {"order": 1042}}'
    assert decode_traffic(read("all_fields")).dimensions == {"tenant": "acme", "function": "track_order"}
    exchange = decode_traffic(read("exchange"))
    assert (exchange.client_request_id, exchange.exchange.added) == ("shop-7f3a", ("temperature", "max_tokens"))
    assert exchange.exchange.answer is not None
    assert [call.id for call in exchange.exchange.answer.tool_calls] == ["call-2", "call-3"]
    assert decode_traffic(read("left_out")).exchange.left_out == ("request.messages[0].content[1].image_url.url",)


@pytest.mark.parametrize(
    ("case", "outcome"),
    [
        ("least", AttemptOutcome.OK),
        ("exchange", AttemptOutcome.OK),
        ("truncated", AttemptOutcome.OK),
        ("no_answer_came", AttemptOutcome.MODEL_ERROR),
        ("broken_stream", AttemptOutcome.MODEL_ERROR),
        ("client_aborted", AttemptOutcome.CLIENT_ABORTED),
    ],
)
def test_an_example_says_whose_error_it_was_or_it_follows(case: str, outcome: AttemptOutcome) -> None:
    assert decode_traffic(read(case)).attempt.outcome is outcome


def test_an_event_of_before_is_read_as_cut_where_it_was() -> None:
    cut = decode_traffic(read("truncated"))
    assert (cut.exchange.left_out, cut.exchange.answer_is_whole) == (("request", "response"), False)
