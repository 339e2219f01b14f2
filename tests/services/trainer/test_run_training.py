"""The trainer around a scripted process: leases, progress, success, refusal, death."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from flywheel.errors import InvalidInput
from flywheel.ids import AdapterName, RunId, SnapshotId, WorkloadId
from flywheel.journal import JournalEntry
from flywheel.retraining.plan import TrainingPlan, TrainingPolicy
from flywheel.retraining.training_run import AdapterBundle, Run, RunState
from services.ports.work_queue import TrainCommand, WorkItem
from services.stores.database import metadata, open_database
from services.stores.ledger.journal import LedgerJournal, journal_table
from services.stores.ledger.runs import LedgerRuns, adapters_table, runs_table
from services.stores.ledger.work_queue import LedgerWorkQueue, work_table
from services.trainer.run_training import ATTEMPTS, TrainingWorker
from services.trainer.wiring import FinishedRun, TrainerParts

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
PLAN = TrainingPlan(
    workload=WorkloadId("router"), base="base", base_digest="d" * 64, snapshot=SnapshotId("s"), method="qlora-sft", policy=TrainingPolicy()
)
RUN = Run(id=RunId("run-1"), workload=PLAN.workload, plan=PLAN, adapter=AdapterName("router-1"), state=RunState.QUEUED, requested_at=NOW)


@dataclass
class ScriptedProcess:
    """Ends when the test says so."""

    returncode: int | None = None
    step: int = 0
    steps: int = 60
    loss: float = 0.0
    refused: str = ""
    stopped: bool = False

    def stop(self) -> None:
        self.stopped = True


@dataclass
class TrainerWorld:
    """A worker on a real ledger, and the processes it started."""

    parts: TrainerParts
    journal: LedgerJournal
    work: LedgerWorkQueue
    processes: list[ScriptedProcess] = field(default_factory=list)

    @property
    def run(self) -> Run:
        found = self.parts.runs.run(RUN.id)
        assert found is not None
        return found

    def worker(self, name: str = "trainer-1") -> TrainingWorker:
        return TrainingWorker(replace(self.parts, worker=name))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[TrainerWorld]:
    engine = open_database(f"sqlite:///{tmp_path / 'ledger.db'}")
    metadata.create_all(engine, tables=[journal_table, work_table, runs_table, adapters_table])
    processes: list[ScriptedProcess] = []

    def start(run: Run) -> ScriptedProcess:
        processes.append(ScriptedProcess())
        return processes[-1]

    def finished(run: Run) -> FinishedRun:
        bundle = AdapterBundle(
            name=run.adapter, workload=run.workload, run=run.id, path="/a", digest="a" * 64, base_digest="d" * 64, made_at=NOW
        )
        return FinishedRun(bundle=bundle, steps=60, seconds=12.0, metrics={"loss_last": 0.1})

    ledger, work, journal = LedgerRuns(engine), LedgerWorkQueue(engine), LedgerJournal(engine)
    ledger.save_run(RUN, JournalEntry(at=NOW, workload=RUN.workload, kind="run", subject=RUN.id, state="queued", reason="asked"))
    work.put(WorkItem(id="work-1", workload=RUN.workload, command=TrainCommand(run=RUN.id), caused_by=RUN.id), now=NOW)
    parts = TrainerParts(worker="trainer-1", runs=ledger, work=work, start=start, finished=finished)
    yield TrainerWorld(parts=parts, journal=journal, work=work, processes=processes)
    engine.dispose()


def test_a_run_is_trained_registered_and_its_work_closed(world: TrainerWorld) -> None:
    worker = world.worker()
    worker.tick(NOW)
    world.processes[0].step, world.processes[0].loss = 10, 0.7
    worker.tick(NOW + SECOND)
    assert (world.run.state, world.run.steps) == (RunState.TRAINING, 10)
    world.processes[0].returncode = 0
    worker.tick(NOW + 2 * SECOND)
    assert (world.run.state, world.run.steps, world.run.seconds) == (RunState.TRAINED, 60, 12.0)
    assert world.parts.runs.adapter(RUN.adapter) is not None
    assert world.work.state("work-1") == "done"


def test_progress_is_state_and_writes_no_journal_line(world: TrainerWorld) -> None:
    worker = world.worker()
    worker.tick(NOW)
    for step in range(1, 30):
        world.processes[0].step = step
        worker.tick(NOW + step * SECOND)
    assert [line.state for line in world.journal.entries(kind="run")] == ["queued", "training"]


def test_a_refusal_fails_the_run_with_its_reason_and_is_not_tried_again(world: TrainerWorld) -> None:
    worker = world.worker()
    worker.tick(NOW)
    world.processes[0].refused, world.processes[0].returncode = "the base model's files are not those", 3
    worker.tick(NOW + SECOND)
    assert (world.run.state, world.run.reason) == (RunState.FAILED, "the base model's files are not those")
    assert world.work.state("work-1") == "failed"


def test_a_crashed_process_is_retried_three_times(world: TrainerWorld) -> None:
    worker, now = world.worker(), NOW
    for _ in range(ATTEMPTS):
        now += SECOND
        worker.tick(now)
        world.processes[-1].returncode = -9
        now += SECOND
        worker.tick(now)
    assert len(world.processes) == ATTEMPTS
    assert world.run.state is RunState.FAILED
    assert "code -9" in world.run.reason


def test_a_stopped_trainer_gives_its_run_back_at_once(world: TrainerWorld) -> None:
    worker = world.worker()
    worker.tick(NOW)
    worker.stop(NOW + SECOND)
    assert world.processes[0].stopped
    world.worker("trainer-2").tick(NOW + 2 * SECOND)
    assert len(world.processes) == 2


def test_a_killed_trainer_s_run_is_taken_again_when_the_lease_ends(world: TrainerWorld) -> None:
    world.worker("trainer-1").tick(NOW)
    second = world.worker("trainer-2")
    second.tick(NOW + 10 * SECOND)
    assert len(world.processes) == 1
    second.tick(NOW + 60 * SECOND)
    assert len(world.processes) == 2


def test_a_trainer_without_its_lease_ends_its_process(world: TrainerWorld) -> None:
    first, second = world.worker("trainer-1"), world.worker("trainer-2")
    first.tick(NOW)
    second.tick(NOW + 60 * SECOND)
    first.tick(NOW + 61 * SECOND)
    assert world.processes[0].stopped
    assert not world.processes[1].stopped


def test_a_bundle_that_is_not_what_its_manifest_says_fails_the_run(world: TrainerWorld) -> None:
    def broken(run: Run) -> FinishedRun:
        raise InvalidInput("SHA-256 differs from manifest.json", remedy="Train again.")

    worker = TrainingWorker(replace(world.parts, finished=broken))
    worker.tick(NOW)
    world.processes[0].returncode = 0
    worker.tick(NOW + SECOND)
    assert world.run.state is RunState.FAILED


def test_a_run_that_is_over_already_closes_its_work(world: TrainerWorld) -> None:
    over = replace(RUN, state=RunState.TRAINED, ended_at=NOW)
    world.parts.runs.save_run(
        over, JournalEntry(at=NOW, workload=RUN.workload, kind="run", subject=RUN.id, state="trained", reason="before a kill")
    )
    world.worker().tick(NOW + SECOND)
    assert world.processes == []
    assert world.work.state("work-1") == "done"
