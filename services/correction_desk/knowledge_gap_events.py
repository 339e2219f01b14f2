"""The event that reports a knowledge gap to the owner of a source.

In: a correction diagnosed as a knowledge gap. Out: the outbox message. Its id derives from the correction, so repeats are one event.
"""

from datetime import datetime

from flywheel.ids import derive
from services.ports.cloud_events import encode, rfc3339
from services.ports.corrections import KeptCorrection
from services.ports.outbox import OutboxMessage

KNOWLEDGE_GAP_TYPE = "flywheel.knowledge-gap.v1"


def knowledge_gap_message(kept: KeptCorrection, *, topic: str, now: datetime) -> OutboxMessage:
    """Contains the redacted correction: the source's owner needs it to fix the source."""
    correction = kept.joined.correction
    data: dict[str, object] = {
        "correction_id": correction.given_id,
        "workload_id": correction.workload,
        "source": correction.source,
        "reason_code": correction.reason_code,
        "reason": kept.reason,
        "component": "generator",  # retriever and tool traces are not captured yet
        "corrected": correction.corrected or "",
        "found_at": rfc3339(now),
    }
    if correction.request_id is not None:
        data["request_id"] = correction.request_id
    if kept.joined.original is not None:
        data["original"] = kept.joined.original
    identity = derive("knowledge-gap", correction.workload, correction.id)
    return OutboxMessage(
        id=identity,
        topic=topic,
        key=correction.workload,
        value=encode(type=KNOWLEDGE_GAP_TYPE, id=identity, workload=correction.workload, time=now, data=data),
        created_at=now,
    )
