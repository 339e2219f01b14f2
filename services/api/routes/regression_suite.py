"""Routes: the golden set."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query

from flywheel.errors import NotFound
from flywheel.regression_suite.golden import GoldenSet
from services.api.access import OPERATE, READ, CallerOf, guarded_routes, opened_by
from services.api.freeze_golden_set import freeze, import_cases
from services.api.json_values import Json, json_of
from services.api.requests import RequestBody, ndjson_body
from services.api.wiring import ApiParts

Version = Annotated[int | None, Query(ge=1, le=10**9)]


class WorkloadBody(RequestBody):
    workload: str


def regression_suite_routes(parts: ApiParts) -> APIRouter:
    """``/v1/golden``."""
    routes = guarded_routes(parts)

    @routes.post("/v1/golden/import", openapi_extra=opened_by(OPERATE))
    def import_golden(workload: str, raw: Annotated[bytes, Depends(ndjson_body)], caller: CallerOf) -> Json:
        return json_of(import_cases(parts, caller.workload(workload), raw, by=caller.person, now=parts.clock()))

    @routes.post("/v1/golden/freeze", openapi_extra=opened_by(OPERATE))
    def freeze_golden(body: WorkloadBody, caller: CallerOf) -> dict[str, Json]:
        golden, new = freeze(parts, caller.workload(body.workload), by=caller.person, now=parts.clock())
        return {**_golden_json(golden), "new": new}

    @routes.get("/v1/golden", openapi_extra=opened_by(READ))
    def show_golden(workload: str, caller: CallerOf, version: Version = None, items: bool = False) -> dict[str, Json]:
        rules = caller.workload(workload)
        golden = parts.ledger.suite.golden(rules.id, version=version)
        if golden is None:
            raise NotFound(
                "no golden set is frozen" if version is None else "there is no such version",
                where=f"golden set of {workload}",
                value=version,
                remedy="Import cases and freeze them: flywheel golden import, flywheel golden freeze.",
            )
        return _golden_json(golden, items=items)

    return routes


def _golden_json(golden: GoldenSet, *, items: bool = False) -> dict[str, Json]:
    slices: dict[str, int] = {}
    for case in golden.cases:
        slices[case.slice] = slices.get(case.slice, 0) + 1
    view: dict[str, Json] = {
        "id": golden.id,
        "workload": golden.workload,
        "version": golden.version,
        "items": len(golden.cases),
        "slices": slices,
        "frozen_by": golden.frozen_by,
        "frozen_at": json_of(golden.frozen_at),
    }
    if items:
        view["cases"] = json_of(golden.cases)
    return view
