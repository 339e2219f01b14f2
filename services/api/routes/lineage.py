"""Route: the lineage of an adapter, back to run, training set and corrections, on to its gates and releases."""

from fastapi import APIRouter

from flywheel.errors import NotFound
from flywheel.ids import BASE, AdapterName
from flywheel.retraining.training_run import AdapterBundle
from services.api.access import READ, CallerOf, guarded_routes, opened_by
from services.api.json_values import Json, gate_summary, json_of, snapshot_json
from services.api.wiring import ApiParts


def lineage_routes(parts: ApiParts) -> APIRouter:
    """``/v1/lineage``."""
    routes = guarded_routes(parts)

    @routes.get("/v1/lineage/{adapter}", openapi_extra=opened_by(READ))
    def show_lineage(adapter: str, caller: CallerOf) -> dict[str, Json]:
        bundle = parts.ledger.runs.adapter(AdapterName(adapter))
        if bundle is None or not caller.covers(bundle.workload):
            remedy = "The base model has no lineage." if adapter == BASE else "List releases with: flywheel release status."
            raise NotFound("there is no such adapter", where="adapter", value=adapter, remedy=remedy)
        return _lineage(parts, bundle)

    return routes


def _lineage(parts: ApiParts, bundle: AdapterBundle) -> dict[str, Json]:
    run = parts.ledger.runs.run(bundle.run)
    kept = parts.ledger.training_sets.snapshot(run.plan.snapshot) if run is not None else None
    releases = [release for release in parts.ledger.releases.releases(bundle.workload) if release.adapter == bundle.name]
    history = [
        entry
        for subject in [bundle.name, bundle.run, *(release.id for release in releases)]
        for entry in parts.ledger.journal.entries(workload=bundle.workload, subject=subject)
    ]
    corrections = sorted({str(row.correction) for row in kept[0].examples if row.correction}) if kept else []
    return {
        "adapter": json_of(bundle),
        "run": json_of(run),
        "parent": run.plan.parent if run is not None else None,
        "snapshot": snapshot_json(kept[0], path=kept[1]) if kept else None,
        "corrections": corrections,
        "gates": [gate_summary(gate) for gate in parts.ledger.gates.gates(bundle.workload, adapter=bundle.name)],
        "releases": [json_of(release) for release in releases],
        "history": [json_of(entry) for entry in sorted(history, key=lambda entry: entry.at)],
    }
