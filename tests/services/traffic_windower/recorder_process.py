"""The recorder, or another process, as tests start, kill and stop it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import yaml

from flywheel.ids import WorkloadId
from services.settings import Settings, load
from tests.ports import free_metrics_port

SUPPORT = WorkloadId("support")
DEADLINE_SECONDS = 240.0  # a process starts in two seconds alone and in sixty on a machine that is full


def configured(tmp_path: Path, bootstrap: str) -> tuple[Path, Settings]:
    path = tmp_path / "flywheel.yaml"
    path.write_text(
        yaml.safe_dump(
            {
                "data_dir": str(tmp_path / "var"),
                "http": {"metrics_port": free_metrics_port()},
                "kafka": {"bootstrap": bootstrap, "session_timeout_seconds": 2.0},
                "workloads": {
                    "support": {"alias": "support", "slices": {"dimensions": ["tenant"]}, "watch": {"pane_seconds": 10}},
                },
            }
        )
    )
    return path, load(path)


class RecorderProcess:
    """Started, killed and stopped by its own pid."""

    def __init__(self, config: Path, log: Path, *, process: str = "services.traffic_windower") -> None:
        self._config, self._log, self._name = config, log, process
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            self.process = subprocess.Popen([sys.executable, "-m", self._name, "--config", str(self._config)], stdout=log, stderr=log)

    def kill(self) -> None:
        assert self.process is not None
        if not self.ended():
            os.kill(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def ended(self) -> bool:
        assert self.process is not None
        return self.process.poll() is not None

    def terminate(self) -> int:
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(20)


def until(condition: Callable[[], bool], *, what: Callable[[], object]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, what()
        time.sleep(0.05)
