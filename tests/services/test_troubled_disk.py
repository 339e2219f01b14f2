"""The disk becomes read-only, full, broken or slow, or loses its power, under the recording processes: all is answered, nothing is lost."""

import errno
import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from services.cli import doctor
from services.cli.up.wiring import readyz
from services.process.process_names import metrics_port
from services.settings import Settings
from services.stores.capture_spool import CaptureSpool
from tests.brokers import running_broker
from tests.four_processes import PROCESSES, ROUTER, Daemon, running_daemon
from tests.opened import create_topics, learn_ledger, traffic_store
from tests.ports import free_port
from tests.told_flows import until
from tests.troubled_disk import troubled_disk

SOAK = bool(os.environ.get("FLYWHEEL_SOAK"))
FEW, MANY = 5, 60 if SOAK else 10
ERRORS = (errno.EROFS, errno.ENOSPC, errno.EIO) if SOAK else (errno.EROFS, errno.ENOSPC)
SECONDS_A_CALL = 0.05  # a transaction makes some twenty such calls

pytestmark = pytest.mark.broker


@contextmanager
def daemon_on(
    folder: Path, data_dir: Path, *, began: Callable[[], None] = lambda: None, capture: Mapping[str, str] | None = None
) -> Iterator[Daemon]:
    """The broker, in memory, ends with it. ``began`` is called before the processes start."""
    port, life = free_port(), ExitStack()

    def begin(settings: Settings) -> None:
        life.enter_context(running_broker(folder, port=port, killed=True))
        create_topics(settings)
        began()

    with running_daemon(
        folder, {"bootstrap": f"127.0.0.1:{port}"}, begin=begin, kill=life.close, data_dir=data_dir, capture=capture
    ) as daemon:
        yield daemon


def waits(daemon: Daemon, process: str) -> bool:
    """Its health, and `flywheel doctor`, say that it waits for the disk."""
    answer = readyz(f"http://127.0.0.1:{metrics_port(daemon.settings, process)}") or {}
    sentences = [one.sentence for one in doctor.examine_flows(daemon.settings)]
    return bool(answer.get("disk")) and any(one.startswith(f"{process} waits for the disk: ") for one in sentences)


def all_is_recorded(daemon: Daemon, corrections: int) -> None:
    ledger = learn_ledger(daemon.settings)
    until(
        lambda: daemon.recorded() == len(daemon.answered) and len(ledger.corrections(ROUTER)) == corrections,
        what=lambda: (daemon.recorded(), len(daemon.answered), len(ledger.corrections(ROUTER)), daemon.logs()),
    )
    assert {name: process.poll() for name, process in daemon.processes.items()} == dict.fromkeys(PROCESSES), daemon.logs()


def test_a_disk_that_is_read_only_full_broken_or_slow_refuses_nobody_and_loses_nothing(tmp_path: Path) -> None:
    with troubled_disk(tmp_path) as disk, daemon_on(tmp_path, disk.folder) as daemon:
        for _ in range(FEW):
            daemon.chat()
        daemon.correct("c-1")
        all_is_recorded(daemon, 1)

        for error in ERRORS:
            disk.becomes(error=error)
            for _ in range(MANY):
                daemon.chat()
            until(lambda: waits(daemon, "gateway"), what=daemon.logs)
            disk.becomes()
            daemon.chat()
            all_is_recorded(daemon, 1)
            until(lambda: not any(waits(daemon, process) for process in PROCESSES), what=daemon.logs)

        disk.becomes(seconds=SECONDS_A_CALL)
        for _ in range(MANY):
            daemon.chat()
        daemon.correct("c-2")
        all_is_recorded(daemon, 2)
    for database in disk.folder.rglob("*.db"):
        with sqlite3.connect(database) as opened:
            assert opened.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def readable(daemon: Daemon, requests: Sequence[str]) -> set[str]:
    """Those that are recorded with their content."""
    store = traffic_store(daemon.settings)
    found = {request: store.by_request(request, workload=ROUTER) for request in requests}
    return {request for request, row in found.items() if row is not None and not row.inference.exchange.unreadable}


@pytest.mark.skipif(not SOAK, reason="FLYWHEEL_SOAK=1 asks for it; in short: test_sealed_log.py and test_windower_wiring.py")
@pytest.mark.parametrize("fsync", ["every_answer", "every_second", "never"])
def test_what_a_power_cut_takes_is_what_fsync_says(tmp_path: Path, fsync: str) -> None:
    """Some exchanges are recorded when the power goes, and some were answered a moment ago."""
    with troubled_disk(tmp_path) as disk:
        with daemon_on(tmp_path, disk.folder, began=disk.begin, capture={"fsync": fsync}) as before:
            for _ in range(MANY):
                before.chat()
            until(lambda: before.recorded() >= MANY // 2, what=before.logs)
            for _ in range(FEW):
                before.chat()
        disk.after_power_cut(tmp_path / "after")
    with daemon_on(tmp_path, tmp_path / "after") as after:
        after.chat()
        folder = after.settings.data_dir / "spool"
        spool = CaptureSpool(folder / "gateway.db")
        until(lambda: not list((folder / "sealed").iterdir()) and spool.waiting() == 0, what=after.logs)
        lost = set(before.answered) - readable(after, before.answered)
    assert {"every_answer": not lost, "every_second": len(lost) <= FEW, "never": bool(lost)}[fsync], lost
