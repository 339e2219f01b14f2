"""Considers retraining a workload: facts -> trigger -> readiness -> snapshot -> plan -> a queued run. Does not train.

Safe to repeat: the ids of trigger, snapshot, plan and run follow from their causes, so asking twice asks once.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import structlog

from flywheel.alerts.alert import Alert
from flywheel.clock import lies_ahead
from flywheel.corrections.correction import CorrectionState
from flywheel.errors import FlywheelError, InvalidInput
from flywheel.ids import BASE, DAEMON, Person, RunId, derive
from flywheel.journal import JournalEntry, JournalKind
from flywheel.regression_suite.case import Tier
from flywheel.retraining import readiness, trigger
from flywheel.retraining.adapter_name import adapter_name
from flywheel.retraining.plan import make_plan
from flywheel.retraining.readiness import Light, Readiness, ReadinessFacts
from flywheel.retraining.training_run import Run, RunState
from flywheel.retraining.trigger import TriggerFacts
from flywheel.training_set.curate import curate
from flywheel.training_set.example import Example
from flywheel.training_set.snapshot import Snapshot
from flywheel.training_set.token_rows import TokenRows, TooManyLeftOut, too_many_left_out
from services.ports.work_queue import RetrainCommand, SnapshotCommand, TrainCommand, WorkItem
from services.retrain_scheduler.wiring import SchedulerParts, TrainedWorkload

HOLD = timedelta(seconds=60)
EDITED = "edited"  # an adapter edited for a rehearsal: it learnt nothing, so it resets no count and no cool-down
log = structlog.get_logger("retrain_scheduler")


def consider_retraining(
    *,
    workload: TrainedWorkload,
    parts: SchedulerParts,
    now: datetime,
    calendar: bool = False,
    asked_by: Person | None = None,
    cause: str = "",
    why: str = "",
) -> str:
    """Returns the outcome in one sentence."""
    runs = [run for run in parts.runs.runs(workload.id) if run.plan.method != EDITED]
    _queue_again(runs, parts, now)
    facts = _facts(workload, parts, runs, calendar=calendar, asked_by=asked_by, now=now)
    decision = trigger.decide(workload=workload.id, facts=facts, policy=workload.trigger, now=now)
    if not decision.retrain:
        return decision.reason
    # One trigger for each last run: until it leads to a run, every check finds the same trigger.
    cause = cause or derive("trigger", workload.id, decision.reason, runs[0].id if runs else "")
    asked = JournalEntry(
        at=now,
        workload=workload.id,
        kind=JournalKind.TRIGGER,
        subject=cause,
        state="asked",
        reason=f"{decision.reason}: {why}" if why else decision.reason,
        actor=asked_by or DAEMON,
        caused_by=decision.caused_by,
        evidence=decision.evidence,
    )
    _journal(parts, asked)
    ready = _readiness(workload, parts)
    _journal(parts, _readiness_entry(workload, ready, cause, now))
    if ready.light is Light.RED:
        return f"not ready: {ready.reason}"
    snapshot, reason = build_snapshot(workload=workload, parts=parts, now=now, cause=cause, actor=asked_by or DAEMON)
    if snapshot is None:
        return reason
    counted = parts.count_rows(snapshot, workload.training)
    if not isinstance(counted, str) and (refusal := too_many_left_out(counted)):
        _journal(parts, _refused_rows(workload, refusal, counted, cause, now))
        return f"not ready: {refusal.reason}. {refusal.remedy}"
    return _queue(workload, parts, snapshot, runs, cause, now)


def build_snapshot(
    *, workload: TrainedWorkload, parts: SchedulerParts, now: datetime, cause: str, actor: Person
) -> tuple[Snapshot | None, str]:
    """The snapshot and the reason, or None and why not. Writes the file before its row: a row never names a missing file."""
    golden = parts.suite.golden(workload.id)
    result = curate(
        workload=workload.id,
        corrections=parts.corrections.corrections(workload.id, state=CorrectionState.ACCEPTED),
        general=_general(workload, parts, now, cause=cause),
        protected_cases=[*(golden.cases if golden else ()), *parts.suite.cases(workload.id)],
        policy=workload.curation,
        comparison=workload.comparison,
        cut_off=now,
    )
    snapshot = _with_row_counts(result.snapshot, workload, parts)
    entry = JournalEntry(
        at=now,
        workload=workload.id,
        kind=JournalKind.SNAPSHOT,
        subject=snapshot.id if snapshot else derive("snapshot-refused", cause, result.reason),
        state="built" if snapshot else "refused",
        reason=result.reason,
        actor=actor,
        caused_by=cause,
        evidence={
            "examples": len(snapshot.examples) if snapshot else 0,
            "counts": dict(snapshot.counts) if snapshot else {},
            "dropped": dict(result.dropped),
            "warnings": list(snapshot.warnings) if snapshot else [],
            "audit": snapshot.audit if snapshot else "",
            "leakage": {"checked": result.leakage.checked, "cases": result.leakage.cases, "clean": result.leakage.clean},
        },
    )
    if snapshot is None:
        if _journal(parts, entry):
            log.warning(f"No snapshot: {result.reason}", action="snapshot_refused", workload=workload.id)
        return None, f"no snapshot: {result.reason}"
    if parts.training_sets.snapshot(snapshot.id) is None:
        parts.training_sets.keep_snapshot(snapshot, path=str(parts.write_snapshot(snapshot)), entry=entry)
        log.info(f"Snapshot {snapshot.id} built: {result.reason}", action="snapshot_built", workload=workload.id)
    return snapshot, result.reason


def _with_row_counts(snapshot: Snapshot | None, workload: TrainedWorkload, parts: SchedulerParts) -> Snapshot | None:
    """With a warning that names the rows that will not be trained on, by reason. The rows stay in the snapshot."""
    if snapshot is None:
        return None
    counted = parts.count_rows(snapshot, workload.training)
    if isinstance(counted, str):
        warning = f"the rows were not counted in tokens: {counted}"
    elif counted.left_out:
        warning = f"{counted.total - len(counted.rows)} of {counted.total} rows will not be trained on: {counted.told}"
    else:
        return snapshot
    return replace(snapshot, warnings=(*snapshot.warnings, warning))


def serve_requests(parts: SchedulerParts, now: datetime) -> None:
    """Serves one request of a person for a data set, and one for a training."""
    snapshot = parts.work.lease(SnapshotCommand, worker=parts.worker, now=now, hold=HOLD)
    if snapshot is not None:
        _serve(snapshot, parts, now)
    retraining = parts.work.lease(RetrainCommand, worker=parts.worker, now=now, hold=HOLD)
    if retraining is not None:
        _serve(retraining, parts, now)


def _serve(item: WorkItem[SnapshotCommand] | WorkItem[RetrainCommand], parts: SchedulerParts, now: datetime) -> None:
    workload = parts.workloads.get(item.workload)
    command = item.command
    if workload is None:
        parts.work.fail(item.id, worker=parts.worker, now=now, reason="there is no such workload")
        return
    try:
        if isinstance(command, SnapshotCommand):
            snapshot, told = build_snapshot(workload=workload, parts=parts, now=now, cause=item.id, actor=command.asked_by)
            result = {"snapshot": snapshot.id if snapshot else None, "reason": told}
        else:
            told = consider_retraining(
                workload=workload, parts=parts, now=now, asked_by=command.asked_by, cause=item.id, why=command.reason
            )
            result = {"reason": told}
    except FlywheelError as error:  # such as a general_file that cannot be read: the requester gets the reason
        parts.work.fail(item.id, worker=parts.worker, now=now, reason=str(error))
        log.error(str(error), action="request_failed", workload=item.workload)
        return
    log.info(f"{command.kind} of {command.asked_by}: {told}", action="request_served", workload=item.workload)
    parts.work.finish(item.id, worker=parts.worker, now=now, result=result)


def _facts(
    workload: TrainedWorkload,
    parts: SchedulerParts,
    runs: Sequence[Run],
    *,
    calendar: bool,
    asked_by: Person | None,
    now: datetime,
) -> TriggerFacts:
    """The facts for the trigger. Corrections count from the last run that trained: a failed run learnt nothing.

    A run from the future does not count: no correction of now would be newer.
    """
    trained = (run.requested_at for run in runs if run.state is RunState.TRAINED)
    learnt_until = max((at for at in trained if not lies_ahead(at, now=now)), default=None)
    alerts = parts.alerts.alerts(workload=workload.id, open_only=True)
    return TriggerFacts(
        mode=workload.mode,
        drift_alerts=tuple(alert.id for alert in alerts if _is_drift(alert)),
        new_corrections=parts.corrections.trainable(workload.id, since=learnt_until),
        last_ended=max((run.ended_at for run in runs if run.ended_at is not None), default=None),
        in_progress=any(run.state in (RunState.QUEUED, RunState.TRAINING) for run in runs),
        calendar=calendar,
        asked_by=asked_by,
    )


def _is_drift(alert: Alert) -> bool:
    return alert.labels.get("kind") == "drift"


def _readiness(workload: TrainedWorkload, parts: SchedulerParts) -> Readiness:
    states = parts.corrections.state_counts(workload.id)
    golden = parts.suite.golden(workload.id)
    facts = ReadinessFacts(
        training_corrections=parts.corrections.trainable(workload.id),
        contradictions=states.get(CorrectionState.CONTRADICTION, 0),
        knowledge_gaps=states.get(CorrectionState.KNOWLEDGE_GAP, 0),
        decided=sum(count for state, count in states.items() if state is not CorrectionState.DUPLICATE),
        golden=len(golden.cases) if golden else 0,
        safety=len(parts.suite.cases(workload.id, tier=Tier.SAFETY)),
        general=len(parts.suite.cases(workload.id, tier=Tier.GENERAL)),
        base_found=parts.base_digest() is not None,
    )
    return readiness.judge(facts=facts, policy=workload.readiness)


def _readiness_entry(workload: TrainedWorkload, ready: Readiness, cause: str, now: datetime) -> JournalEntry:
    return JournalEntry(
        at=now,
        workload=workload.id,
        kind=JournalKind.READINESS,
        subject=workload.id,
        state="red" if ready.light is Light.RED else "green",
        reason=ready.reason,
        caused_by=cause,
        evidence={"light": ready.light, "findings": {one.question: [one.light, one.reason] for one in ready.findings}},
    )


def _refused_rows(workload: TrainedWorkload, refusal: TooManyLeftOut, counted: TokenRows, cause: str, now: datetime) -> JournalEntry:
    return JournalEntry(
        at=now,
        workload=workload.id,
        kind=JournalKind.READINESS,
        subject=workload.id,
        state="red",
        reason=f"{refusal.reason}. {refusal.remedy}",
        caused_by=cause,
        evidence={
            "light": Light.RED,
            "rows": counted.total,
            "left_out": {reason.value: count for reason, count in counted.left_out.items()},
        },
    )


def _general(workload: TrainedWorkload, parts: SchedulerParts, now: datetime, *, cause: str) -> Sequence[Example]:
    """The general rows. The first use copies the file's rows to the ledger, so that a later edit of the file changes no snapshot.

    Raises InvalidInput for a file that cannot be read, after a line in the journal.
    """
    rows = parts.training_sets.general_examples(workload.id)
    if rows or workload.general_file is None:
        return rows
    try:
        found = parts.read_general_rows(workload.general_file)
    except InvalidInput as error:
        subject, why = derive("snapshot-refused", cause, str(error)), str(error)
        refused = JournalEntry(
            at=now, workload=workload.id, kind=JournalKind.SNAPSHOT, subject=subject, state="refused", reason=why, caused_by=cause
        )
        _journal(parts, refused)
        raise
    entry = JournalEntry(
        at=now,
        workload=workload.id,
        kind=JournalKind.GENERAL,
        subject=workload.id,
        state="imported",
        reason=f"{len(found)} general rows from training.general_file",
        evidence={"rows": len(found)},
    )
    parts.training_sets.add_general_examples(workload.id, found, entry)
    return parts.training_sets.general_examples(workload.id)


def _queue(workload: TrainedWorkload, parts: SchedulerParts, snapshot: Snapshot, runs: Sequence[Run], cause: str, now: datetime) -> str:
    base_digest = parts.base_digest()
    assert base_digest is not None  # readiness is red without it
    plan = make_plan(
        snapshot=snapshot.id, workload=workload.id, base=BASE, base_digest=base_digest, policy=workload.training, versions=parts.versions
    )
    adapter = adapter_name(plan)
    if parts.runs.adapter(adapter) is not None:
        return f"this exact plan has been trained already: {adapter}"
    # Not of the cause: a person and the schedule that ask at once get one run.
    attempt = sum(run.adapter == adapter for run in runs)
    run_id = RunId(derive("run", adapter, attempt))
    run = Run(id=run_id, workload=workload.id, plan=plan, adapter=adapter, state=RunState.QUEUED, requested_at=now)
    if parts.runs.run(run.id) is None:
        entry = JournalEntry(
            at=now,
            workload=workload.id,
            kind=JournalKind.RUN,
            subject=run.id,
            state=RunState.QUEUED,
            reason=f"{len(snapshot.examples)} examples, {plan.policy.steps} steps",
            caused_by=cause,
            evidence={"adapter": adapter, "snapshot": snapshot.id, "base_digest": base_digest, "method": plan.method},
        )
        parts.runs.save_run(run, entry)
    _put(run, parts, now)
    log.info(f"Run {run.id} of {adapter} queued.", action="run_queued", workload=workload.id)
    return f"run {run.id} queued for {adapter}"


def _queue_again(runs: Sequence[Run], parts: SchedulerParts, now: datetime) -> None:
    """Queues the work of queued runs again: a kill between the two writes would leave a run without work."""
    for run in runs:
        if run.state is RunState.QUEUED:
            _put(run, parts, now)


def _put(run: Run, parts: SchedulerParts, now: datetime) -> None:
    item = WorkItem(id=derive("work", "train", run.id), workload=run.workload, command=TrainCommand(run=run.id), caused_by=run.id)
    parts.work.put(item, now=now)


def _journal(parts: SchedulerParts, entry: JournalEntry) -> bool:
    """Appends the line, unless the newest one of its subject says the same: a line is a decision. True when it was appended."""
    before = parts.journal.entries(workload=entry.workload, kind=entry.kind, subject=entry.subject, limit=1)
    if not before or (before[-1].state, before[-1].reason, before[-1].caused_by) != (entry.state, entry.reason, entry.caused_by):
        parts.journal.append(entry)
        return True
    return False
