"""Routes: releases, the route table, approving and rolling back."""

from fastapi import APIRouter
from pydantic import Field

from services.api.access import FOLLOW_ROUTES, OPERATE, READ, CallerOf, guarded_routes, opened_by
from services.api.approve_and_roll_back import approve, find_release, roll_back
from services.api.json_values import Json, json_of
from services.api.requests import RequestBody
from services.api.wiring import ApiParts


class ApprovalBody(RequestBody):
    override_gate: bool = False
    reason: str = Field(min_length=1, max_length=2_000)


class RollbackBody(RequestBody):
    reason: str = Field(min_length=1, max_length=2_000)


def rollout_routes(parts: ApiParts) -> APIRouter:
    """``/v1/releases``, ``/v1/routes`` and ``/v1/workloads``."""
    routes = guarded_routes(parts)

    @routes.get("/v1/routes", openapi_extra=opened_by(FOLLOW_ROUTES))
    def list_routes(caller: CallerOf) -> dict[str, Json]:
        names = caller.covered()
        return {"routes": [json_of(route) for route in parts.ledger.releases.routes() if route.workload in names]}

    @routes.get("/v1/releases", openapi_extra=opened_by(READ))
    def list_releases(caller: CallerOf, workload: str | None = None) -> dict[str, Json]:
        names = caller.visible(workload)
        return {"releases": [json_of(release) for name in names for release in parts.ledger.releases.releases(name)]}

    @routes.post("/v1/releases/{release_id}/approve", openapi_extra=opened_by(OPERATE))
    def approve_release(release_id: str, body: ApprovalBody, caller: CallerOf) -> Json:
        if body.override_gate:
            caller.also("override")
        release = find_release(parts, release_id, workloads=caller.covered())
        return json_of(approve(parts, release, override=body.override_gate, by=caller.person, reason=body.reason, now=parts.clock()))

    @routes.post("/v1/workloads/{name}/rollback", openapi_extra=opened_by(OPERATE))
    def roll_back_to_previous(name: str, body: RollbackBody, caller: CallerOf) -> Json:
        rules = caller.workload(name)
        return json_of(roll_back(parts, rules, to_base=False, by=caller.person, reason=body.reason, now=parts.clock()))

    @routes.post("/v1/workloads/{name}/detach", openapi_extra=opened_by(OPERATE))
    def roll_back_to_base(name: str, body: RollbackBody, caller: CallerOf) -> Json:
        rules = caller.workload(name)
        return json_of(roll_back(parts, rules, to_base=True, by=caller.person, reason=body.reason, now=parts.clock()))

    return routes
