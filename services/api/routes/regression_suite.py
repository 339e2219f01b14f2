"""Routes: the golden set."""

from typing import Annotated

from fastapi import APIRouter, Depends

from flywheel.errors import NotFound
from flywheel.regression_suite.golden import GoldenSet
from services.api.access import OPERATE, READ, Bearer, admitted_to
from services.api.freeze_golden_set import freeze, import_cases
from services.api.json_values import Json, json_of
from services.api.requests import RequestBody, ndjson_body
from services.api.wiring import ApiParts


class WorkloadBody(RequestBody):
    workload: str


def regression_suite_routes(parts: ApiParts) -> APIRouter:
    """``/v1/golden``."""
    routes = APIRouter()

    @routes.post("/v1/golden/import")
    def import_golden(workload: str, raw: Annotated[bytes, Depends(ndjson_body)], authorization: Bearer = None) -> Json:
        person, rules = admitted_to(parts, authorization, OPERATE, workload)
        return json_of(import_cases(parts, rules, raw, by=person, now=parts.clock()))

    @routes.post("/v1/golden/freeze")
    def freeze_golden(body: WorkloadBody, authorization: Bearer = None) -> dict[str, Json]:
        person, rules = admitted_to(parts, authorization, OPERATE, body.workload)
        golden, new = freeze(parts, rules, by=person, now=parts.clock())
        return {**_golden_json(golden), "new": new}

    @routes.get("/v1/golden")
    def show_golden(workload: str, version: int | None = None, items: bool = False, authorization: Bearer = None) -> dict[str, Json]:
        _, rules = admitted_to(parts, authorization, READ, workload)
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
