"""Routes: training runs, and the state of work that was asked for."""

from fastapi import APIRouter

from flywheel.errors import NotFound
from services.api.access import OPERATE, READ, Bearer, admitted, admitted_to, visible
from services.api.ask_for_work import ask
from services.api.json_values import Json, json_of
from services.api.requests import IdempotencyKey, ReasonedBody
from services.api.wiring import ApiParts
from services.ports.work_queue import RetrainCommand


def retraining_routes(parts: ApiParts) -> APIRouter:
    """``/v1/train``, ``/v1/runs`` and ``/v1/work``."""
    routes = APIRouter()

    @routes.post("/v1/train", status_code=202)
    def train(body: ReasonedBody, authorization: Bearer = None, key: IdempotencyKey = None) -> Json:
        person, rules = admitted_to(parts, authorization, OPERATE, body.workload)
        return json_of(ask(parts, RetrainCommand(asked_by=person, reason=body.reason), rules, key=key, now=parts.clock()))

    @routes.get("/v1/runs")
    def list_runs(authorization: Bearer = None, workload: str | None = None) -> dict[str, Json]:
        return {"runs": [json_of(run) for name in visible(parts, authorization, workload) for run in parts.ledger.runs.runs(name)]}

    @routes.get("/v1/work/{work_id}")
    def show_work(work_id: str, authorization: Bearer = None) -> dict[str, Json]:
        admitted(parts, authorization, READ)
        state = parts.ledger.work.state(work_id)
        if state is None:
            raise NotFound("there is no such work", where="work", value=work_id, remedy="Use the id from the answer to your request.")
        return {"id": work_id, "state": state}

    return routes
