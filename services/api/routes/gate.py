"""Routes: gates."""

from fastapi import APIRouter
from pydantic import Field

from flywheel.errors import NotFound
from flywheel.ids import AdapterName, GateId
from services.api.access import OPERATE, READ, Bearer, admitted, admitted_to, visible
from services.api.ask_for_work import ask_for_gate
from services.api.json_values import Json, json_of
from services.api.requests import IdempotencyKey, RequestBody
from services.api.wiring import ApiParts


class GateBody(RequestBody):
    workload: str
    adapter: str = Field(min_length=1, max_length=200)


def gate_routes(parts: ApiParts) -> APIRouter:
    """``/v1/gates``."""
    routes = APIRouter()

    @routes.post("/v1/gates", status_code=202)
    def run_gate(body: GateBody, authorization: Bearer = None, key: IdempotencyKey = None) -> Json:
        person, rules = admitted_to(parts, authorization, OPERATE, body.workload)
        return json_of(ask_for_gate(parts, rules, adapter=body.adapter, by=person, key=key, now=parts.clock()))

    @routes.get("/v1/gates")
    def list_gates(authorization: Bearer = None, workload: str | None = None, adapter: str | None = None) -> dict[str, Json]:
        names = visible(parts, authorization, workload)
        wanted = AdapterName(adapter) if adapter is not None else None
        return {"gates": [json_of(gate) for name in names for gate in parts.ledger.gates.gates(name, adapter=wanted)]}

    @routes.get("/v1/gates/{gate_id}")
    def show_gate(gate_id: str, authorization: Bearer = None) -> Json:
        admitted(parts, authorization, READ)
        gate = parts.ledger.gates.gate(GateId(gate_id))
        if gate is None:
            raise NotFound("there is no such gate", where="gate", value=gate_id, remedy="List them: flywheel gate show.")
        admitted(parts, authorization, READ, workload=gate.workload)
        return json_of(gate)

    return routes
