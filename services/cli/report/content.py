"""The content of a report on one workload, read from a ledger.

In: a ledger. Out: JSON values. Nothing is judged here: every number was written down when it was decided.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from flywheel.corrections.correction import CorrectionState
from flywheel.drift.verdict import DriftStatus, DriftVerdict
from flywheel.errors import NotFound
from flywheel.gate.documents import axis_document
from flywheel.ids import WorkloadId
from flywheel.journal import DaemonReady, JournalEntry, JournalKind, OtherKind, ReleaseChange
from flywheel.regression_suite.case import Tier
from flywheel.rollout.release import ReleaseState
from services.cli.report.wiring import ReportLedgers
from services.ports.corrections import CorrectionLedger
from services.ports.drift import ClosedWindow
from services.ports.gate import GateLedger
from services.ports.regression_suite import SuiteLedger
from services.ports.retraining import RunLedger
from services.ports.training_set import TrainingSetLedger

WINDOWS = 10_000  # the newest; a year of hours is 8,760
ENTRIES = 1_000_000


def workload_of(ledgers: ReportLedgers, named: WorkloadId | None) -> WorkloadId:
    """The one named, or the only one in the ledger. Raises NotFound."""
    known = sorted({entry.workload for entry in ledgers.journal.entries(limit=ENTRIES) if entry.workload})
    chosen = named or (known[0] if len(known) == 1 else None)
    if chosen is None or chosen not in known:
        raise NotFound("which workload?", where="--workload", value=named, remedy=f"The ledger knows: {', '.join(known) or 'none'}.")
    return chosen


def build(ledgers: ReportLedgers, workload: WorkloadId) -> dict[str, Any]:
    """The report as JSON values."""
    entries = [entry for entry in ledgers.journal.entries(limit=ENTRIES) if entry.workload in ("", workload)]
    windows = ledgers.drift.windows(workload, limit=WINDOWS)
    daemon = next((DaemonReady.of(entry) for entry in reversed(entries) if entry.kind is JournalKind.DAEMON), None)
    return {
        "workload": workload,
        "broker": daemon.broker if daemon else "unknown",
        "engine": daemon.engine if daemon else "unknown",
        "traffic": _traffic(windows),
        "drift": _drift(windows),
        "alerts": [
            {
                "id": alert.id,
                "state": alert.state.value,
                "summary": alert.message.summary,
                "acknowledged_by": alert.acknowledgement.by if alert.acknowledgement else None,
            }
            for alert in ledgers.alerts.alerts(workload=workload)
        ],
        "corrections": _corrections(ledgers.corrections, workload),
        "training_set": _training_set(ledgers.training_sets, workload),
        "regression_suite": {
            "recurrence": len(ledgers.suite.cases(workload, tier=Tier.RECURRENCE)),
            "held_out": len(ledgers.suite.cases(workload, tier=Tier.HELD_OUT)),
        },
        "golden": _golden(ledgers.suite, workload),
        "training": _training(ledgers.runs, workload),
        "gate": _gate(ledgers.gates, workload, entries),
        "release": _release(entries),
        "refused": _refused(entries),
        "rollback": newest_evidence(entries, JournalKind.ROLLBACK) or None,
    }


def newest_evidence(entries: Sequence[JournalEntry], kind: JournalKind | OtherKind, subject: str | None = None) -> Mapping[str, Any]:
    """The evidence of the newest journal line of this kind; empty when there is none."""
    for entry in reversed(entries):
        if entry.kind == kind and (subject is None or entry.subject == subject):
            return dict(entry.evidence)
    return {}


def _traffic(windows: Sequence[ClosedWindow]) -> dict[str, Any]:
    """Every closed window carries the recorder's cumulative counts into the ledger; the newest are taken."""
    counts = max((window.traffic for window in windows), key=lambda one: one.recorded, default=None)
    return {
        "recorded": counts.recorded if counts else 0,
        "duplicates_ignored": counts.duplicates_ignored if counts else 0,
        "dead_lettered": counts.dead_lettered if counts else 0,
    }


def _drift(windows: Sequence[ClosedWindow]) -> list[dict[str, Any]]:
    """For each slice and column its strongest window: a drifting one if there is one, then the smallest score."""
    strongest: dict[tuple[str, str], tuple[ClosedWindow, DriftVerdict]] = {}
    for window in windows:
        for verdict in window.verdicts:
            if verdict.score is None:
                continue
            key = (verdict.slice, verdict.column)
            if key not in strongest or _rank(verdict) < _rank(strongest[key][1]):
                strongest[key] = (window, verdict)
    rows = []
    for window, verdict in strongest.values():
        second = next((one for one in window.second_opinions if one.slice == verdict.slice and one.column == verdict.column), None)
        rows.append(
            {
                "kind": verdict.kind.value,
                "column": verdict.column,
                "slice": verdict.slice,
                "n": verdict.n,
                "method": verdict.method,
                "score": verdict.score,
                "effect": verdict.effect,
                "evidently_method": second.method if second else None,
                "evidently_score": second.score if second else None,
                "evidently_n": second.n if second else None,
                "drifted": verdict.status is DriftStatus.DRIFTING,
                "reason": verdict.reason,
                "window_end": verdict.window_end.isoformat(),
            }
        )
    return sorted(rows, key=lambda row: (not row["drifted"], row["kind"], row["slice"], row["column"]))


def _rank(verdict: DriftVerdict) -> tuple[bool, float]:
    return (verdict.status is not DriftStatus.DRIFTING, verdict.score if verdict.score is not None else 1.0)


def _corrections(corrections: CorrectionLedger, workload: WorkloadId) -> dict[str, Any]:
    handed_in = corrections.submission_counts(workload)
    kept = corrections.corrections(workload)
    states = [one.state for one in kept]
    return {
        "submitted": handed_in.get("submitted", 0),
        "accepted": states.count(CorrectionState.ACCEPTED),
        "duplicates": handed_in.get("duplicates", 0) + states.count(CorrectionState.DUPLICATE),
        "contradictions": states.count(CorrectionState.CONTRADICTION),
        "in_review": states.count(CorrectionState.REVIEW),
        "knowledge_gaps": states.count(CorrectionState.KNOWLEDGE_GAP),
        "rejected": handed_in.get("rejected", 0) + states.count(CorrectionState.REJECTED),
        "redacted": sum(one.joined.correction.redactions > 0 for one in kept),
        "forged": handed_in.get("forged", 0),
    }


def _training_set(training_sets: TrainingSetLedger, workload: WorkloadId) -> dict[str, Any] | None:
    newest = next(iter(training_sets.snapshots(workload)), None)
    if newest is None:
        return None
    examples = newest.counts.get("examples", newest.counts.get("correction", 0) + newest.counts.get("general", 0))
    return {
        "examples": examples,
        "snapshot": newest.id,
        "counts": dict(newest.counts),
        "warnings": list(newest.warnings),
        "audit": newest.audit,
    }


def _golden(suite: SuiteLedger, workload: WorkloadId) -> dict[str, Any] | None:
    golden = suite.golden(workload)
    return (
        None if golden is None else {"items": len(golden.cases), "version": golden.version, "id": golden.id, "frozen_by": golden.frozen_by}
    )


def _training(runs: RunLedger, workload: WorkloadId) -> dict[str, Any] | None:
    """The newest run of the trainer; adapters that were edited by hand are no runs of it."""
    run = next((one for one in runs.runs(workload) if one.plan.method != "edited"), None)
    if run is None:
        return None
    return {
        "method": run.plan.method,
        "quantization": run.plan.policy.quantization,
        "steps": run.steps,
        "seconds": round(run.seconds, 1),
        "adapter": run.adapter,
        "state": run.state.value,
        "base_digest": run.plan.base_digest,
    }


def _gate(gates: GateLedger, workload: WorkloadId, entries: Sequence[JournalEntry]) -> dict[str, Any] | None:
    """The gate of the adapter that went live; else the newest."""
    live = [ReleaseChange.of(entry).adapter for entry in entries if entry.kind is JournalKind.RELEASE and entry.state == ReleaseState.LIVE]
    records = gates.gates(workload)
    record = next((one for one in records if one.adapter in live), next(iter(records), None))
    if record is None:
        return None
    return {
        "adapter": record.adapter,
        "champion": record.champion,
        "golden_version": record.golden_version,
        "verdict": record.decision.verdict.value,
        "reason": record.decision.reason,
        "axes": [axis_document(axis) for axis in record.decision.axes],
    }


def _release(entries: Sequence[JournalEntry]) -> dict[str, Any] | None:
    """The history of the adapter that went live last."""
    changes = [entry for entry in entries if entry.kind is JournalKind.RELEASE]
    live = next((entry.subject for entry in reversed(changes) if entry.state == "live"), None)
    if live is None:
        return None
    history = [entry for entry in changes if entry.subject == live]
    return {
        "adapter": next((adapter for entry in history if (adapter := ReleaseChange.of(entry).adapter)), None),
        "history": [{"state": entry.state, "at": entry.at.isoformat(), "reason": entry.reason, "actor": entry.actor} for entry in history],
    }


def _refused(entries: Sequence[JournalEntry]) -> list[dict[str, Any]]:
    return [
        {"adapter": ReleaseChange.of(entry).adapter, "by": ReleaseChange.of(entry).by or entry.actor, "reason": entry.reason}
        for entry in entries
        if entry.kind is JournalKind.RELEASE and entry.state == ReleaseState.REFUSED
    ]
