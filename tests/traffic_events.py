"""Traffic as tests need it: events on the wire, and values."""

from datetime import UTC, datetime, timedelta
from typing import Any

from flywheel.ids import AdapterName, EventId, RequestId, WorkloadId
from flywheel.traffic.inference import Arm, Inference
from flywheel.traffic.message import Message
from services.integrations.kafka.event_codec import TRAFFIC_TYPE
from services.ports.cloud_events import encode, rfc3339
from tests.exchanges import with_exchange

NOON = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)


def traffic_data(number: int = 0, **changes: Any) -> dict[str, Any]:
    """The data of a plain, valid event; ``changes`` replace top-level keys."""
    at = changes.pop("at", NOON + timedelta(seconds=number))
    return {
        "request_id": f"req-{number}",
        "workload_id": "support",
        "client_id": "shop",
        "timestamp": rfc3339(at),
        "session_id": f"session-{number % 7}",
        "adapter": "base",
        "arm": "champion",
        "route_version": 1,
        "attempt": 1,
        "request": {"model": "support", "messages": [{"role": "user", "content": f"Where is order number {number}?"}]},
        "response": {
            "choices": [{"message": {"role": "assistant", "content": "On its way."}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 9, "completion_tokens": 4},
        },
        "status": 200,
        "error": None,
        "latency_ms": 12.5,
        "dimensions": {"tenant": ("acme", "globex")[number % 2]},
        "redacted": True,
        **changes,
    }


def traffic_event(number: int = 0, *, id: str = "", source: str = "", **changes: Any) -> bytes:
    """The event as bytes, of some producer unless its source is named."""
    data = traffic_data(number, **changes)
    return encode(
        type=TRAFFIC_TYPE,
        id=id or f"event-{number}",
        workload=data["workload_id"],
        time=NOON,
        data=data,
        partitionkey=data["session_id"],
        source=source or "test/producer",
    )


def inference(number: int = 0, **changes: Any) -> Inference:
    """A plain value."""
    plain: dict[str, Any] = {
        "event_id": EventId(f"event-{number}"),
        "request_id": RequestId(f"req-{number}"),
        "workload": WorkloadId("support"),
        "adapter": AdapterName("base"),
        "arm": Arm.CHAMPION,
        "session": f"session-{number % 7}",
        "client": "shop",
        "occurred_at": NOON + timedelta(seconds=number),
        "messages": (Message(role="user", content=f"Where is order number {number}?"),),
        "answer": "On its way.",
        "finish_reason": "stop",
        "status": 200,
        "error": None,
        "latency_ms": 12.5,
        "dimensions": {"tenant": ("acme", "globex")[number % 2]},
        "redacted": True,
    }
    return Inference(**with_exchange(plain | changes))
