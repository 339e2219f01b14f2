"""Routes: gates, releases, the route table, rolling back, lineage."""

from fastapi import APIRouter

from flywheel.errors import NotFound
from flywheel.ids import AdapterName, GateId
from services.api.access import OPERATE, READ, Bearer, admitted, admitted_to, visible
from services.api.bodies import Approve, AskGate, Reason
from services.api.operations import ask_for_gate
from services.api.overview import lineage
from services.api.releasing import approve, find_release, roll_back
from services.api.routes_learn import Once
from services.api.shown import Json, shown
from services.api.wiring import ApiParts


def release_routes(parts: ApiParts) -> APIRouter:
    """Gates, releases, routes, lineage."""
    routes = APIRouter()

    @routes.post("/v1/gates", status_code=202)
    def run_gate(body: AskGate, authorization: Bearer = None, once: Once = None) -> Json:
        person, rules = admitted_to(parts, authorization, OPERATE, body.workload)
        return shown(ask_for_gate(parts, rules, adapter=body.adapter, by=person, key=once, now=parts.clock()))

    @routes.get("/v1/gates")
    def list_gates(authorization: Bearer = None, workload: str | None = None, adapter: str | None = None) -> dict[str, Json]:
        names = visible(parts, authorization, workload)
        wanted = AdapterName(adapter) if adapter is not None else None
        return {"gates": [shown(gate) for name in names for gate in parts.gates.gates(name, adapter=wanted)]}

    @routes.get("/v1/gates/{gate_id}")
    def one_gate(gate_id: str, authorization: Bearer = None) -> Json:
        admitted(parts, authorization, READ)
        gate = parts.gates.gate(GateId(gate_id))
        if gate is None:
            raise NotFound("there is no such gate", where="gate", value=gate_id, remedy="List them: flywheel gate show.")
        admitted(parts, authorization, READ, workload=gate.workload)
        return shown(gate)

    @routes.get("/v1/routes")
    def route_table(authorization: Bearer = None) -> dict[str, Json]:
        names = visible(parts, authorization, None, ("internal", "operate"))
        return {"routes": [shown(route) for route in parts.releases.routes() if route.workload in names]}

    @routes.get("/v1/releases")
    def list_releases(authorization: Bearer = None, workload: str | None = None) -> dict[str, Json]:
        names = visible(parts, authorization, workload)
        return {"releases": [shown(release) for name in names for release in parts.releases.releases(name)]}

    @routes.post("/v1/releases/{release_id}/approve")
    def approve_release(release_id: str, body: Approve, authorization: Bearer = None) -> Json:
        admitted(parts, authorization, OPERATE)
        release = find_release(parts, release_id)
        person = admitted(parts, authorization, OPERATE, workload=release.workload)
        if body.override_gate:
            admitted(parts, authorization, ("override",), workload=release.workload)
        return shown(approve(parts, release.id, override=body.override_gate, by=person, reason=body.reason, now=parts.clock()))

    @routes.post("/v1/workloads/{name}/rollback")
    def to_previous(name: str, body: Reason, authorization: Bearer = None) -> Json:
        person, rules = admitted_to(parts, authorization, OPERATE, name)
        return shown(roll_back(parts, rules, to_base=False, by=person, reason=body.reason, now=parts.clock()))

    @routes.post("/v1/workloads/{name}/detach")
    def to_base(name: str, body: Reason, authorization: Bearer = None) -> Json:
        person, rules = admitted_to(parts, authorization, OPERATE, name)
        return shown(roll_back(parts, rules, to_base=True, by=person, reason=body.reason, now=parts.clock()))

    @routes.get("/v1/lineage/{adapter}")
    def behind(adapter: str, authorization: Bearer = None) -> dict[str, Json]:
        admitted(parts, authorization, READ)
        view = lineage(parts, AdapterName(adapter))
        bundle = parts.train.adapter(AdapterName(adapter))
        if bundle is not None:
            admitted(parts, authorization, READ, workload=bundle.workload)
        return view

    return routes
