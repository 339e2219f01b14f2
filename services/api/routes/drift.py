"""Routes: references and their pinning."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter
from pydantic import AfterValidator, AwareDatetime, Field

from flywheel.drift.reference import Reference
from services.api.access import OPERATE, READ, CallerOf, guarded_routes, opened_by
from services.api.json_values import Json, reference_json
from services.api.pin_chosen_period import pin
from services.api.requests import RequestBody
from services.api.wiring import ApiParts


def _of_our_time(at: datetime) -> datetime:
    """Sums with a date at the edge of the calendar, or its other time zones, are no dates."""
    if not 2000 <= at.year < 2200:
        raise ValueError("lies outside the years 2000 to 2199")
    return at


Edge = Annotated[AwareDatetime, AfterValidator(_of_our_time)]


class PinBody(RequestBody):
    workload: str
    start: Edge | None = None
    end: Edge | None = None
    reason: str = Field(min_length=1, max_length=2_000)


def drift_routes(parts: ApiParts) -> APIRouter:
    """``/v1/references``."""
    routes = guarded_routes(parts)

    @routes.get("/v1/references", openapi_extra=opened_by(READ))
    def list_references(caller: CallerOf, workload: str | None = None) -> dict[str, Json]:
        found: list[Reference] = []
        for name in caller.visible(workload):
            found.extend(parts.ledger.drift.references(name))
        return {"references": [reference_json(reference) for reference in found]}

    @routes.post("/v1/references/pin", openapi_extra=opened_by(OPERATE))
    def pin_reference(body: PinBody, caller: CallerOf) -> dict[str, Json]:
        workload = caller.workload(body.workload)
        pinned = pin(parts, workload, by=caller.person, start=body.start, end=body.end, reason=body.reason, now=parts.clock())
        return reference_json(pinned)

    return routes
