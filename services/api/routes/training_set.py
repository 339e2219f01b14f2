"""Routes: training sets."""

from fastapi import APIRouter

from flywheel.errors import NotFound
from flywheel.ids import SnapshotId
from services.api.access import OPERATE, READ, Bearer, admitted, admitted_to, visible
from services.api.ask_for_work import ask
from services.api.json_values import Json, json_of, snapshot_json
from services.api.requests import IdempotencyKey, ReasonedBody
from services.api.wiring import ApiParts
from services.ports.work_queue import SnapshotCommand


def training_set_routes(parts: ApiParts) -> APIRouter:
    """``/v1/datasets``."""
    routes = APIRouter()

    @routes.post("/v1/datasets/build", status_code=202)
    def build_dataset(body: ReasonedBody, authorization: Bearer = None, key: IdempotencyKey = None) -> Json:
        person, rules = admitted_to(parts, authorization, OPERATE, body.workload)
        return json_of(ask(parts, SnapshotCommand(asked_by=person, reason=body.reason), rules, key=key, now=parts.clock()))

    @routes.get("/v1/datasets")
    def list_datasets(authorization: Bearer = None, workload: str | None = None) -> dict[str, Json]:
        names = visible(parts, authorization, workload)
        return {"datasets": [snapshot_json(snapshot) for name in names for snapshot in parts.ledger.training_sets.snapshots(name)]}

    @routes.get("/v1/datasets/{snapshot_id}")
    def show_dataset(snapshot_id: str, rows: bool = False, authorization: Bearer = None) -> dict[str, Json]:
        admitted(parts, authorization, READ)
        found = parts.ledger.training_sets.snapshot(SnapshotId(snapshot_id))
        if found is None:
            raise NotFound("there is no such training set", where="dataset", value=snapshot_id, remedy="List them: flywheel dataset show.")
        snapshot, path = found
        admitted(parts, authorization, READ, workload=snapshot.workload)
        return snapshot_json(snapshot, path=path, with_examples=rows)

    return routes
