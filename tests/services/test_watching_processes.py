"""Drift monitor and alert desk as processes: they become ready, and end on SIGTERM with code 0."""

import json
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import yaml

from services.process.names import PROCESSES
from tests.databases import empty_databases

DEADLINE_SECONDS = 90


def free_row() -> int:
    """A first port such that those of our two processes are free."""
    for _ in range(50):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            first = int(probe.getsockname()[1])
        if first + len(PROCESSES) < 65_535:
            return first
    raise AssertionError("no port")


@pytest.mark.parametrize("process", ["drift_monitor", "alert_desk"])
def test_a_process_becomes_ready_and_ends_quietly(process: str, tmp_path: Path) -> None:
    first = free_row()
    config = tmp_path / "flywheel.yaml"
    config.write_text(
        yaml.safe_dump({"data_dir": str(tmp_path / "var"), "http": {"metrics_port": first}, "workloads": {"router": {"alias": "router"}}})
    )
    empty_databases(tmp_path / "var")
    running = subprocess.Popen(
        [sys.executable, "-m", f"services.{process}", "--config", str(config)], stderr=subprocess.PIPE, text=True, cwd=Path.cwd()
    )
    try:
        url = f"http://127.0.0.1:{first + PROCESSES.index(process)}/readyz"
        deadline = time.monotonic() + DEADLINE_SECONDS
        while True:
            assert running.poll() is None, running.stderr.read() if running.stderr else ""
            assert time.monotonic() < deadline, "not ready in time"
            try:
                with urllib.request.urlopen(url, timeout=2) as answer:
                    assert json.load(answer)["ready"]
                break
            except (urllib.error.URLError, OSError):
                time.sleep(0.1)
        running.send_signal(signal.SIGTERM)
        _, said = running.communicate(timeout=30)
        assert running.returncode == 0, said
        assert "Traceback" not in said
    finally:
        running.kill()
        running.wait()


@pytest.mark.parametrize("process", ["drift_monitor", "alert_desk"])
def test_a_bad_configuration_is_one_sentence_and_an_exit_code(process: str, tmp_path: Path) -> None:
    config = tmp_path / "flywheel.yaml"
    config.write_text("workload: {}\n")
    ended = subprocess.run(
        [sys.executable, "-m", f"services.{process}", "--config", str(config)], capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == 2
    assert "unknown key" in ended.stderr
    assert "Traceback" not in ended.stderr
