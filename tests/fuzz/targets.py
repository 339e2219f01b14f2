"""What the fuzzer drives: each border where bytes from outside are first read, and what is done with them right after.

A target takes any bytes. It may raise FlywheelError, which is how a border refuses; every other exception, and every claim that does
not hold, is a finding. ``SEEDS`` are inputs of the usual form, from which the fuzzer starts.
"""

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from copy import deepcopy
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import orjson

from flywheel.comparison import ComparisonPolicy, compare
from flywheel.corrections.diagnosis import Cause, diagnose
from flywheel.corrections.join_inference import without_request
from flywheel.corrections.near_duplicates import NearPrompts
from flywheel.errors import FlywheelError
from flywheel.ids import BASE, Person, WorkloadId
from flywheel.regression_suite.golden import case_of_row
from flywheel.regression_suite.grade import grade, grader_of
from flywheel.rollout.release import Route
from flywheel.traffic.exchange import exchange_from_wire
from flywheel.traffic.features import columns_of
from flywheel.traffic.message import Message
from services.api.requests import uploaded_objects
from services.gateway.assemble_stream import Assembly
from services.gateway.read_request import check_messages, read_body, session_of
from services.integrations.kafka.event_codec import CORRECTION_TYPE, claimed_ids, decode_correction, decode_traffic
from services.integrations.presidio.redactor import RedactorAtFirstText
from services.ports.cloud_events import encode
from services.ports.route_on_the_wire import from_wire, to_wire
from services.settings.loading import read
from tests.learning import case, joined
from tests.traffic_events import traffic_event

EDITS = b"\x01"
OF_JSON = frozenset({"traffic", "correction", "route", "exchange", "gateway_body", "golden_row"})
ODD: Sequence[object] = (
    *(None, True, False, 0, -1, 2**63, 10**30, 0.5, 1e308, "", " ", "a", "\x00", "\ud800", "é\u0301", "a" * 500, "2026-05-01T07:00:00Z"),
    *("2026-05-01", "1e5", "[]", "NaN", "assistant", "tool", "system", "edit", "equals", "tool_call", [], {}, [[]], [None], [{}], {"": {}}),
    *({"role": "user", "content": "x"}, [{"role": "tool", "content": None}], {"type": "image_url", "image_url": {"url": "data:,"}}),
)
"""Texts with half a character are written as JSON escapes."""

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
SESSION_SOURCES = ("header", "user", "safety_identifier", "prompt_cache_key", "metadata.session_id")
COMPARISON = ComparisonPolicy()


def traffic(data: bytes) -> None:
    """An event of the traffic topic, and the columns that are counted of it."""
    claimed_ids(data)
    columns_of(decode_traffic(data), valid_format=None)


def correction(data: bytes) -> None:
    """An event of the corrections topic, and why the model was wrong."""
    claimed_ids(data)
    read_one, _ = decode_correction(data)
    if read_one.corrected is not None:
        assert diagnose(without_request(read_one), COMPARISON).cause in tuple(Cause)


def route(data: bytes) -> None:
    """A route, as it stands on the topic and in the gateway's files: what is read is written again as it was read."""
    found = from_wire(_json(data))
    assert from_wire(to_wire(found)) == found


def exchange(data: bytes) -> None:
    """A request and its answer: what is read comes back."""
    value = _json(data)
    if not isinstance(value, Mapping):
        return
    request, response = value.get("request"), value.get("response")
    if not isinstance(request, Mapping) or not isinstance(response, Mapping | None):
        return
    found = exchange_from_wire(request, response, where="$")
    if not found.left_out:
        assert exchange_from_wire(found.prompt.to_wire(), found.response_to_wire(), where="$") == found


def redaction(data: bytes) -> None:
    """Any text."""
    text, found = _redactor().redact(_text(data))
    assert isinstance(text, str)
    assert found >= 0


def answers(data: bytes) -> None:
    """Two answers: a text is the same as itself, and the grader that is made of an answer takes it."""
    first, second = _two(data)
    assert compare(first, first, COMPARISON).same
    compare(first, second, COMPARISON)
    diagnose(joined("c", "x", second, original=first), COMPARISON)
    if second.strip():
        made = grader_of(second, original=first, comparison=COMPARISON)
        assert grade(case=case("c", "x", grader=made), answer=second, comparison=COMPARISON).correct
        grade(case=case("c", "x", grader=made), answer=first, comparison=COMPARISON)


def near_duplicates(data: bytes) -> None:
    """Two prompts."""
    first, second = ((Message(role="user", content=text),) for text in _two(data))
    index = NearPrompts(threshold=0.7)
    index.add("first", first)
    index.near(second)


def settings(data: bytes) -> None:
    """A flywheel.yaml: it is used, or its faults are told."""
    with tempfile.NamedTemporaryFile(suffix=".yaml") as file:
        file.write(data)
        file.flush()
        read(Path(file.name))


def gateway_body(data: bytes) -> None:
    """The body of a user's request."""
    _, body = read_body(data)
    check_messages(body)
    session_of({}, body, sources=SESSION_SOURCES)


def upload(data: bytes) -> None:
    """An upload of corrections or cases."""
    for one in uploaded_objects(data):
        assert one.error is None or not one.body


def stream(data: bytes) -> None:
    """The bytes of a streamed answer, in two pieces: they are the same completion in one."""
    cut = data[0] % max(len(data), 1) if data else 0
    parts, whole = Assembly(), Assembly()
    parts.feed(data[:cut])
    parts.feed(data[cut:])
    whole.feed(data)
    assert parts.completion() == whole.completion()
    assert parts.left_out == whole.left_out


def golden_row(data: bytes) -> None:
    """A row of a golden set."""
    made = case_of_row(_json(data), workload=WorkloadId("w"), where="line 1", now=NOON, by=Person("ada"))
    grade(case=made, answer="an answer", comparison=COMPARISON)


TARGETS: Mapping[str, Callable[[bytes], None]] = {
    one.__name__: one
    for one in (
        *(traffic, correction, route, exchange, redaction, answers, near_duplicates, settings, gateway_body, upload, stream, golden_row),
    )
}


def run(name: str, data: bytes) -> None:
    """What FlywheelError refuses is in order. After EDITS the bytes say how a seed is changed: bytes alone are hardly ever JSON."""
    if data[:1] == EDITS and name in OF_JSON:
        data = _edited(SEEDS[name][0], data[1:])
    with suppress(FlywheelError):
        TARGETS[name](data)


def _edited(seed: bytes, edits: bytes) -> bytes:
    """Two bytes an edit: which value of the seed, in depth-first order, and by what it is replaced."""
    value = json.loads(seed)
    for which, by in zip(edits[::2], edits[1::2], strict=False):
        places = list(_places(value))
        if places:
            holder, key = places[which % len(places)]
            holder[key] = deepcopy(ODD[by % len(ODD)])  # a later edit may change it
    return json.dumps(value).encode()


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    for key, held in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield value, key
        yield from _places(held)


def _json(data: bytes) -> object:
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return None


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def _two(data: bytes) -> tuple[str, str]:
    first, _, second = data.partition(b"\x00")
    return _text(first), _text(second)


@cache
def _redactor() -> RedactorAtFirstText:
    return RedactorAtFirstText(key=b"k" * 32)


_CORRECTION = {
    "correction_id": "c-1", "workload_id": "support", "source": "desk", "kind": "edit", "author": {"name": "Mia"},
    "messages": [{"role": "user", "content": "Where is parcel 7?"}], "original": "Gone.", "corrected": "At the depot.",
    "created_at": "2026-05-01T07:00:00Z",
}  # fmt: skip
_CALL = {"id": "a", "type": "function", "function": {"name": "find", "arguments": '{"n": 1}'}}
_REQUEST = {
    "model": "m", "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": [{"type": "text", "text": "hi"}]}],
    "tools": [{"type": "function", "function": {"name": "find", "parameters": {"type": "object"}}}], "user": "anna", "temperature": 0.5,
}  # fmt: skip
_ROUTE = Route(workload=WorkloadId("support"), alias="support", version=3, champion=BASE)
_ROW = {"tier": "golden", "messages": [{"role": "user", "content": "2+2?"}], "grader": {"kind": "equals", "expected": {"text": "4"}}}
SEEDS: Mapping[str, Sequence[bytes]] = {
    "traffic": [traffic_event(1), traffic_event(2, response=None, error="timeout", status=504)],
    "correction": [encode(type=CORRECTION_TYPE, id="e-1", workload="support", time=NOON, data=_CORRECTION, partitionkey="c-1")],
    "route": [orjson.dumps(to_wire(_ROUTE))],
    "exchange": [
        orjson.dumps({"request": _REQUEST, "response": {"choices": [{"message": {"role": "assistant", "tool_calls": [_CALL]}}]}}),
    ],
    "redaction": [b"Write to ann@example.com or call +49 30 901820, card 4111 1111 1111 1111, key sk-abcdefghijklmnopqrstuvwxyz012345"],
    "answers": [b'{"tool": "find", "arguments": {"n": 1}}\x00{"tool": "find", "arguments": {"n": 2.0}}', b"It is 12.5 %.\x00It is 12,5 %."],
    "near_duplicates": [b"Where is my parcel number 7?\x00where is my parcel number 8"],
    "settings": [
        b"data_dir: var\nworkloads:\n  support: {alias: support, watch: {pane_seconds: 5}}\n"
        b"tokens: [{name: a, scopes: [infer], sha256: aa}]\n"
    ],
    "gateway_body": [orjson.dumps(_REQUEST)],
    "upload": [orjson.dumps(_CORRECTION) + b"\n" + orjson.dumps(_ROW), b"[" + orjson.dumps(_ROW) + b"]"],
    "stream": [
        b"1: c\n\ndata: " + orjson.dumps({"id": "c", "choices": [{"index": 0, "delta": {"content": "a", "tool_calls": [_CALL]}}]})
        + b'\n\ndata: {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}\r\n\r\ndata: [DONE]\n\n'
    ],
    "golden_row": [orjson.dumps(_ROW)],
}  # fmt: skip
