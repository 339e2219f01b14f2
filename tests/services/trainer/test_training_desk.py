"""The trainer around a scripted child: leases, progress, success, refusal, death."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from flywheel.errors import InvalidInput
from flywheel.ids import AdapterName, RunId, SnapshotId, WorkloadId
from flywheel.journal import JournalEntry
from flywheel.retraining.plan import TrainingPlan, TrainingPolicy
from flywheel.retraining.run import AdapterBundle, Run, RunState
from services.ports.work import WorkItem
from services.stores.database import metadata, open_database
from services.stores.ledger.journal import LedgerJournal, journal_table
from services.stores.ledger.runs import LedgerRuns, adapters_table, runs_table
from services.stores.ledger.work import LedgerWorkQueue, work_table
from services.trainer.run_training import ATTEMPTS, TrainingDesk
from services.trainer.wiring import TrainerParts

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
PLAN = TrainingPlan(
    workload=WorkloadId("router"), base="base", base_digest="d" * 64, snapshot=SnapshotId("s"), method="qlora-sft", policy=TrainingPolicy()
)
RUN = Run(id=RunId("run-1"), workload=PLAN.workload, plan=PLAN, adapter=AdapterName("router-1"), state=RunState.QUEUED, requested_at=NOW)


@dataclass
class ScriptedChild:
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
class House:
    """A desk on a real ledger, and the children it started."""

    parts: TrainerParts
    journal: LedgerJournal
    work: LedgerWorkQueue
    children: list[ScriptedChild] = field(default_factory=list)

    @property
    def run(self) -> Run:
        found = self.parts.runs.run(RUN.id)
        assert found is not None
        return found

    def desk(self, worker: str = "trainer-1") -> TrainingDesk:
        return TrainingDesk(replace(self.parts, worker=worker))


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    engine = open_database(f"sqlite:///{tmp_path / 'ledger.db'}")
    metadata.create_all(engine, tables=[journal_table, work_table, runs_table, adapters_table])
    children: list[ScriptedChild] = []

    def start(run: Run) -> ScriptedChild:
        children.append(ScriptedChild())
        return children[-1]

    def finished(run: Run) -> tuple[AdapterBundle, int, float, dict[str, object]]:
        bundle = AdapterBundle(
            name=run.adapter, workload=run.workload, run=run.id, path="/a", digest="a" * 64, base_digest="d" * 64, made_at=NOW
        )
        return bundle, 60, 12.0, {"loss_last": 0.1}

    ledger, work, journal = LedgerRuns(engine), LedgerWorkQueue(engine), LedgerJournal(engine)
    ledger.save_run(RUN, JournalEntry(at=NOW, workload=RUN.workload, kind="run", subject=RUN.id, state="queued", reason="asked"))
    work.put(WorkItem(id="work-1", kind="train", workload=RUN.workload, payload={"run_id": RUN.id}, caused_by=RUN.id), now=NOW)
    parts = TrainerParts(worker="trainer-1", runs=ledger, work=work, start=start, finished=finished)
    yield House(parts=parts, journal=journal, work=work, children=children)
    engine.dispose()


def test_a_run_is_trained_registered_and_its_work_closed(house: House) -> None:
    desk = house.desk()
    desk.tick(NOW)
    house.children[0].step, house.children[0].loss = 10, 0.7
    desk.tick(NOW + SECOND)
    assert (house.run.state, house.run.steps) == (RunState.TRAINING, 10)
    house.children[0].returncode = 0
    desk.tick(NOW + 2 * SECOND)
    assert (house.run.state, house.run.steps, house.run.seconds) == (RunState.TRAINED, 60, 12.0)
    assert house.parts.runs.adapter(RUN.adapter) is not None
    assert house.work.state("work-1") == "done"


def test_progress_is_state_and_writes_no_journal_line(house: House) -> None:
    desk = house.desk()
    desk.tick(NOW)
    for step in range(1, 30):
        house.children[0].step = step
        desk.tick(NOW + step * SECOND)
    assert [line.state for line in house.journal.entries(kind="run")] == ["queued", "training"]


def test_a_refusal_fails_the_run_with_its_reason_and_is_not_tried_again(house: House) -> None:
    desk = house.desk()
    desk.tick(NOW)
    house.children[0].refused, house.children[0].returncode = "the base model's files are not those", 3
    desk.tick(NOW + SECOND)
    assert (house.run.state, house.run.reason) == (RunState.FAILED, "the base model's files are not those")
    assert house.work.state("work-1") == "failed"


def test_a_child_that_died_silently_is_tried_again_and_then_given_up(house: House) -> None:
    desk, now = house.desk(), NOW
    for _ in range(ATTEMPTS):
        now += SECOND
        desk.tick(now)
        house.children[-1].returncode = -9
        now += SECOND
        desk.tick(now)
    assert len(house.children) == ATTEMPTS
    assert house.run.state is RunState.FAILED
    assert "code -9" in house.run.reason


def test_a_stopped_trainer_gives_its_run_back_at_once(house: House) -> None:
    desk = house.desk()
    desk.tick(NOW)
    desk.stop(NOW + SECOND)
    assert house.children[0].stopped
    house.desk("trainer-2").tick(NOW + 2 * SECOND)
    assert len(house.children) == 2


def test_a_killed_trainer_s_run_is_taken_again_when_the_lease_ends(house: House) -> None:
    house.desk("trainer-1").tick(NOW)
    second = house.desk("trainer-2")
    second.tick(NOW + 10 * SECOND)
    assert len(house.children) == 1
    second.tick(NOW + 60 * SECOND)
    assert len(house.children) == 2


def test_a_trainer_that_lost_its_lease_ends_its_child_and_writes_nothing(house: House) -> None:
    first, second = house.desk("trainer-1"), house.desk("trainer-2")
    first.tick(NOW)
    second.tick(NOW + 60 * SECOND)
    first.tick(NOW + 61 * SECOND)
    assert house.children[0].stopped
    assert not house.children[1].stopped


def test_a_bundle_that_is_not_what_its_manifest_says_fails_the_run(house: House) -> None:
    def broken(run: Run) -> tuple[AdapterBundle, int, float, dict[str, object]]:
        raise InvalidInput("is not the file that the manifest names", remedy="Train again.")

    desk = TrainingDesk(replace(house.parts, finished=broken))
    desk.tick(NOW)
    house.children[0].returncode = 0
    desk.tick(NOW + SECOND)
    assert house.run.state is RunState.FAILED


def test_a_run_that_is_over_already_closes_its_work(house: House) -> None:
    over = replace(RUN, state=RunState.TRAINED, ended_at=NOW)
    house.parts.runs.save_run(
        over, JournalEntry(at=NOW, workload=RUN.workload, kind="run", subject=RUN.id, state="trained", reason="before a kill")
    )
    house.desk().tick(NOW + SECOND)
    assert house.children == []
    assert house.work.state("work-1") == "done"
