"""Values of the learning stages as rows of the ledger, and back. Every function here has its inverse beside it."""

import json
from collections.abc import Sequence
from typing import Any

from flywheel.corrections.correction import Correction, CorrectionKind, CorrectionState, JoinedCorrection
from flywheel.ids import CaseId, CorrectionId, RequestId, SnapshotId, WorkloadId
from flywheel.regression_suite.case import Case, Grader, Tier
from flywheel.traffic.inference import Message
from flywheel.training_set.example import Example
from flywheel.training_set.snapshot import Snapshot
from services.ports.learn import KeptCorrection
from services.stores.database import to_json, to_moment, to_text


def kept_values(kept: KeptCorrection) -> dict[str, Any]:
    """Columns of ``corrections``."""
    joined, correction = kept.joined, kept.joined.correction
    body = {
        "source": correction.source,
        "author": correction.author,
        "kind": correction.kind.value,
        "created_at": to_text(correction.created_at),
        "request_id": correction.request_id,
        "messages": _messages(correction.messages),
        "original": correction.original,
        "corrected": correction.corrected,
        "reason_code": correction.reason_code,
        "comment": correction.comment,
        "supersedes": correction.supersedes,
        "ticket": correction.ticket,
        "redactions": correction.redactions,
        "joined": {
            "messages": _messages(joined.messages),
            "original": joined.original,
            "entity": joined.entity,
            "dimensions": dict(joined.dimensions),
            "adapter": joined.adapter,
            "joined": joined.joined,
        },
    }
    return {
        "id": correction.id,
        "workload": correction.workload,
        "state": kept.state.value,
        "reason": kept.reason,
        "decided_at": to_text(kept.decided_at),
        "entity": kept.entity,
        "held_out": kept.held_out,
        "prompt_key": kept.prompt_key,
        "answer_key": kept.answer_key,
        "body": to_json(body),
    }


def kept_from(row: Any) -> KeptCorrection:
    """The inverse of ``kept_values``."""
    body = json.loads(row.body)
    request = body["joined"]
    correction = Correction(
        id=CorrectionId(row.id),
        workload=WorkloadId(row.workload),
        source=body["source"],
        author=body["author"],
        kind=CorrectionKind(body["kind"]),
        created_at=to_moment(body["created_at"]),
        request_id=RequestId(body["request_id"]) if body["request_id"] is not None else None,
        messages=_messages_from(body["messages"]),
        original=body["original"],
        corrected=body["corrected"],
        reason_code=body["reason_code"],
        comment=body["comment"],
        supersedes=CorrectionId(body["supersedes"]) if body["supersedes"] is not None else None,
        ticket=body["ticket"],
        redactions=body["redactions"],
    )
    return KeptCorrection(
        joined=JoinedCorrection(
            correction=correction,
            messages=_messages_from(request["messages"]),
            original=request["original"],
            entity=request["entity"],
            dimensions=request["dimensions"],
            adapter=request["adapter"],
            joined=request["joined"],
        ),
        state=CorrectionState(row.state),
        reason=row.reason,
        decided_at=to_moment(row.decided_at),
        entity=row.entity,
        held_out=bool(row.held_out),
        prompt_key=row.prompt_key,
        answer_key=row.answer_key,
    )


def case_values(case: Case) -> dict[str, Any]:
    """Columns of ``cases``; ``body`` alone makes the case again."""
    body = {
        "id": case.id,
        "workload": case.workload,
        "tier": case.tier.value,
        "messages": _messages(case.messages),
        "grader": {"kind": case.grader.kind, "expected": dict(case.grader.expected)},
        "entity": case.entity,
        "slice": case.slice,
        "correction": case.correction,
        "reference_answer": case.reference_answer,
        "verified_by": case.verified_by,
        "created_at": to_text(case.created_at) if case.created_at is not None else None,
    }
    return {"id": case.id, "workload": case.workload, "tier": case.tier.value, "body": to_json(body)}


def case_from(text: str) -> Case:
    """The inverse of ``case_values``, from its body."""
    body = json.loads(text)
    return Case(
        id=CaseId(body["id"]),
        workload=WorkloadId(body["workload"]),
        tier=Tier(body["tier"]),
        messages=_messages_from(body["messages"]),
        grader=Grader(kind=body["grader"]["kind"], expected=body["grader"]["expected"]),
        entity=body["entity"],
        slice=body["slice"],
        correction=CorrectionId(body["correction"]) if body["correction"] is not None else None,
        reference_answer=body["reference_answer"],
        verified_by=body["verified_by"],
        created_at=to_moment(body["created_at"]) if body["created_at"] is not None else None,
    )


def snapshot_values(snapshot: Snapshot, *, path: str) -> dict[str, Any]:
    """Columns of ``snapshots``; the examples stand in the file."""
    return {
        "id": snapshot.id,
        "workload": snapshot.workload,
        "cut_off": to_text(snapshot.cut_off),
        "counts": to_json(dict(snapshot.counts)),
        "warnings": to_json(list(snapshot.warnings)),
        "audit": snapshot.audit,
        "path": path,
    }


def snapshot_from(row: Any, *, examples: tuple[Example, ...]) -> Snapshot:
    """The inverse of ``snapshot_values``."""
    return Snapshot(
        id=SnapshotId(row.id),
        workload=WorkloadId(row.workload),
        cut_off=to_moment(row.cut_off),
        examples=examples,
        counts=json.loads(row.counts),
        warnings=tuple(json.loads(row.warnings)),
        audit=row.audit,
    )


def _messages(messages: Sequence[Message]) -> list[list[str]]:
    return [[message.role, message.content] for message in messages]


def _messages_from(pairs: Sequence[Sequence[str]]) -> tuple[Message, ...]:
    return tuple(Message(role=role, content=content) for role, content in pairs)
