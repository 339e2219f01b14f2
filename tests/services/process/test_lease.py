"""One leased item at a time: taken, extended, ended, given back, lost."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from flywheel.ids import RunId, WorkloadId
from services.ports.work_queue import TrainCommand, WorkItem
from services.process.lease import HOLD, LeaseLoop
from services.stores.ledger.work_queue import LedgerWorkQueue
from tests.databases import migrated_ledger

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@dataclass
class FakeJob:
    item: str
    running: bool = True
    stopped: bool = False

    def stop(self) -> None:
        self.stopped = True


@dataclass
class Story:
    """A queue with two items, and workers on it."""

    queue: LedgerWorkQueue
    jobs: list[FakeJob] = field(default_factory=list)

    def __post_init__(self) -> None:
        for name in ("first", "second"):
            item = WorkItem(id=name, workload=WorkloadId("w"), command=TrainCommand(run=RunId(name)), caused_by="c")
            self.queue.put(item, now=NOON)

    def worker(self, name: str = "a") -> LeaseLoop[TrainCommand, FakeJob]:
        def begin(item: WorkItem[TrainCommand], _now: datetime) -> FakeJob:
            self.jobs.append(FakeJob(item.id))
            return self.jobs[-1]

        def end(item: WorkItem[TrainCommand], _job: FakeJob, now: datetime) -> None:
            self.queue.finish(item.id, worker=name, now=now, result={})

        return LeaseLoop(work=self.queue, command=TrainCommand, worker=name, begin=begin, end=end)


@pytest.fixture
def story(tmp_path: Path) -> Story:
    return Story(LedgerWorkQueue(migrated_ledger(tmp_path)))


def test_one_item_is_done_after_the_other(story: Story) -> None:
    worker = story.worker()
    assert worker.tick(NOON) is not None
    assert worker.tick(NOON) is not None
    assert [job.item for job in story.jobs] == ["first"]
    story.jobs[0].running = False
    assert worker.tick(NOON) is None
    assert story.queue.state("first") == "done"
    worker.tick(NOON)
    assert [job.item for job in story.jobs] == ["first", "second"]


def test_a_lease_is_extended_while_its_job_runs(story: Story) -> None:
    worker, other = story.worker(), story.worker("b")
    other.tick(NOON)  # holds the first; what follows is about the second
    for second in range(0, 120, 5):
        worker.tick(NOON + timedelta(seconds=second))
        other.tick(NOON + timedelta(seconds=second))
    assert [job.item for job in story.jobs] == ["first", "second"]


def test_a_stopped_worker_gives_its_item_back_at_once(story: Story) -> None:
    worker = story.worker()
    worker.tick(NOON)
    worker.stop(NOON)
    assert story.jobs[0].stopped
    story.worker("b").tick(NOON + timedelta(seconds=1))
    assert [job.item for job in story.jobs] == ["first", "first"]


def test_a_job_whose_lease_was_taken_by_another_is_stopped(story: Story) -> None:
    slow, other = story.worker(), story.worker("b")
    slow.tick(NOON)
    late = NOON + HOLD + timedelta(seconds=1)
    other.tick(late)
    assert slow.tick(late) is None
    assert [(job.item, job.stopped) for job in story.jobs] == [("first", True), ("first", False)]


def test_an_item_that_needs_no_job_leaves_the_worker_free(story: Story) -> None:
    def settle(item: WorkItem[TrainCommand], now: datetime) -> None:
        story.queue.finish(item.id, worker="a", now=now, result={})

    worker: LeaseLoop[TrainCommand, FakeJob] = LeaseLoop(
        work=story.queue, command=TrainCommand, worker="a", begin=settle, end=lambda *_: None
    )
    assert worker.tick(NOON) is None
    assert story.queue.state("first") == "done"


JUMPS = (timedelta(hours=1), timedelta(days=1), timedelta(days=365))


@pytest.mark.parametrize("ahead", JUMPS)
def test_a_lease_taken_by_a_clock_that_ran_ahead_holds_nothing(story: Story, ahead: timedelta) -> None:
    story.worker().tick(NOON + ahead)  # and dies
    story.worker("b").tick(NOON)
    assert [job.item for job in story.jobs] == ["first", "first"]


@pytest.mark.parametrize("ahead", JUMPS)
def test_a_worker_whose_clock_was_set_back_extends_its_lease_at_once(story: Story, ahead: timedelta) -> None:
    worker = story.worker()
    worker.tick(NOON + ahead)
    worker.tick(NOON)
    story.worker("b").tick(NOON)
    assert [(job.item, job.stopped) for job in story.jobs] == [("first", False), ("second", False)]
