"""Takes a run from the queue, has it trained in a process of its own, and registers the adapter.

Safe to kill at any point: the run's work is leased again, the new process goes on from the last checkpoint, and an adapter that
is complete on disk is only registered.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import structlog

from flywheel.errors import FlywheelError
from flywheel.journal import JournalEntry, JournalKind
from flywheel.retraining.run import Run, RunState
from services.ports.work import TrainCommand, WorkItem
from services.trainer.wiring import RunProcess, TrainerParts

HOLD = timedelta(seconds=30)
EXTEND_EVERY = timedelta(seconds=5)
BUSY_SECONDS = 0.5  # between two looks at a run that is being trained
ATTEMPTS = 3  # a process that ended without a reason (out of memory, killed) may try again

log = structlog.get_logger("trainer")


@dataclass(kw_only=True)
class RunInTraining:
    """The run that is being trained, its leased work, and the process that trains it."""

    item: WorkItem[TrainCommand]
    run: Run
    process: RunProcess
    started: JournalEntry
    extended_at: datetime  # when the lease was extended last


class TrainingWorker:
    """Trains one run at a time. ``tick`` is called when the ledger has changed, and every ``BUSY_SECONDS`` while a run is trained."""

    def __init__(self, parts: TrainerParts) -> None:
        self._parts = parts
        self._current: RunInTraining | None = None

    def tick(self, now: datetime) -> float | None:
        """Takes a run when there is none; else watches it, or ends it. Returns the seconds until the next look at a run in training."""
        if self._current is None:
            self._current = self._take(now)
        elif (code := self._current.process.returncode) is not None:
            current, self._current = self._current, None
            self._end(current, code, now)
        elif not self._watch(self._current, now):
            self._current = None
        return None if self._current is None else BUSY_SECONDS

    def stop(self, now: datetime) -> None:
        """Ends the process and gives its work back, so that a restarted trainer goes on at once."""
        if self._current is not None:
            self._current.process.stop()
            self._parts.work.extend(self._current.item.id, worker=self._parts.worker, now=now, hold=-HOLD)
            self._current = None

    def _take(self, now: datetime) -> RunInTraining | None:
        item = self._parts.work.lease(TrainCommand, worker=self._parts.worker, now=now, hold=HOLD)
        if item is None:
            return None
        run = self._parts.runs.run(item.command.run)
        if run is None or run.state in (RunState.TRAINED, RunState.FAILED):
            state = "unknown" if run is None else run.state
            self._parts.work.finish(item.id, worker=self._parts.worker, now=now, result={"run": state})
            return None
        run = replace(run, state=RunState.TRAINING)
        started = _entry(run, now, f"attempt {item.attempts}", item.id)
        self._parts.runs.save_run(run, started)
        log.info(f"Training of {run.adapter} started.", action="run_started", run=run.id, attempt=item.attempts)
        return RunInTraining(item=item, run=run, process=self._parts.start(run), started=started, extended_at=now)

    def _watch(self, current: RunInTraining, now: datetime) -> bool:
        """Saves progress and extends the lease. False when another trainer has taken the run."""
        process = current.process
        if process.step > current.run.steps:
            progress = {"loss": process.loss, "of": process.steps}
            current.run = replace(current.run, steps=process.step, metrics=progress)
            self._parts.runs.save_run(current.run, current.started)  # no new journal line: progress is state, not a decision
            log.info(f"Step {process.step} of {process.steps}.", action="run_progress", run=current.run.id, loss=process.loss)
        if now - current.extended_at < EXTEND_EVERY:
            return True
        if not self._parts.work.extend(current.item.id, worker=self._parts.worker, now=now, hold=HOLD):
            log.warning("Another trainer has taken this run.", action="run_lost", run=current.run.id)
            process.stop()
            return False
        current.extended_at = now
        return True

    def _end(self, current: RunInTraining, code: int, now: datetime) -> None:
        item, run, refused = current.item, current.run, current.process.refused
        if code == 0:
            try:
                self._register(item, run, now)
            except FlywheelError as error:  # a file of the adapter differs from its manifest
                self._fail(item, run, str(error), now)
        elif refused or item.attempts >= ATTEMPTS:
            self._fail(item, run, refused or f"its process ended with code {code} in {item.attempts} attempts", now)
        else:
            log.warning(f"The training process ended with code {code}; it is tried again.", action="run_retried", run=run.id)
            self._parts.work.extend(item.id, worker=self._parts.worker, now=now, hold=-HOLD)

    def _register(self, item: WorkItem[TrainCommand], run: Run, now: datetime) -> None:
        finished = self._parts.finished(run)
        bundle = finished.bundle
        trained = replace(
            run,
            state=RunState.TRAINED,
            ended_at=now,
            steps=finished.steps,
            seconds=finished.seconds,
            metrics=finished.metrics,
            reason=f"{finished.steps} steps in {finished.seconds:.0f} s",
        )
        self._parts.runs.register_adapter(
            bundle,
            JournalEntry(
                at=bundle.made_at,
                workload=run.workload,
                kind=JournalKind.ADAPTER,
                subject=bundle.name,
                state="registered",
                reason=f"trained by {run.id}",
                caused_by=run.id,
                evidence={"digest": bundle.digest, "base_digest": bundle.base_digest, "snapshot": run.plan.snapshot},
            ),
        )
        self._parts.runs.save_run(trained, _entry(trained, now, trained.reason, item.id))
        self._parts.work.finish(item.id, worker=self._parts.worker, now=now, result={"adapter": bundle.name})
        log.info(f"Adapter {bundle.name} is trained and registered.", action="run_trained", run=run.id, seconds=finished.seconds)

    def _fail(self, item: WorkItem[TrainCommand], run: Run, reason: str, now: datetime) -> None:
        failed = replace(run, state=RunState.FAILED, ended_at=now, reason=reason)
        self._parts.runs.save_run(failed, _entry(failed, now, reason, item.id))
        self._parts.work.fail(item.id, worker=self._parts.worker, now=now, reason=reason)
        log.error(f"Training of {run.adapter} failed: {reason}", action="run_failed", run=run.id)


def _entry(run: Run, now: datetime, reason: str, cause: str) -> JournalEntry:
    losses = {key: value for key, value in run.metrics.items() if key in ("loss_first", "loss_last", "rows", "rows_too_long", "device")}
    return JournalEntry(
        at=now,
        workload=run.workload,
        kind=JournalKind.RUN,
        subject=run.id,
        state=run.state,
        reason=reason,
        caused_by=cause,
        evidence={
            "adapter": run.adapter,
            "snapshot": run.plan.snapshot,
            "method": run.plan.method,
            "quantization": run.plan.policy.quantization,
            "steps": run.steps,
            "seconds": run.seconds,
            **losses,
        },
    )
