"""Decodes events: CloudEvents 1.0 in structured JSON, checked against ``schemas/``.

In: bytes from a topic. Out: values. Every fault is an InvalidInput whose ``where`` is the JSON path. Versions of an event are
known here and in ``schemas/`` only.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import orjson

from flywheel.corrections.correction import Correction, CorrectionKind, InlineRequest, Remarks, qualified_id
from flywheel.corrections.submitted_answer import calls_text, corrected_text, original_text
from flywheel.errors import InvalidInput, shortened
from flywheel.ids import AdapterName, CorrectionId, EventId, RequestId, WorkloadId, printable
from flywheel.traffic.attempt_outcome import AttemptOutcome, outcome_of
from flywheel.traffic.exchange import CUT, exchange_from_wire
from flywheel.traffic.inference import Arm, Attempt, Inference
from flywheel.traffic.media import without_media
from flywheel.traffic.message import message_from_wire
from services.ports.wire_schema import check_schema

TRAFFIC_TYPE = "flywheel.traffic.v1"
CORRECTION_TYPE = "flywheel.correction.v1"
MAX_EVENT_BYTES = 1_048_576
LARGEST_INTEGER = 2**53  # beyond it JSON readers disagree about the value
EARLIEST = datetime(2020, 1, 1, tzinfo=UTC)
"""No model was asked by chat before; a machine without a clock of its own begins at 1970, 2000, or when its firmware was made."""
RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)?", re.ASCII)
"""Python reads more: weeks, days without dashes, a comma."""
FIX = "Fix the producer; the event is kept with the dead letters."


def decode_traffic(raw: bytes) -> Inference:
    """One upstream attempt. Keys of ``request`` and ``response`` that we do not read are not checked."""
    event = _event(raw, type=TRAFFIC_TYPE, data_schema="traffic/traffic.v1")
    data = event["data"]
    exchange = exchange_from_wire(
        data["request"],
        data["response"],
        where="$.data",
        added=data.get("added", ()),
        left_out=CUT if data.get("truncated", False) else data.get("left_out", ()),
    )
    return Inference(
        event_id=EventId(event["id"]),
        request_id=RequestId(data["request_id"]),
        workload=WorkloadId(data["workload_id"]),
        adapter=AdapterName(data["adapter"]),
        arm=Arm(data["arm"]),
        session=data["session_id"],
        client=data["client_id"],
        occurred_at=_moment(data["timestamp"], "$.data.timestamp"),
        exchange=exchange,
        attempt=Attempt(
            number=_small(data.get("attempt", 1), "$.data.attempt"),
            status=int(data["status"]),
            outcome=_outcome(data),
            error=data.get("error"),
            latency_ms=float(data["latency_ms"]),
        ),
        dimensions=dict(data.get("dimensions", {})),
        route_version=_small(data.get("route_version", 0), "$.data.route_version"),
        redacted=data.get("redacted", False),
        client_request_id=data.get("client_request_id", ""),
    )


def _outcome(data: Mapping[str, Any]) -> AttemptOutcome:
    """As the producer decided it; derived in events of producers that do not."""
    if "outcome" in data:
        return AttemptOutcome(data["outcome"])
    return outcome_of(int(data["status"]), ended=data.get("ended", True))


def decode_correction(raw: bytes) -> tuple[Correction, str]:
    """The correction as submitted, before redaction, and the name of the token that submitted it (empty: no token).

    ``author`` is the name as given: unverified, and personal data until it is pseudonymised.
    """
    event = _event(raw, type=CORRECTION_TYPE, data_schema="corrections/correction.v1")
    return correction_of(event["data"], where="$.data"), event["data"].get("submitted_by", "")


def check_correction(data: object) -> None:
    """Checks a submission's body as the event's ``data`` will be; raises InvalidInput with the path."""
    check_schema(data, "corrections/correction.v1", at="$", remedy=FIX)
    assert isinstance(data, dict)
    correction_of(data, where="$")


def correction_of(data: Mapping[str, Any], *, where: str) -> Correction:
    """The value of a body that fits the schema. Raises InvalidInput where its parts cannot be read, or do not fit together."""
    workload = WorkloadId(data["workload_id"])
    return Correction(
        id=qualified_id(workload, data["source"], data["correction_id"]),
        workload=workload,
        source=data["source"],
        author=data["author"]["name"],
        kind=CorrectionKind(data["kind"]),
        created_at=_moment(data["created_at"], f"{where}.created_at"),
        request_id=RequestId(data["request_id"]) if "request_id" in data else None,
        inline=_inline(data, where),
        original=original_text(without_media(data["original"], where=f"{where}.original")[0], where=f"{where}.original")
        if "original" in data
        else None,
        corrected=_corrected(data, where),
        reason_code=data.get("reason_code", "other"),
        supersedes=CorrectionId(data["supersedes"]) if "supersedes" in data else None,
        remarks=Remarks(comment=data.get("comment", ""), ticket=data.get("ticket", "")),
    )


def _inline(data: Mapping[str, Any], where: str) -> InlineRequest:
    messages, of_messages = without_media(data.get("messages", []), where=f"{where}.messages")
    tools, of_tools = without_media(data.get("tools", []), where=f"{where}.tools")
    return InlineRequest(
        messages=tuple(message_from_wire(one, where=f"{where}.messages[{at}]") for at, one in enumerate(messages)),
        tools=tuple(tools),
        dimensions=dict(data.get("dimensions", {})),
        left_out=tuple(path.removeprefix(f"{where}.") for path in (*of_messages, *of_tools)),
    )


def _corrected(data: Mapping[str, Any], where: str) -> str | None:
    if "corrected" in data and "corrected_calls" in data:
        raise InvalidInput("stands beside corrected", where=f"{where}.corrected_calls", remedy="Give one of the two.")
    name = "corrected_calls" if "corrected_calls" in data else "corrected"
    if name not in data:
        return None
    _, media = without_media(data[name], where=f"{where}.{name}")
    if media:
        raise InvalidInput("holds a picture, a sound or a file", where=media[0], remedy="A model is taught text and tool calls only.")
    return (calls_text if name == "corrected_calls" else corrected_text)(data[name], where=f"{where}.{name}")


def claimed_ids(raw: bytes) -> tuple[str, str]:
    """(event id, workload) of an unreadable event, as far as they can be read, else empty strings."""
    try:
        event = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return "", ""
    if not isinstance(event, dict):
        return "", ""
    data = event.get("data")
    event_id, workload = event.get("id"), data.get("workload_id") if isinstance(data, dict) else event.get("subject")
    return (
        printable(event_id[:200]) if isinstance(event_id, str) else "",
        printable(workload[:40]) if isinstance(workload, str) else "",
    )


def _event(raw: bytes, *, type: str, data_schema: str) -> dict[str, Any]:
    if len(raw) > MAX_EVENT_BYTES:
        raise InvalidInput("the event is over 1 MiB", where="$", value=f"{len(raw)} bytes", remedy=FIX)
    try:
        event = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"is not JSON in UTF-8: {error}", where="$", remedy=FIX) from None
    check_schema(event, "envelope.v1", at="$", remedy=FIX)
    if event["type"] != type:
        raise InvalidInput(f"is not of type {type}", where="$.type", value=shortened(event["type"]), remedy=FIX)
    _moment(event["time"], "$.time")
    check_schema(event["data"], data_schema, at="$.data", remedy=FIX)
    if event["subject"] != event["data"]["workload_id"]:
        raise InvalidInput("is not the workload that data names", where="$.subject", value=shortened(event["subject"]), remedy=FIX)
    return dict(event)


def _moment(text: str, where: str) -> datetime:
    try:
        if RFC_3339.fullmatch(text) is None:
            raise ValueError(text)
        moment = datetime.fromisoformat(text.upper())
        if moment.tzinfo is None:
            raise InvalidInput("has no time zone", where=where, value=shortened(text), remedy=FIX)
        moment = moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise InvalidInput("is not a date and time of RFC 3339", where=where, value=shortened(text), remedy=FIX) from None
    if moment < EARLIEST:
        raise InvalidInput(f"lies before the year {EARLIEST.year}", where=where, value=shortened(text), remedy=FIX)
    return moment


def _small(value: float, where: str) -> int:
    if value > LARGEST_INTEGER:
        raise InvalidInput("is too large", where=where, remedy=FIX)
    return int(value)
