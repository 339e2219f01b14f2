"""One page of everything, and the chain behind an adapter: read from the ledgers, decided nowhere.

In: a workload or an adapter's name. Out: JSON values.
"""

from flywheel.errors import NotFound
from flywheel.ids import BASE, AdapterName, WorkloadId
from services.api.shown import Json, reference_shown, shown, snapshot_shown
from services.api.wiring import ApiParts

SHOWN = 5  # of each list


def status(parts: ApiParts, workload: WorkloadId) -> dict[str, Json]:
    """What an operator looks at first."""
    rules = parts.workloads[workload]
    golden = parts.learn.golden(workload)
    windows = parts.watch.windows(workload, limit=1)
    references = parts.watch.references(workload)
    states: dict[str, int] = {}
    for kept in parts.learn.corrections(workload):
        states[kept.state.value] = states.get(kept.state.value, 0) + 1
    return {
        "workload": workload,
        "alias": rules.alias,
        "mode": rules.mode,
        "route": shown(parts.releases.route(workload)),
        "gateways": shown(parts.gateways.applied_versions(workload)),
        "traffic": {**_as_dict(shown(parts.traffic.counts(workload))), "newest": shown(parts.traffic.newest(workload))},
        "reference": reference_shown(references[0]) if references else None,
        "window": _window(windows[0]) if windows else None,
        "open_alerts": [shown(alert) for alert in parts.watch.alerts(workload=workload, open_only=True)],
        "corrections": {"handed_in": shown(parts.learn.submission_counts(workload)), "states": states},
        "golden": {"version": golden.version, "items": len(golden.cases)} if golden else None,
        "snapshots": [snapshot_shown(snapshot) for snapshot in parts.learn.snapshots(workload)[:SHOWN]],
        "runs": [shown(run) for run in parts.train.runs(workload)[:SHOWN]],
        "gates": [_gate_line(gate) for gate in parts.gates.gates(workload)[:SHOWN]],
        "releases": [shown(release) for release in parts.releases.releases(workload)[:SHOWN]],
    }


def lineage(parts: ApiParts, name: AdapterName) -> dict[str, Json]:
    """From an adapter back to run, snapshot and corrections, and forward to gates and releases."""
    bundle = parts.train.adapter(name)
    if bundle is None:
        remedy = "The base model has no lineage here." if name == BASE else "List releases with: flywheel release status."
        raise NotFound("there is no such adapter", where="adapter", value=name, remedy=remedy)
    run = parts.train.run(bundle.run)
    kept = parts.learn.snapshot(run.plan.snapshot) if run is not None else None
    releases = [release for release in parts.releases.releases(bundle.workload) if release.adapter == name]
    history = [
        entry
        for subject in [bundle.name, bundle.run, *(release.id for release in releases)]
        for entry in parts.journal.entries(workload=bundle.workload, subject=subject)
    ]
    corrections = sorted({str(row.correction) for row in kept[0].examples if row.correction}) if kept else []
    return {
        "adapter": shown(bundle),
        "run": shown(run),
        "parent": run.plan.parent if run is not None else None,
        "snapshot": snapshot_shown(kept[0], path=kept[1]) if kept else None,
        "corrections": corrections,
        "gates": [_gate_line(gate) for gate in parts.gates.gates(bundle.workload, adapter=name)],
        "releases": [shown(release) for release in releases],
        "history": [shown(entry) for entry in sorted(history, key=lambda entry: entry.at)],
    }


def _gate_line(gate: object) -> Json:
    """A gate without its axes' numbers."""
    view = _as_dict(shown(gate))
    decision = _as_dict(view.pop("decision"))
    return {**view, "verdict": decision["verdict"], "reason": decision["reason"]}


def _window(window: object) -> Json:
    """A window's verdicts by status; the drifting ones in full."""
    view = _as_dict(shown(window))
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
