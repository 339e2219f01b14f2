"""Routes: which events are recorded, and recorded exchanges."""

from fastapi import APIRouter
from pydantic import Field

from flywheel.errors import InvalidInput, NotFound
from flywheel.ids import EventId
from services.api.access import INTERNAL, READ, CallerOf, guarded_routes, opened_by
from services.api.json_values import Json, exchange_json
from services.api.requests import RequestBody
from services.api.wiring import ApiParts

NOT_RECORDED = "Recording takes some seconds. What could not be read is a dead letter: flywheel dlq list."


class EventIdsBody(RequestBody):
    ids: list[str] = Field(max_length=10_000)


def traffic_routes(parts: ApiParts) -> APIRouter:
    """``/v1/recorded`` and ``/v1/exchanges``."""
    routes = guarded_routes(parts)

    @routes.post("/v1/recorded", openapi_extra=opened_by(INTERNAL))
    def list_recorded(body: EventIdsBody) -> dict[str, list[str]]:
        """Which of these events are recorded; the gateway asks."""
        return {"recorded": sorted(parts.traffic.recorded([EventId(one) for one in body.ids]))}

    @routes.get("/v1/exchanges/{id:path}", openapi_extra=opened_by(READ))
    def show_exchange(id: str, caller: CallerOf, workload: str | None = None) -> dict[str, Json]:
        """One request and its answer, by our request id, the completion's id, or the client's own id.

        An exchange of a workload that the token does not cover is answered like one that does not exist.
        """
        covered = caller.visible(workload)
        found = [row for name in covered if (row := parts.traffic.by_request(id, workload=name)) is not None]
        if not found:
            raise NotFound("there is no such exchange", where="exchange", value=id, remedy=NOT_RECORDED)
        if len(found) > 1:
            names = ", ".join(row.inference.workload for row in found)
            raise InvalidInput("several workloads have this id", where="exchange", value=id, remedy=f"Name one with workload: {names}.")
        return exchange_json(found[0])

    return routes
