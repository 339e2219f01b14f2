"""A recorded inference as a row of ``traffic.db``, and back."""

import json
from datetime import datetime

from sqlalchemy import Row

from flywheel.ids import AdapterName, EventId, RequestId, WorkloadId
from flywheel.traffic.inference import Arm, Inference, Message
from flywheel.windows.sample import rank
from services.ports.traffic import RecordedInference
from services.stores.database import to_json, to_moment, to_text


def to_row(row: RecordedInference, *, recorded_at: datetime) -> dict[str, object]:
    """Values for every column of ``inferences``."""
    one = row.inference
    return {
        "event_id": one.event_id,
        "request_id": one.request_id,
        "workload": one.workload,
        "adapter": one.adapter,
        "arm": one.arm.value,
        "session": one.session,
        "client": one.client,
        "occurred_at": to_text(one.occurred_at),
        "messages": to_json([[message.role, message.content] for message in one.messages]),
        "answer": one.answer,
        "finish_reason": one.finish_reason,
        "status": one.status,
        "error": one.error,
        "latency_ms": one.latency_ms,
        "prompt_tokens": one.prompt_tokens,
        "answer_tokens": one.answer_tokens,
        "dimensions": to_json(dict(one.dimensions)),
        "truncated": int(one.truncated),
        "route_version": one.route_version,
        "attempt": one.attempt,
        "features": to_json(dict(row.features)),
        "sample_rank": rank(one.event_id),
        "recorded_at": to_text(recorded_at),
    }


def from_row(row: Row[tuple[object, ...]]) -> RecordedInference:
    """The inverse; where it was read from is not kept with the row."""
    values = row._mapping
    return RecordedInference(
        inference=Inference(
            event_id=EventId(values["event_id"]),
            request_id=RequestId(values["request_id"]),
            workload=WorkloadId(values["workload"]),
            adapter=AdapterName(values["adapter"]),
            arm=Arm(values["arm"]),
            session=values["session"],
            client=values["client"],
            occurred_at=to_moment(values["occurred_at"]),
            messages=tuple(Message(role=role, content=content) for role, content in json.loads(values["messages"])),
            answer=values["answer"],
            finish_reason=values["finish_reason"],
            status=values["status"],
            error=values["error"],
            latency_ms=values["latency_ms"],
            prompt_tokens=values["prompt_tokens"],
            answer_tokens=values["answer_tokens"],
            dimensions=json.loads(values["dimensions"]),
            truncated=bool(values["truncated"]),
            route_version=values["route_version"],
            attempt=values["attempt"],
            redacted=True,
        ),
        features=json.loads(values["features"]),
    )
