"""Routes: references and their pinning."""

from fastapi import APIRouter
from pydantic import AwareDatetime, Field

from flywheel.drift.reference import Reference
from services.api.access import OPERATE, Bearer, admitted_to, visible
from services.api.json_values import Json, reference_json
from services.api.pin_chosen_period import pin
from services.api.requests import RequestBody
from services.api.wiring import ApiParts


class PinBody(RequestBody):
    workload: str
    start: AwareDatetime | None = None
    end: AwareDatetime | None = None
    reason: str = Field(min_length=1, max_length=2_000)


def drift_routes(parts: ApiParts) -> APIRouter:
    """``/v1/references``."""
    routes = APIRouter()

    @routes.get("/v1/references")
    def list_references(authorization: Bearer = None, workload: str | None = None) -> dict[str, Json]:
        found: list[Reference] = []
        for name in visible(parts, authorization, workload):
            found.extend(parts.ledger.drift.references(name))
        return {"references": [reference_json(reference) for reference in found]}

    @routes.post("/v1/references/pin")
    def pin_reference(body: PinBody, authorization: Bearer = None) -> dict[str, Json]:
        person, workload = admitted_to(parts, authorization, OPERATE, body.workload)
        pinned = pin(parts, workload, by=person, start=body.start, end=body.end, reason=body.reason, now=parts.clock())
        return reference_json(pinned)

    return routes
