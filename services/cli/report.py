"""``flywheel report``: what happened, as JSON and as a page, from the ledger alone, so also from a copy of it elsewhere.

In: ledger.db. Out: report.json and report.html. Nothing is judged here: every number was written down when it was decided.
"""

import json
import os
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from alembic.util import CommandError
from sqlalchemy.exc import SQLAlchemyError

from flywheel.corrections.correction import CorrectionState
from flywheel.drift.verdict import DriftStatus, DriftVerdict
from flywheel.errors import CannotRun, InvalidInput, NotFound
from flywheel.gate.documents import axis_document
from flywheel.ids import WorkloadId
from flywheel.journal import JournalEntry
from flywheel.regression_suite.case import Tier
from services.cli.report_page import render
from services.ports.corrections import CorrectionLedger
from services.ports.drift import ClosedWindow
from services.ports.gate import GateLedger
from services.ports.regression_suite import SuiteLedger
from services.ports.retraining import RunLedger
from services.ports.training_set import TrainingSetLedger
from services.settings import Settings, load
from services.stores.database import open_ledger
from services.stores.ledger.alerts import LedgerAlerts
from services.stores.ledger.corrections import LedgerCorrections
from services.stores.ledger.drift import LedgerDrift
from services.stores.ledger.gates import LedgerGates
from services.stores.ledger.journal import LedgerJournal
from services.stores.ledger.regression_suite import LedgerSuite
from services.stores.ledger.runs import LedgerRuns
from services.stores.ledger.training_sets import LedgerTrainingSets

OF_A_LEDGER = {"alembic_version", "journal", "work"}  # since its first version


@dataclass(frozen=True, kw_only=True)
class Written:
    """The two files."""

    json: Path
    html: Path


def report(
    ledger: Annotated[Path | None, typer.Option("--ledger", help="A ledger.db, e.g. a copy; else the configured one.")] = None,
    workload: Annotated[str | None, typer.Option("--workload", help="Else the only one in the ledger.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder for report.json and report.html; else beside the ledger.")] = None,
    config: Annotated[Path | None, typer.Option("--config")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report itself.")] = False,
) -> None:
    """Write what happened as JSON and as a page, from the ledger alone."""
    path = ledger or load(config).data_dir / "ledger.db"
    written = write_report(ledger=path, workload=WorkloadId(workload) if workload else None, out=out or path.parent)
    print(written.json.read_text() if as_json else f"{written.json}\n{written.html}")  # noqa: T201


def write_report(*, ledger: Path, workload: WorkloadId | None, out: Path) -> Written:
    """Raises NotFound when there is no ledger or no such workload in it, CannotRun when the report cannot be written."""
    content = build(ledger=ledger, workload=workload)
    written = Written(json=out / "report.json", html=out / "report.html")
    try:
        out.mkdir(parents=True, exist_ok=True)
        for path, text in ((written.json, json.dumps(content, indent=1)), (written.html, render(content))):
            draft = path.with_name(path.name + ".new")
            draft.write_text(text)
            os.replace(draft, path)
    except OSError as error:
        raise CannotRun(
            f"the report cannot be written there: {error.strerror}",
            where="--out",
            value=str(out),
            remedy="Name a folder that you may write to.",
        ) from error
    return written


def build(*, ledger: Path, workload: WorkloadId | None) -> dict[str, Any]:
    """The report as JSON values."""
    _require_ledger(ledger)
    settings = Settings.model_construct(data_dir=ledger.parent)  # as it is: the environment has no say in a copy
    try:
        entries = LedgerJournal(open_ledger(settings.ledger_url)).entries(limit=1_000_000)
    except (SQLAlchemyError, CommandError) as error:
        why = " ".join(str(getattr(error, "orig", None) or error).split()).rstrip(".")
        remedy = "Copy it whole into a folder that you may write to, and report with the version of flywheel that wrote it."
        raise CannotRun(f"this ledger cannot be read: {why}", where=str(ledger), remedy=remedy) from error
    known = sorted({entry.workload for entry in entries if entry.workload})
    chosen = workload or (WorkloadId(known[0]) if len(known) == 1 else None)
    if chosen is None or chosen not in known:
        raise NotFound("which workload?", where="--workload", value=workload, remedy=f"The ledger knows: {', '.join(known) or 'none'}.")
    entries = [entry for entry in entries if entry.workload in ("", chosen)]
    engine = open_ledger(settings.ledger_url)
    corrections, suite, training_sets = LedgerCorrections(engine), LedgerSuite(engine), LedgerTrainingSets(engine)
    runs, gates = LedgerRuns(engine), LedgerGates(engine)
    windows = LedgerDrift(engine, topic=settings.kafka.topics.drift).windows(chosen, limit=10_000)
    alerts = LedgerAlerts(engine, topic=settings.kafka.topics.alerts).alerts(workload=chosen)
    daemon = _newest(entries, "daemon")
    return {
        "workload": chosen,
        "broker": daemon.get("broker", "unknown"),
        "engine": daemon.get("engine", "unknown"),
        "traffic": _traffic(entries, windows),
        "drift": _drift(windows),
        "alerts": [
            {
                "id": alert.id,
                "state": alert.state.value,
                "summary": alert.summary,
                "acknowledged_by": alert.acknowledgement.by if alert.acknowledgement else None,
            }
            for alert in alerts
        ],
        "corrections": _corrections(corrections, chosen),
        "training_set": _training_set(training_sets, chosen),
        "regression_suite": {
            "recurrence": len(suite.cases(chosen, tier=Tier.RECURRENCE)),
            "held_out": len(suite.cases(chosen, tier=Tier.HELD_OUT)),
        },
        "golden": _golden(suite, chosen),
        "training": _training(runs, chosen),
        "gate": _gate(gates, chosen, entries),
        "release": _release(entries),
        "refused": _refused(entries),
        "rollback": _newest(entries, "rollback") or None,
        "stages": [dict(entry.evidence) for entry in entries if entry.kind == "demo_stage"],
        "seconds": next(
            (entry.evidence.get("seconds") for entry in reversed(entries) if entry.kind == "demo" and entry.subject == "total"), None
        ),
    }


def _require_ledger(file: Path) -> None:
    """Looked at without a trace: opening it as a ledger would write our tables into somebody else's database."""
    remedy = "Name a file ledger.db that the daemon wrote with --ledger."
    try:
        if not file.is_file():
            raise NotFound("there is no ledger", where=str(file), remedy=remedy)
        with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)) as database:
            tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    except (OSError, sqlite3.Error) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise InvalidInput(f"is not a ledger: {why}", where=str(file), remedy=remedy) from error
    if OF_A_LEDGER - tables:
        what = "it is an SQLite file without the ledger's tables" if tables else "there is nothing in it"
        raise InvalidInput(f"is not a ledger: {what}", where=str(file), remedy=remedy)
    if file.name != "ledger.db":
        raise InvalidInput("is a ledger under another name", where=str(file), remedy="Name its copy ledger.db.")


def _newest(entries: Sequence[JournalEntry], kind: str, subject: str | None = None) -> Mapping[str, Any]:
    for entry in reversed(entries):
        if entry.kind == kind and (subject is None or entry.subject == subject):
            return dict(entry.evidence)
    return {}


def _traffic(entries: Sequence[JournalEntry], windows: Sequence[ClosedWindow]) -> dict[str, Any]:
    """The recorder's cumulative counts are copied into the ledger with every closed window; the newest stands."""
    counts = max((window.traffic for window in windows), key=lambda one: one.recorded, default=None)
    told = _newest(entries, "demo", "traffic")
    return {
        "sent": told.get("sent"),
        "recorded": told.get("recorded", counts.recorded if counts else 0),
        "duplicates_ignored": told.get("duplicates_ignored", counts.duplicates_ignored if counts else 0),
        "dead_lettered": told.get("dead_lettered", counts.dead_lettered if counts else 0),
    }


def _drift(windows: Sequence[ClosedWindow]) -> list[dict[str, Any]]:
    """Per slice and column the window in which it stood out most: drifting first, then the smallest score."""
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
    """The newest run that really trained; edited adapters are not runs of the trainer."""
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
    live = [str(entry.evidence.get("adapter", "")) for entry in entries if entry.kind == "release" and entry.state == "live"]
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
    changes = [entry for entry in entries if entry.kind == "release"]
    live = next((entry.subject for entry in reversed(changes) if entry.state == "live"), None)
    if live is None:
        return None
    history = [entry for entry in changes if entry.subject == live]
    return {
        "adapter": next((entry.evidence["adapter"] for entry in history if "adapter" in entry.evidence), None),
        "history": [{"state": entry.state, "at": entry.at.isoformat(), "reason": entry.reason, "actor": entry.actor} for entry in history],
    }


def _refused(entries: Sequence[JournalEntry]) -> list[dict[str, Any]]:
    return [
        {"adapter": entry.evidence.get("adapter"), "by": entry.evidence.get("by", entry.actor), "reason": entry.reason}
        for entry in entries
        if entry.kind == "release" and entry.state == "refused"
    ]
