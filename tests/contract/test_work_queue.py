"""Each command is carried out once, by one worker at a time, and taken again from a worker that died."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, event

from flywheel.ids import AdapterName, Person, RunId, WorkloadId
from services.ports.work_queue import Command, GateCommand, RetrainCommand, SnapshotCommand, TrainCommand, WorkItem
from services.stores.ledger.work_queue import LedgerWorkQueue
from tests.databases import migrated_ledger

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
HOLD = timedelta(minutes=1)
ADA = Person("ada")


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return migrated_ledger(tmp_path)


def item(name: str, command: Command | None = None) -> WorkItem[TrainCommand]:
    return WorkItem(id=name, workload=WorkloadId("router"), command=command or TrainCommand(run=RunId("run-1")), caused_by="run-1")  # type: ignore[type-var]


@pytest.mark.parametrize(
    "command",
    [
        TrainCommand(run=RunId("run-1")),
        GateCommand(adapter=AdapterName("router-1"), asked_by=ADA),
        SnapshotCommand(asked_by=ADA, reason="to look at it"),
        RetrainCommand(asked_by=ADA, reason=""),
    ],
    ids=lambda command: command.kind,
)
def test_a_command_comes_back_as_it_was_put(engine: Engine, command: Command) -> None:
    queue = LedgerWorkQueue(engine)
    assert queue.put(item("w", command), now=NOON)
    leased = queue.lease(type(command), worker="a", now=NOON, hold=HOLD)
    assert leased is not None
    assert (leased.command, leased.attempts) == (command, 1)


def test_the_same_item_is_put_once_and_leased_once(engine: Engine) -> None:
    queue = LedgerWorkQueue(engine)
    assert queue.put(item("w"), now=NOON)
    assert not queue.put(item("w"), now=NOON)
    assert queue.lease(TrainCommand, worker="a", now=NOON, hold=HOLD) is not None
    assert queue.lease(TrainCommand, worker="b", now=NOON, hold=HOLD) is None
    assert queue.lease(GateCommand, worker="b", now=NOON, hold=HOLD) is None


def test_an_expired_lease_goes_to_another_worker(engine: Engine) -> None:
    queue = LedgerWorkQueue(engine)
    queue.put(item("w"), now=NOON)
    queue.lease(TrainCommand, worker="a", now=NOON, hold=HOLD)
    again = queue.lease(TrainCommand, worker="b", now=NOON + 2 * HOLD, hold=HOLD)
    assert again is not None
    assert again.attempts == 2
    assert not queue.finish("w", worker="a", now=NOON, result={})
    assert queue.finish("w", worker="b", now=NOON, result={})
    assert queue.state("w") == "done"


def test_asking_for_work_where_there_is_none_takes_no_write_lock(engine: Engine) -> None:
    queue = LedgerWorkQueue(engine)
    queue.put(item("w"), now=NOON)
    queue.lease(TrainCommand, worker="a", now=NOON, hold=HOLD)
    queue.finish("w", worker="a", now=NOON, result={})
    statements: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *arguments: statements.append(arguments[2]))
    assert queue.lease(TrainCommand, worker="a", now=NOON + 2 * HOLD, hold=HOLD) is None
    assert [statement for statement in statements if "IMMEDIATE" in statement] == []


def test_the_search_for_work_reads_open_rows_by_an_index(engine: Engine) -> None:
    statements: list[tuple[str, object]] = []
    event.listen(engine, "before_cursor_execute", lambda *arguments: statements.append((arguments[2], arguments[3])))
    LedgerWorkQueue(engine).lease(TrainCommand, worker="a", now=NOON, hold=HOLD)
    search, values = next((text, values) for text, values in statements if text.startswith("SELECT"))
    with engine.connect() as connection:
        plan = " ".join(str(row) for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {search}", values))  # type: ignore[arg-type]
    assert "work_to_do" in plan
