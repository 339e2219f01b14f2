"""Routes: releases, the route table, approving and rolling back."""

from fastapi import APIRouter
from pydantic import Field

from services.api.access import OPERATE, Bearer, admitted, admitted_to, visible
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
    routes = APIRouter()

    @routes.get("/v1/routes")
    def list_routes(authorization: Bearer = None) -> dict[str, Json]:
        names = visible(parts, authorization, None, ("internal", "operate"))
        return {"routes": [json_of(route) for route in parts.ledger.releases.routes() if route.workload in names]}

    @routes.get("/v1/releases")
    def list_releases(authorization: Bearer = None, workload: str | None = None) -> dict[str, Json]:
        names = visible(parts, authorization, workload)
        return {"releases": [json_of(release) for name in names for release in parts.ledger.releases.releases(name)]}

    @routes.post("/v1/releases/{release_id}/approve")
    def approve_release(release_id: str, body: ApprovalBody, authorization: Bearer = None) -> Json:
        admitted(parts, authorization, OPERATE)
        release = find_release(parts, release_id)
        person = admitted(parts, authorization, OPERATE, workload=release.workload)
        if body.override_gate:
            admitted(parts, authorization, ("override",), workload=release.workload)
        return json_of(approve(parts, release.id, override=body.override_gate, by=person, reason=body.reason, now=parts.clock()))

    @routes.post("/v1/workloads/{name}/rollback")
    def roll_back_to_previous(name: str, body: RollbackBody, authorization: Bearer = None) -> Json:
        person, rules = admitted_to(parts, authorization, OPERATE, name)
        return json_of(roll_back(parts, rules, to_base=False, by=person, reason=body.reason, now=parts.clock()))

    @routes.post("/v1/workloads/{name}/detach")
    def roll_back_to_base(name: str, body: RollbackBody, authorization: Bearer = None) -> Json:
        person, rules = admitted_to(parts, authorization, OPERATE, name)
        return json_of(roll_back(parts, rules, to_base=True, by=person, reason=body.reason, now=parts.clock()))

    return routes
