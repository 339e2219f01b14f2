"""Routes: training sets."""

from fastapi import APIRouter

from flywheel.errors import NotFound
from flywheel.ids import SnapshotId
from services.api.access import OPERATE, READ, CallerOf, guarded_routes, opened_by
from services.api.ask_for_work import ask
from services.api.json_values import Json, json_of, snapshot_json
from services.api.requests import IdempotencyKey, ReasonedBody
from services.api.wiring import ApiParts
from services.ports.work_queue import SnapshotCommand


def training_set_routes(parts: ApiParts) -> APIRouter:
    """``/v1/datasets``."""
    routes = guarded_routes(parts)

    @routes.post("/v1/datasets/build", status_code=202, openapi_extra=opened_by(OPERATE))
    def build_dataset(body: ReasonedBody, caller: CallerOf, key: IdempotencyKey = None) -> Json:
        rules = caller.workload(body.workload)
        return json_of(ask(parts, SnapshotCommand(asked_by=caller.person, reason=body.reason), rules, key=key, now=parts.clock()))

    @routes.get("/v1/datasets", openapi_extra=opened_by(READ))
    def list_datasets(caller: CallerOf, workload: str | None = None) -> dict[str, Json]:
        names = caller.visible(workload)
        return {"datasets": [snapshot_json(snapshot) for name in names for snapshot in parts.ledger.training_sets.snapshots(name)]}

    @routes.get("/v1/datasets/{snapshot_id}", openapi_extra=opened_by(READ))
    def show_dataset(snapshot_id: str, caller: CallerOf, rows: bool = False) -> dict[str, Json]:
        listed = {one.id for name in caller.covered() for one in parts.ledger.training_sets.snapshots(name)}
        found = parts.ledger.training_sets.snapshot(SnapshotId(snapshot_id)) if snapshot_id in listed else None  # reads a file
        if found is None:
            raise NotFound("there is no such training set", where="dataset", value=snapshot_id, remedy="List them: flywheel dataset show.")
        snapshot, path = found
        return snapshot_json(snapshot, path=path, with_examples=rows)

    return routes
