"""Route: the status of a workload, as an operator needs it first. Reads the ledgers; decides nothing."""

from fastapi import APIRouter

from flywheel.ids import WorkloadId
from services.api.access import READ, CallerOf, guarded_routes, opened_by
from services.api.json_values import Json, alert_json, gate_summary, json_of, reference_json, snapshot_json
from services.api.wiring import ApiParts

NEWEST = 5  # of snapshots, runs, gates and releases


def status_routes(parts: ApiParts) -> APIRouter:
    """``/v1/status``."""
    routes = guarded_routes(parts)

    @routes.get("/v1/status", openapi_extra=opened_by(READ))
    def show_status(caller: CallerOf, workload: str | None = None) -> dict[str, Json]:
        return {"workloads": [_status(parts, name) for name in caller.visible(workload)]}

    return routes


def _status(parts: ApiParts, workload: WorkloadId) -> dict[str, Json]:
    rules = parts.workloads[workload]
    golden = parts.ledger.suite.golden(workload)
    now = parts.clock()
    windows = parts.ledger.drift.windows(workload, until=now, limit=1)
    references = parts.ledger.drift.references(workload)
    states: dict[str, Json] = {state.value: count for state, count in parts.ledger.corrections.state_counts(workload).items()}
    return {
        "workload": workload,
        "alias": rules.alias,
        "mode": rules.mode,
        "route": json_of(parts.ledger.releases.route(workload)),
        "gateways": json_of(parts.gateways.applied_versions(workload)),
        "requests": json_of(parts.gateways.requests(workload)),
        "traffic": {**_as_dict(json_of(parts.traffic.counts(workload))), "newest": json_of(parts.traffic.newest(workload, until=now))},
        "reference": reference_json(references[0]) if references else None,
        "window": _window_summary(windows[0]) if windows else None,
        "open_alerts": [alert_json(alert) for alert in parts.ledger.alerts.alerts(workload=workload, open_only=True)],
        "corrections": {"handed_in": json_of(parts.ledger.corrections.submission_counts(workload)), "states": states},
        "golden": {"version": golden.version, "items": len(golden.cases)} if golden else None,
        "snapshots": [snapshot_json(snapshot) for snapshot in parts.ledger.training_sets.snapshots(workload)[:NEWEST]],
        "runs": [json_of(run) for run in parts.ledger.runs.runs(workload)[:NEWEST]],
        "gates": [gate_summary(gate) for gate in parts.ledger.gates.gates(workload)[:NEWEST]],
        "releases": [json_of(release) for release in parts.ledger.releases.releases(workload)[:NEWEST]],
    }


def _window_summary(window: object) -> Json:
    """A window's verdicts counted by status; the drifting ones in full."""
    view = _as_dict(json_of(window))
    verdicts, opinions = view.pop("verdicts"), view.pop("second_opinions")
    assert isinstance(verdicts, list)
    assert isinstance(opinions, list)
    by_status: dict[str, int] = {}
    for verdict in verdicts:
        by_status[verdict["status"]] = by_status.get(verdict["status"], 0) + 1
    drifting = [verdict for verdict in verdicts if verdict["status"] == "drifting"]
    return {**view, "verdicts": by_status, "drifting": drifting, "second_opinions": len(opinions)}


def _as_dict(value: Json) -> dict[str, Json]:
    assert isinstance(value, dict)
    return value
