"""Routes: golden set, training sets, runs, and asking for them."""

from typing import Annotated

from fastapi import APIRouter, Depends, Header

from flywheel.errors import NotFound
from flywheel.ids import SnapshotId
from flywheel.regression_suite.golden import GoldenSet
from services.api.access import OPERATE, READ, Bearer, admitted, admitted_to, visible
from services.api.bodies import Ask, ForWorkload, many_lines
from services.api.operations import ask, freeze, import_cases
from services.api.shown import Json, shown, snapshot_shown
from services.api.wiring import ApiParts

Once = Annotated[str | None, Header(alias="Idempotency-Key", max_length=200)]
"""The same key asks once: a caller that got no answer asks again with it."""


def learn_routes(parts: ApiParts) -> APIRouter:
    """Golden set, datasets, runs."""
    routes = APIRouter()

    @routes.post("/v1/golden/import")
    def import_golden(workload: str, raw: Annotated[bytes, Depends(many_lines)], authorization: Bearer = None) -> Json:
        person, rules = admitted_to(parts, authorization, OPERATE, workload)
        return shown(import_cases(parts, rules, raw, by=person, now=parts.clock()))

    @routes.post("/v1/golden/freeze")
    def freeze_golden(body: ForWorkload, authorization: Bearer = None) -> dict[str, Json]:
        person, rules = admitted_to(parts, authorization, OPERATE, body.workload)
        golden, new = freeze(parts, rules, by=person, now=parts.clock())
        return {**_golden_shown(golden), "new": new}

    @routes.get("/v1/golden")
    def show_golden(workload: str, version: int | None = None, items: bool = False, authorization: Bearer = None) -> dict[str, Json]:
        _, rules = admitted_to(parts, authorization, READ, workload)
        golden = parts.learn.golden(rules.id, version=version)
        if golden is None:
            raise NotFound(
                "no golden set is frozen" if version is None else "there is no such version",
                where=f"golden set of {workload}",
                value=version,
                remedy="Import cases and freeze them: flywheel golden import, flywheel golden freeze.",
            )
        return _golden_shown(golden, items=items)

    @routes.post("/v1/datasets/build", status_code=202)
    def build_dataset(body: Ask, authorization: Bearer = None, once: Once = None) -> Json:
        person, rules = admitted_to(parts, authorization, OPERATE, body.workload)
        return shown(ask(parts, "snapshot", rules, by=person, payload={"reason": body.reason}, key=once, now=parts.clock()))

    @routes.get("/v1/datasets")
    def list_datasets(authorization: Bearer = None, workload: str | None = None) -> dict[str, Json]:
        names = visible(parts, authorization, workload)
        return {"datasets": [snapshot_shown(snapshot) for name in names for snapshot in parts.learn.snapshots(name)]}

    @routes.get("/v1/datasets/{snapshot_id}")
    def one_dataset(snapshot_id: str, rows: bool = False, authorization: Bearer = None) -> dict[str, Json]:
        admitted(parts, authorization, READ)
        found = parts.learn.snapshot(SnapshotId(snapshot_id))
        if found is None:
            raise NotFound("there is no such training set", where="dataset", value=snapshot_id, remedy="List them: flywheel dataset show.")
        snapshot, path = found
        admitted(parts, authorization, READ, workload=snapshot.workload)
        return snapshot_shown(snapshot, path=path, with_examples=rows)

    @routes.post("/v1/train", status_code=202)
    def train(body: Ask, authorization: Bearer = None, once: Once = None) -> Json:
        person, rules = admitted_to(parts, authorization, OPERATE, body.workload)
        return shown(ask(parts, "train_request", rules, by=person, payload={"reason": body.reason}, key=once, now=parts.clock()))

    @routes.get("/v1/runs")
    def list_runs(authorization: Bearer = None, workload: str | None = None) -> dict[str, Json]:
        return {"runs": [shown(run) for name in visible(parts, authorization, workload) for run in parts.train.runs(name)]}

    @routes.get("/v1/work/{work_id}")
    def one_work(work_id: str, authorization: Bearer = None) -> dict[str, Json]:
        admitted(parts, authorization, READ)
        state = parts.work.state(work_id)
        if state is None:
            raise NotFound("there is no such work", where="work", value=work_id, remedy="Use the id that the asking returned.")
        return {"id": work_id, "state": state}

    return routes


def _golden_shown(golden: GoldenSet, *, items: bool = False) -> dict[str, Json]:
    slices: dict[str, int] = {}
    for case in golden.cases:
        slices[case.slice] = slices.get(case.slice, 0) + 1
    view: dict[str, Json] = {
        "id": golden.id,
        "workload": golden.workload,
        "version": golden.version,
        "items": len(golden.cases),
        "slices": slices,
        "frozen_by": golden.frozen_by,
        "frozen_at": shown(golden.frozen_at),
    }
    if items:
        view["cases"] = shown(golden.cases)
    return view
