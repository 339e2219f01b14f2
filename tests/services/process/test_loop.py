"""The loop of a process that waits, and what wakes it."""

import sqlite3
import threading
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from services.process.loop import run_loop
from services.process.run_together import run_together
from services.stores.database_changes import Changes

PATIENCE = 20.0
NEVER = 600.0


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "some.db"
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE kept (number INTEGER)")
    return path


def commit(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("INSERT INTO kept VALUES (1)")
    connection.close()


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.01)


def test_commits_of_others_are_changes_and_reads_are_none(database: Path) -> None:
    changes = Changes(f"sqlite:///{database}")
    assert changes()  # the first look knows nothing
    assert not changes()
    commit(database)
    assert changes()
    assert not changes()
    with sqlite3.connect(database) as connection:
        connection.execute("SELECT * FROM kept").fetchall()
        connection.execute("BEGIN IMMEDIATE")  # takes the write lock and writes nothing
        connection.execute("COMMIT")
    assert not changes()


def test_a_change_in_any_of_several_databases_counts(database: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    sqlite3.connect(other).close()
    changes = Changes(f"sqlite:///{other}", f"sqlite:///{database}")
    changes()
    commit(database)
    assert changes()


def test_a_change_survives_a_checkpoint_of_the_log(database: Path) -> None:
    changes = Changes(f"sqlite:///{database}")
    changes()
    commit(database)
    with sqlite3.connect(database) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert changes()


def test_a_commit_wakes_a_loop_that_would_sleep_for_long(database: Path) -> None:
    steps: list[datetime] = []
    stop = threading.Event()
    loop = threading.Thread(
        target=lambda: run_loop(
            process="p", step=steps.append, every_seconds=NEVER, stop=stop, changed=Changes(f"sqlite:///{database}"), least_seconds=0.0
        )
    )
    loop.start()
    until(lambda: len(steps) == 1)
    commit(database)
    until(lambda: len(steps) == 2)
    stop.set()
    loop.join(PATIENCE)
    assert not loop.is_alive()
    assert len(steps) == 2


def test_a_commit_during_a_step_leads_to_another_step(database: Path) -> None:
    steps: list[int] = []
    stop = threading.Event()

    def step(_now: datetime) -> None:
        steps.append(1)
        if len(steps) == 1:
            commit(database)  # after the step has read
        else:
            stop.set()

    run_loop(process="p", step=step, every_seconds=NEVER, stop=stop, changed=Changes(f"sqlite:///{database}"), least_seconds=0.0)
    assert len(steps) == 2


def test_a_step_may_ask_for_the_next_one_sooner() -> None:
    steps: list[int] = []
    stop = threading.Event()

    def step(_now: datetime) -> float | None:
        steps.append(1)
        if len(steps) == 3:
            stop.set()
        return 0.01

    run_loop(process="p", step=step, every_seconds=NEVER, stop=stop)
    assert len(steps) == 3


def test_many_changes_do_not_make_a_loop_busy(database: Path) -> None:
    began = time.monotonic()
    steps: list[float] = []
    stop = threading.Event()

    def step(_now: datetime) -> None:
        steps.append(time.monotonic() - began)
        commit(database)
        if len(steps) == 3:
            stop.set()

    run_loop(process="p", step=step, every_seconds=NEVER, stop=stop, changed=Changes(f"sqlite:///{database}"), least_seconds=0.3)
    assert steps[2] >= 0.6


def test_the_first_failure_ends_all_loops_and_is_named() -> None:
    stop = threading.Event()

    def fails() -> None:
        raise ValueError("no such table")

    def waits() -> None:
        stop.wait()

    failure = run_together({"waits": waits, "fails": fails}, stop=stop)
    assert failure is not None
    assert (failure.name, str(failure.error)) == ("fails", "no such table")
    assert stop.is_set()


def test_a_loop_that_ends_by_itself_is_a_failure() -> None:
    failure = run_together({"ends": lambda: None}, stop=threading.Event())
    assert failure is not None
    assert "ended by itself" in str(failure.error)


def test_loops_that_were_asked_to_end_are_no_failure() -> None:
    stop = threading.Event()

    def waits() -> None:
        stop.wait()

    threading.Timer(0.05, stop.set).start()
    assert run_together({"waits": waits, "hangs": lambda: time.sleep(60)}, stop=stop, end_seconds=0.1) is None
