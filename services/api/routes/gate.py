"""Routes: gates."""

from fastapi import APIRouter
from pydantic import Field

from flywheel.errors import NotFound
from flywheel.ids import AdapterName, GateId
from services.api.access import OPERATE, READ, CallerOf, guarded_routes, opened_by
from services.api.ask_for_work import ask_for_gate
from services.api.json_values import Json, json_of
from services.api.requests import IdempotencyKey, RequestBody
from services.api.wiring import ApiParts


class GateBody(RequestBody):
    workload: str
    adapter: str = Field(min_length=1, max_length=200)


def gate_routes(parts: ApiParts) -> APIRouter:
    """``/v1/gates``."""
    routes = guarded_routes(parts)

    @routes.post("/v1/gates", status_code=202, openapi_extra=opened_by(OPERATE))
    def run_gate(body: GateBody, caller: CallerOf, key: IdempotencyKey = None) -> Json:
        rules = caller.workload(body.workload)
        return json_of(ask_for_gate(parts, rules, adapter=body.adapter, by=caller.person, key=key, now=parts.clock()))

    @routes.get("/v1/gates", openapi_extra=opened_by(READ))
    def list_gates(caller: CallerOf, workload: str | None = None, adapter: str | None = None) -> dict[str, Json]:
        names = caller.visible(workload)
        wanted = AdapterName(adapter) if adapter is not None else None
        return {"gates": [json_of(gate) for name in names for gate in parts.ledger.gates.gates(name, adapter=wanted)]}

    @routes.get("/v1/gates/{gate_id}", openapi_extra=opened_by(READ))
    def show_gate(gate_id: str, caller: CallerOf) -> Json:
        gate = parts.ledger.gates.gate(GateId(gate_id))
        if gate is None or not caller.covers(gate.workload):
            raise NotFound("there is no such gate", where="gate", value=gate_id, remedy="List them: flywheel gate show.")
        return json_of(gate)

    return routes
