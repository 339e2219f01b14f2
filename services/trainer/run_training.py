"""Takes a run that was asked for, has it trained in a process of its own, and registers the adapter.

Safe to kill at any point: the run's work is leased again, the child goes on from its last checkpoint, an adapter that is
complete on disk is only registered.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import structlog

from flywheel.errors import FlywheelError
from flywheel.ids import RunId
from flywheel.journal import JournalEntry
from flywheel.retraining.run import Run, RunState
from services.ports.work import WorkItem
from services.trainer.wiring import Child, TrainerParts

HOLD = timedelta(seconds=30)
EXTEND_EVERY = timedelta(seconds=5)
ATTEMPTS = 3  # a child that died without a word (out of memory, killed) may try again

log = structlog.get_logger("trainer")


@dataclass
class TrainingDesk:
    """One run at a time. ``tick`` is called about once a second."""

    parts: TrainerParts
    _item: WorkItem | None = None
    _run: Run | None = None
    _child: Child | None = None
    _started: JournalEntry | None = None
    _extended_at: datetime | None = None

    def tick(self, now: datetime) -> None:
        """Leases, watches, ends."""
        if self._child is None:
            self._take(now)
        elif (code := self._child.returncode) is not None:
            self._end(code, now)
        else:
            self._watch(now)

    def stop(self, now: datetime) -> None:
        """Ends the child and gives its work back, so that a restarted trainer goes on at once."""
        if self._child is not None and self._item is not None:
            self._child.stop()
            self.parts.work.extend(self._item.id, worker=self.parts.worker, now=now, hold=-HOLD)
            self._forget()

    def _take(self, now: datetime) -> None:
        item = self.parts.work.lease("train", worker=self.parts.worker, now=now, hold=HOLD)
        if item is None:
            return
        run = self.parts.runs.run(RunId(str(item.payload["run_id"])))
        if run is None or run.state in (RunState.TRAINED, RunState.FAILED):
            state = "unknown" if run is None else run.state
            self.parts.work.finish(item.id, worker=self.parts.worker, now=now, result={"run": state})
            return
        started = replace(run, state=RunState.TRAINING)
        self._started = _entry(started, now, f"attempt {item.attempts}", item.id)
        self.parts.runs.save_run(started, self._started)
        log.info(f"Training of {run.adapter} started.", action="run_started", run=run.id, attempt=item.attempts)
        self._item, self._run, self._child, self._extended_at = item, started, self.parts.start(started), now

    def _watch(self, now: datetime) -> None:
        assert self._item is not None
        assert self._run is not None
        assert self._child is not None
        if self._child.step > self._run.steps:
            progress = {"loss": self._child.loss, "of": self._child.steps}
            self._run = replace(self._run, steps=self._child.step, metrics=progress)
            assert self._started is not None
            self.parts.runs.save_run(self._run, self._started)  # no new journal line: progress is state, not a decision
            log.info(f"Step {self._child.step} of {self._child.steps}.", action="run_progress", run=self._run.id, loss=self._child.loss)
        if self._extended_at is None or now - self._extended_at >= EXTEND_EVERY:
            if not self.parts.work.extend(self._item.id, worker=self.parts.worker, now=now, hold=HOLD):
                log.warning("Another trainer has taken this run.", action="run_lost", run=self._run.id)
                self._child.stop()
                self._forget()
                return
            self._extended_at = now

    def _end(self, code: int, now: datetime) -> None:
        assert self._item is not None
        assert self._run is not None
        assert self._child is not None
        item, run, refused = self._item, self._run, self._child.refused
        self._forget()
        if code == 0:
            try:
                self._register(item, run, now)
            except FlywheelError as error:  # a file of the adapter is not what its manifest says
                self._fail(item, run, str(error), now)
        elif refused or item.attempts >= ATTEMPTS:
            self._fail(item, run, refused or f"its process ended with code {code} in {item.attempts} attempts", now)
        else:
            log.warning(f"The training process ended with code {code}; it is tried again.", action="run_retried", run=run.id)
            self.parts.work.extend(item.id, worker=self.parts.worker, now=now, hold=-HOLD)

    def _register(self, item: WorkItem, run: Run, now: datetime) -> None:
        bundle, steps, seconds, metrics = self.parts.finished(run)
        trained = replace(
            run,
            state=RunState.TRAINED,
            ended_at=now,
            steps=steps,
            seconds=seconds,
            metrics=metrics,
            reason=f"{steps} steps in {seconds:.0f} s",
        )
        self.parts.runs.register_adapter(
            bundle,
            JournalEntry(
                at=bundle.made_at,
                workload=run.workload,
                kind="adapter",
                subject=bundle.name,
                state="registered",
                reason=f"trained by {run.id}",
                caused_by=run.id,
                evidence={"digest": bundle.digest, "base_digest": bundle.base_digest, "snapshot": run.plan.snapshot},
            ),
        )
        self.parts.runs.save_run(trained, _entry(trained, now, trained.reason, item.id))
        self.parts.work.finish(item.id, worker=self.parts.worker, now=now, result={"adapter": bundle.name})
        log.info(f"Adapter {bundle.name} is trained and registered.", action="run_trained", run=run.id, seconds=seconds)

    def _fail(self, item: WorkItem, run: Run, reason: str, now: datetime) -> None:
        failed = replace(run, state=RunState.FAILED, ended_at=now, reason=reason)
        self.parts.runs.save_run(failed, _entry(failed, now, reason, item.id))
        self.parts.work.fail(item.id, worker=self.parts.worker, now=now, reason=reason)
        log.error(f"Training of {run.adapter} failed: {reason}", action="run_failed", run=run.id)

    def _forget(self) -> None:
        self._item = self._run = self._child = self._started = self._extended_at = None


def _entry(run: Run, now: datetime, reason: str, cause: str) -> JournalEntry:
    losses = {key: value for key, value in run.metrics.items() if key in ("loss_first", "loss_last", "rows", "rows_too_long", "device")}
    return JournalEntry(
        at=now,
        workload=run.workload,
        kind="run",
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
