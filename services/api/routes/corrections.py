"""Routes: corrections handed in, and what became of them."""

import json
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response

from flywheel.corrections.correction import CorrectionState
from flywheel.errors import FlywheelError, NotFound
from flywheel.ids import CorrectionId
from services.api.accept_submissions import LineReceipt, submit, submit_many
from services.api.access import READ, Bearer, admitted, visible
from services.api.error_responses import error_json
from services.api.json_values import Json, json_of
from services.api.requests import ndjson_body, single_body
from services.api.wiring import ApiParts
from services.ports.corrections import KeptCorrection

SUBMITTER_READS = (*READ, "submit")  # whoever hands corrections in may see what became of them


def correction_routes(parts: ApiParts) -> APIRouter:
    """``/v1/corrections``."""
    routes = APIRouter()

    @routes.post("/v1/corrections", status_code=202)
    def submit_one(raw: Annotated[bytes, Depends(single_body)], authorization: Bearer = None) -> dict[str, str]:
        receipt = submit(parts, raw, authorization=authorization)
        return {"id": receipt.id, "result": receipt.result}

    @routes.post("/v1/corrections:batch")
    def submit_batch(raw: Annotated[bytes, Depends(ndjson_body)], authorization: Bearer = None) -> Response:
        results = [json.dumps(_line_result(receipt)) for receipt in submit_many(parts, raw, authorization=authorization)]
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
            found.extend(parts.ledger.corrections.corrections(name, state=state))
        newest = sorted(found, key=lambda kept: kept.decided_at, reverse=True)[:limit]
        return {"corrections": [_summary(kept) for kept in newest], "total": len(found)}

    @routes.get("/v1/corrections/{correction_id:path}")
    def show_correction(correction_id: str, authorization: Bearer = None) -> Json:
        admitted(parts, authorization, SUBMITTER_READS)
        kept = parts.ledger.corrections.correction(CorrectionId(correction_id))
        if kept is None:
            raise NotFound(
                "there is no such correction yet",
                where="correction",
                value=correction_id,
                remedy="A new submission appears when the correction desk has decided on it.",
            )
        admitted(parts, authorization, SUBMITTER_READS, workload=kept.joined.correction.workload)
        return json_of(kept)

    return routes


def _line_result(line: LineReceipt) -> dict[str, Json]:
    if line.receipt is not None:
        return {"line": line.line, "id": line.receipt.id, "result": line.receipt.result}
    assert isinstance(line.error, FlywheelError), "a line has a receipt or an error"
    return {"line": line.line, "result": "refused", "error": error_json(line.error)}


def _summary(kept: KeptCorrection) -> dict[str, Json]:
    """Without its texts; one correction is shown with them."""
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
        "created_at": json_of(correction.created_at),
        "decided_at": json_of(kept.decided_at),
    }
