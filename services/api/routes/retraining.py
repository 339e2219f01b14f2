"""Routes: training runs, and the state of work that was asked for."""

from fastapi import APIRouter

from flywheel.errors import NotFound
from services.api.access import OPERATE, READ, CallerOf, guarded_routes, opened_by
from services.api.ask_for_work import ask
from services.api.json_values import Json, json_of
from services.api.requests import IdempotencyKey, ReasonedBody
from services.api.wiring import ApiParts
from services.ports.work_queue import RetrainCommand


def retraining_routes(parts: ApiParts) -> APIRouter:
    """``/v1/train``, ``/v1/runs`` and ``/v1/work``."""
    routes = guarded_routes(parts)

    @routes.post("/v1/train", status_code=202, openapi_extra=opened_by(OPERATE))
    def train(body: ReasonedBody, caller: CallerOf, key: IdempotencyKey = None) -> Json:
        rules = caller.workload(body.workload)
        return json_of(ask(parts, RetrainCommand(asked_by=caller.person, reason=body.reason), rules, key=key, now=parts.clock()))

    @routes.get("/v1/runs", openapi_extra=opened_by(READ))
    def list_runs(caller: CallerOf, workload: str | None = None) -> dict[str, Json]:
        return {"runs": [json_of(run) for name in caller.visible(workload) for run in parts.ledger.runs.runs(name)]}

    @routes.get("/v1/work/{work_id}", openapi_extra=opened_by(READ))
    def show_work(work_id: str, caller: CallerOf) -> dict[str, Json]:
        workload, state = parts.ledger.work.workload_of(work_id), parts.ledger.work.state(work_id)
        if workload is None or not caller.covers(workload):
            raise NotFound("there is no such work", where="work", value=work_id, remedy="Use the id from the answer to your request.")
        return {"id": work_id, "state": state}

    return routes
