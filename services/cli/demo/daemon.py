"""The running daemon: the demo starts and stops it as ``flywheel up`` and watches it through its databases."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType

from flywheel.alerts.alert import Alert, AlertState
from flywheel.corrections.correction import CorrectionState
from flywheel.errors import CannotRun
from flywheel.ids import AdapterName, WorkloadId
from flywheel.journal import JournalKind, RollbackMeasurement
from flywheel.retraining.training_run import Run
from flywheel.rollout.release import Release
from services.ports.gate import GateRecord
from services.ports.journal import Journal
from services.settings import Settings
from services.settings.pane_shapes import pane_shapes
from services.stores.database import open_ledger, open_traffic
from services.stores.ledger.alerts import LedgerAlerts
from services.stores.ledger.corrections import LedgerCorrections
from services.stores.ledger.gates import LedgerGates
from services.stores.ledger.journal import LedgerJournal
from services.stores.ledger.releases import LedgerReleases
from services.stores.ledger.runs import LedgerRuns
from services.stores.traffic.traffic_store import TrafficStore

START_SECONDS = 300.0
STOP_SECONDS = 40.0


class Daemon:
    """``with Daemon(...) as daemon``: at the end, also on Ctrl-C, no process of it is left."""

    def __init__(self, *, config: Path, settings: Settings) -> None:
        self._config, self._settings = config, settings
        (self._workload,) = (WorkloadId(name) for name in settings.workloads)
        self._process: subprocess.Popen[bytes] | None = None
        self._log = settings.data_dir / "up.log"

    def __enter__(self) -> "Daemon":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._process is None:
            return
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not leave the daemon behind
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()  # its children end with it
            self._process.wait()

    def start(self, *, show: Callable[[str], None]) -> None:
        """Returns when every process is ready. Raises CannotRun after 300 s."""
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "services.cli", "up", "--config", str(self._config), "--json"],
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C reaches the driver, which ends the daemon in order
                env={**os.environ, "HF_HUB_OFFLINE": "1"},
            )
        until = time.monotonic() + START_SECONDS
        page = self._settings.data_dir / "up.json"
        while time.monotonic() < until:
            self.check()
            if page.exists():
                state = json.loads(page.read_text())
                if state.get("ready"):
                    self._open()
                    return
                waiting = [name for name, part in state.get("parts", {}).items() if part.get("state") != "ready"]
                show(f"waiting for {', '.join(waiting[:3])}" if waiting else "")
            time.sleep(0.3)
        raise CannotRun(f"not everything was ready within {START_SECONDS:.0f} s", where=str(self._log), remedy="Read that file.")

    def check(self) -> None:
        """Raises CannotRun when the daemon has ended."""
        if self._process is not None and self._process.poll() is not None:
            lines = self._log.read_text(errors="replace").strip().splitlines()
            raise CannotRun(
                f"the daemon ended: {lines[-1] if lines else 'without a message'}", where=str(self._log), remedy="Read that file."
            )

    def recorded(self) -> int:
        """Rows of the demo's workload."""
        return self._traffic.counts(self._workload).recorded

    def counts(self) -> dict[str, int]:
        """The recorder's cumulative counts."""
        return asdict(self._traffic.counts(self._workload))

    def settle(self, at_least: int) -> None:
        """Waits, at most a minute, until this many requests are recorded."""
        until = time.monotonic() + 60
        while self.recorded() < at_least and time.monotonic() < until:
            self.check()
            time.sleep(0.5)

    def firing_alert(self) -> Alert | None:
        """The open alert, if there is one."""
        firing = [alert for alert in self._alerts.alerts(workload=self._workload, open_only=True) if alert.state is AlertState.FIRING]
        return firing[0] if firing else None

    def decided(self) -> int:
        """Corrections with an outcome."""
        counts = self._corrections.state_counts(self._workload)
        return sum(count for state, count in counts.items() if state is not CorrectionState.SUBMITTED)

    def runs(self) -> Sequence[Run]:
        """Newest first."""
        return self._runs.runs(self._workload)

    def release_of(self, adapter: AdapterName) -> Release | None:
        """The release of this adapter."""
        return next((release for release in self._release.releases(self._workload) if release.adapter == adapter), None)

    def gate_answers(self) -> int:
        """How many answers gates have so far."""
        return self._gates.answered()

    def gate_of(self, adapter: AdapterName) -> GateRecord | None:
        """Its newest gate."""
        return next(iter(self._gates.gates(self._workload, adapter=adapter)), None)

    def rollback_measured(self, adapter: AdapterName) -> dict[str, object] | None:
        """What the release controller measured of it."""
        for entry in self.journal.entries(workload=self._workload, kind=JournalKind.ROLLBACK):
            if RollbackMeasurement.of(entry).adapter == adapter:
                return dict(entry.evidence)
        return None

    def _open(self) -> None:
        settings, engine = self._settings, open_ledger(self._settings.ledger_url)
        self.journal: Journal = LedgerJournal(engine)
        self._traffic = TrafficStore(open_traffic(settings.traffic_url), shapes=pane_shapes(settings))
        self._alerts = LedgerAlerts(engine, topic=settings.kafka.topics.alerts)
        self._corrections = LedgerCorrections(engine)
        self._runs, self._gates = LedgerRuns(engine), LedgerGates(engine)
        self._release = LedgerReleases(engine, topic=settings.kafka.topics.releases)
