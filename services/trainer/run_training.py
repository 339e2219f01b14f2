"""Takes a run from the queue, has it trained in a process of its own, and registers the adapter.

Safe to kill at any point: the work item is leased again, and a new process goes on from the last checkpoint. An adapter that is complete
on disk is registered without further training.
"""

from dataclasses import dataclass, replace
from datetime import datetime

import structlog

from flywheel.errors import FlywheelError
from flywheel.journal import JournalEntry, JournalKind
from flywheel.retraining.training_run import Run, RunState
from services.ports.work_queue import TrainCommand, WorkItem
from services.process.lease import HOLD, LeaseLoop
from services.trainer.wiring import RunProcess, TrainerParts

ATTEMPTS = 3  # leases of a work item, restarts of the trainer included, after which a crash fails the run

log = structlog.get_logger("trainer")


@dataclass(kw_only=True)
class RunInTraining:
    """The run that is being trained, and the process that trains it."""

    run: Run
    process: RunProcess
    started: JournalEntry

    @property
    def running(self) -> bool:
        return self.process.returncode is None

    def stop(self) -> None:
        self.process.stop()


class TrainingWorker:
    """Trains one run at a time. ``tick`` is called every few seconds, when the ledger has changed, and twice a second while a run
    is trained."""

    def __init__(self, parts: TrainerParts) -> None:
        self._parts = parts
        self._leases = LeaseLoop(work=parts.work, command=TrainCommand, worker=parts.worker, begin=self._begin, end=self._end)

    def tick(self, now: datetime) -> float | None:
        """Leases a run if none is in training. Otherwise saves its progress, or, when its process has ended, registers the adapter, tries
        again, or fails the run. Returns the seconds until the next check of a run in training, or None."""
        if (current := self._leases.job) is not None and current.running:
            self._save_progress(current)
        return self._leases.tick(now)

    def stop(self, now: datetime) -> None:
        """Ends the process and gives its work back, so that a restarted trainer goes on at once."""
        self._leases.stop(now)

    def _begin(self, item: WorkItem[TrainCommand], now: datetime) -> RunInTraining | None:
        run = self._parts.runs.run(item.command.run)
        if run is None or run.state in (RunState.TRAINED, RunState.FAILED):
            state = "unknown" if run is None else run.state
            self._parts.work.finish(item.id, worker=self._parts.worker, now=now, result={"run": state})
            return None
        run = replace(run, state=RunState.TRAINING)
        started = _entry(run, now, f"attempt {item.attempts}", item.id)
        self._parts.runs.save_run(run, started)
        log.info(f"Training of {run.adapter} started.", action="run_started", run=run.id, attempt=item.attempts)
        return RunInTraining(run=run, process=self._parts.start(run), started=started)

    def _save_progress(self, current: RunInTraining) -> None:
        process = current.process
        if process.step > current.run.steps:
            progress = {"loss": process.loss, "of": process.steps}
            current.run = replace(current.run, steps=process.step, metrics=progress)
            self._parts.runs.save_run(current.run, current.started)  # with the entry that the journal has already, so it gets no new line
            log.info(f"Step {process.step} of {process.steps}.", action="run_progress", run=current.run.id, loss=process.loss)

    def _end(self, item: WorkItem[TrainCommand], current: RunInTraining, now: datetime) -> None:
        run, refused, code = current.run, current.process.refused, current.process.returncode
        if code == 0:
            try:
                self._register(item, run, now)
            except FlywheelError as error:  # a file differs from its manifest, or the name belongs to other weights
                self._fail(item, run, str(error), now)
        elif refused or item.attempts >= ATTEMPTS:
            self._fail(item, run, refused or f"its process ended with code {code} on attempt {item.attempts}: see the trainer's log", now)
        else:
            log.warning(f"The training process ended with code {code}; it is tried again.", action="run_retried", run=run.id)
            self._parts.work.extend(item.id, worker=self._parts.worker, now=now, hold=-HOLD)  # the lease ends now

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
    losses = {key: value for key, value in run.metrics.items() if key in ("loss_first", "loss_last", "rows", "rows_left_out", "device")}
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
