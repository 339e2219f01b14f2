"""An upstream attempt as bytes, to be sealed until it is redacted, and the attempt again."""

from dataclasses import fields, replace
from datetime import datetime
from typing import Any

import orjson

from flywheel.ids import AdapterName, Person, RequestId, WorkloadId
from flywheel.traffic.inference import Arm
from services.gateway.traffic_event import Reply, UpstreamAttempt

_OF_REPLY = tuple(field.name for field in fields(Reply))
_OF_ATTEMPT = tuple(field.name for field in fields(UpstreamAttempt) if field.name != "reply")


def attempt_to_bytes(attempt: UpstreamAttempt) -> bytes:
    """An answer that cannot be written as JSON, because it is nested too deeply, is left out."""
    try:
        return _written(attempt)
    except TypeError:  # orjson's error is one
        return _written(replace(attempt, reply=replace(attempt.reply, response=None, left_out=(*attempt.reply.left_out, "response"))))


def attempt_from_bytes(raw: bytes) -> UpstreamAttempt:
    """Of bytes that ``attempt_to_bytes`` has made."""
    held: dict[str, Any] = orjson.loads(raw)
    reply = held.pop("reply")
    held |= {
        "request_id": RequestId(held["request_id"]),
        "workload": WorkloadId(held["workload"]),
        "adapter": AdapterName(held["adapter"]),
        "client": Person(held["client"]),
        "arm": Arm(held["arm"]),
        "arrived_at": datetime.fromisoformat(held["arrived_at"]),
        "added": tuple(held["added"]),
    }
    return UpstreamAttempt(**held, reply=Reply(**{**reply, "left_out": tuple(reply["left_out"])}))


def _written(attempt: UpstreamAttempt) -> bytes:
    value = {name: getattr(attempt, name) for name in _OF_ATTEMPT}
    return orjson.dumps(value | {"arm": attempt.arm.value, "reply": {name: getattr(attempt.reply, name) for name in _OF_REPLY}})
