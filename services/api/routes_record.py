"""Routes: corrections in and out, what is recorded, dead letters."""

import json
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response

from flywheel.corrections.correction import CorrectionState
from flywheel.errors import CannotRun, FlywheelError, NotFound
from flywheel.ids import CorrectionId, EventId
from services.api.access import INTERNAL, READ, Bearer, admitted, visible
from services.api.bodies import Recorded, many_lines, one_event
from services.api.errors import error_shown
from services.api.shown import Json, shown
from services.api.submissions import LineReceipt, submit, submit_many
from services.api.wiring import ApiParts
from services.ports.learn import KeptCorrection
from services.ports.traffic import DeadLetter

SHOWN_BYTES = 4_000  # of a dead letter
SUBMITTER_READS = (*READ, "submit")  # who hands corrections in may see what became of them


def record_routes(parts: ApiParts) -> APIRouter:
    """Corrections, recorded ids, dead letters."""
    routes = APIRouter()

    @routes.post("/v1/corrections", status_code=202)
    def submit_one(raw: Annotated[bytes, Depends(one_event)], authorization: Bearer = None) -> dict[str, str]:
        receipt = submit(parts, raw, authorization=authorization)
        return {"id": receipt.id, "result": receipt.result}

    @routes.post("/v1/corrections:batch")
    def submit_batch(raw: Annotated[bytes, Depends(many_lines)], authorization: Bearer = None) -> Response:
        results = [json.dumps(_line(outcome)) for outcome in submit_many(parts, raw, authorization=authorization)]
        return Response("".join(f"{line}\n" for line in results), media_type="application/x-ndjson")

    @routes.get("/v1/corrections")
    def list_corrections(
        authorization: Bearer = None,
        workload: str | None = None,
        state: CorrectionState | None = None,
        limit: Annotated[int, Query(ge=1, le=10_000)] = 100,
    ) -> dict[str, Json]:
        found: list[KeptCorrection] = []
        for name in visible(parts, authorization, workload, SUBMITTER_READS):
            found.extend(parts.learn.corrections(name, state=state))
        newest = sorted(found, key=lambda kept: kept.decided_at, reverse=True)[:limit]
        return {"corrections": [_summary(kept) for kept in newest], "total": len(found)}

    @routes.get("/v1/corrections/{correction_id:path}")
    def one_correction(correction_id: str, authorization: Bearer = None) -> Json:
        admitted(parts, authorization, SUBMITTER_READS)
        kept = parts.learn.correction(CorrectionId(correction_id))
        if kept is None:
            raise NotFound(
                "there is no such correction yet",
                where="correction",
                value=correction_id,
                remedy="One just handed in appears when the correction desk has decided on it.",
            )
        admitted(parts, authorization, SUBMITTER_READS, workload=kept.joined.correction.workload)
        return shown(kept)

    @routes.post("/v1/recorded")
    def recorded(body: Recorded, authorization: Bearer = None) -> dict[str, list[str]]:
        admitted(parts, authorization, INTERNAL)
        return {"recorded": sorted(parts.traffic.recorded([EventId(one) for one in body.ids]))}

    @routes.get("/v1/dead-letters")
    def dead_letters(authorization: Bearer = None, limit: Annotated[int, Query(ge=1, le=1_000)] = 100) -> dict[str, Json]:
        admitted(parts, authorization, READ)
        return {"dead_letters": [_letter(letter) for letter in parts.traffic.dead_letters(limit=limit)]}

    @routes.get("/v1/dead-letters/{letter_id}")
    def dead_letter(letter_id: str, authorization: Bearer = None) -> Json:
        admitted(parts, authorization, READ)
        for letter in parts.traffic.dead_letters(limit=10_000):
            if letter.id == letter_id:
                return {**_letter(letter), "content": _redacted(parts, letter.raw)}
        raise NotFound("there is no such dead letter", where="dead letter", value=letter_id, remedy="List them: flywheel dlq list.")

    return routes


def _line(outcome: LineReceipt) -> dict[str, Json]:
    if outcome.receipt is not None:
        return {"line": outcome.line, "id": outcome.receipt.id, "result": outcome.receipt.result}
    assert isinstance(outcome.error, FlywheelError), "a line has a receipt or an error"
    return {"line": outcome.line, "result": "refused", "error": error_shown(outcome.error)}


def _summary(kept: KeptCorrection) -> dict[str, Json]:
    """Without the texts: those are shown one at a time."""
    correction = kept.joined.correction
    return {
        "id": correction.id,
        "workload": correction.workload,
        "source": correction.source,
        "kind": correction.kind.value,
        "state": kept.state.value,
        "reason": kept.reason,
        "held_out": kept.held_out,
        "redactions": correction.redactions,
        "request_id": correction.request_id,
        "created_at": shown(correction.created_at),
        "decided_at": shown(kept.decided_at),
    }


def _letter(letter: DeadLetter) -> dict[str, Json]:
    view = shown(letter)
    assert isinstance(view, dict)
    view.pop("raw")
    return {**view, "bytes": len(letter.raw)}


def _redacted(parts: ApiParts, raw: bytes) -> str:
    """Fails closed: without a redactor nothing is shown."""
    try:
        text, _ = parts.open_redactor().redact(raw[:SHOWN_BYTES].decode("utf-8", "replace"))
    except CannotRun as error:
        return f"not shown: {error.reason}"
    return text + ("…" if len(raw) > SHOWN_BYTES else "")
