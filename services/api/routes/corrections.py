"""Routes: corrections handed in, and what became of them."""

import json
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response

from flywheel.corrections.correction import CorrectionState
from flywheel.errors import Conflict, FlywheelError, NotFound
from flywheel.ids import CorrectionId, WorkloadId
from services.api.accept_submissions import LineReceipt, count_refusals, submit, submit_many
from services.api.access import SUBMIT, SUBMITTER_READS, CallerOf, guarded_routes, opened_by
from services.api.error_responses import error_json
from services.api.json_values import Json, json_of
from services.api.requests import ndjson_body, single_body
from services.api.wiring import ApiParts
from services.ports.corrections import CorrectionLedger, KeptCorrection


def correction_routes(parts: ApiParts) -> APIRouter:
    """``/v1/corrections``."""
    routes = guarded_routes(parts, count=count_refusals(parts))

    @routes.post("/v1/corrections", status_code=202, openapi_extra=opened_by(SUBMIT))
    def submit_one(raw: Annotated[bytes, Depends(single_body)], caller: CallerOf) -> dict[str, str]:
        receipt = submit(parts, raw, caller=caller)
        return {"id": receipt.id, "result": receipt.result}

    @routes.post("/v1/corrections:batch", openapi_extra=opened_by(SUBMIT))
    def submit_batch(raw: Annotated[bytes, Depends(ndjson_body)], caller: CallerOf) -> Response:
        results = [json.dumps(_line_result(receipt)) for receipt in submit_many(parts, raw, caller=caller)]
        return Response("".join(f"{line}\n" for line in results), media_type="application/x-ndjson")

    @routes.get("/v1/corrections", openapi_extra=opened_by(SUBMITTER_READS))
    def list_corrections(
        caller: CallerOf,
        workload: str | None = None,
        state: CorrectionState | None = None,
        limit: Annotated[int, Query(ge=1, le=10_000)] = 100,
    ) -> dict[str, Json]:
        ledger, names = parts.ledger.corrections, caller.visible(workload)
        found = [kept for name in names for kept in ledger.newest(name, state=state, limit=limit)]
        found.sort(key=lambda kept: (kept.decided_at, kept.joined.correction.id), reverse=True)
        counts = [ledger.state_counts(name) for name in names]
        total = sum(sum(by_state.values()) if state is None else by_state.get(state, 0) for by_state in counts)
        return {"corrections": [_summary(kept) for kept in found[:limit]], "total": total}

    @routes.get("/v1/corrections/{correction_id:path}", openapi_extra=opened_by(SUBMITTER_READS))
    def show_correction(correction_id: str, caller: CallerOf, source: str | None = None) -> Json:
        """``correction_id``: as the source gave it, ``<source>:<id>``, or ``<workload>/<source>:<id>``."""
        found = _found(parts.ledger.corrections, correction_id, source)
        kept = _only_one([one for one in found if caller.covers(one.joined.correction.workload)], correction_id)
        view = json_of(kept)
        assert isinstance(view, dict)
        return {**_ids(kept), **view}

    return routes


def _found(corrections: CorrectionLedger, text: str, source: str | None) -> list[KeptCorrection]:
    """Those that a person may mean by an id: as the source gave it, with the source before it, or with workload and source."""
    exact = corrections.correction(CorrectionId(text))
    found = [exact] if exact is not None else []
    workload, slash, rest = text.partition("/")
    for named, of in [(text, None), *([(rest, WorkloadId(workload))] if slash else [])]:
        found.extend(corrections.by_given_id(named, source=source, workload=of))
        for at, sign in enumerate(named):
            if sign == ":":
                found.extend(corrections.by_given_id(named[at + 1 :], source=named[:at], workload=of))
    unique = {kept.joined.correction.id: kept for kept in found}
    return [kept for kept in unique.values() if source in (None, kept.joined.correction.source)]


def _only_one(seen: list[KeptCorrection], text: str) -> KeptCorrection:
    if not seen:
        remedy = "A new submission appears when the correction desk has decided on it."
        raise NotFound("there is no such correction yet", where="correction", value=text, remedy=remedy)
    if len(seen) > 1:
        listed = ", ".join(sorted(kept.joined.correction.id for kept in seen))
        raise Conflict(
            f"{len(seen)} corrections have this id",
            where="correction",
            value=text,
            remedy=f"Ask for one of {listed}, or name its ?source=.",
        )
    return seen[0]


def _ids(kept: KeptCorrection) -> dict[str, Json]:
    correction = kept.joined.correction
    return {"id": correction.given_id, "qualified_id": correction.id}


def _line_result(line: LineReceipt) -> dict[str, Json]:
    if line.receipt is not None:
        return {"line": line.line, "id": line.receipt.id, "result": line.receipt.result}
    assert isinstance(line.error, FlywheelError), "a line has a receipt or an error"
    return {"line": line.line, "result": "refused", "error": error_json(line.error)}


def _summary(kept: KeptCorrection) -> dict[str, Json]:
    """Without its texts; one correction is shown with them."""
    correction = kept.joined.correction
    return {
        **_ids(kept),
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
