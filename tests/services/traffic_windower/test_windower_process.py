"""The process as somebody starts it: clear words and exit codes instead of a stack trace."""

import subprocess
import sys
from pathlib import Path

import httpx
import pytest
import yaml
from recorder_process import RecorderProcess, configured, until

from services.process.process_names import metrics_port
from tests.brokers import running_broker
from tests.databases import empty_databases
from tests.opened import create_topics
from tests.ports import free_metrics_port, free_port


def run(tmp_path: Path, settings: dict[str, object]) -> "subprocess.CompletedProcess[str]":
    path = tmp_path / "flywheel.yaml"
    path.write_text(yaml.safe_dump({"data_dir": str(tmp_path / "var"), "http": {"metrics_port": free_metrics_port()}} | settings))
    empty_databases(tmp_path / "var")
    command = [sys.executable, "-m", "services.traffic_windower", "--config", str(path)]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)


def test_a_wrong_setting_is_named_and_refused(tmp_path: Path) -> None:
    done = run(tmp_path, {"kafka": {"bootsrap": "x"}})
    assert done.returncode == 2
    assert "kafka.bootsrap: unknown key" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.broker
@pytest.mark.parametrize("name", ["traffic_windower", "correction_desk"])
def test_a_broker_that_comes_later_is_waited_for_and_said(tmp_path: Path, name: str) -> None:
    port = free_port()
    config, settings = configured(tmp_path, f"127.0.0.1:{port}")
    empty_databases(settings.data_dir)
    process = RecorderProcess(config, tmp_path / "process.log", process=f"services.{name}")
    process.start()

    def readiness() -> tuple[int, str]:
        assert not process.ended(), (tmp_path / "process.log").read_text()
        try:
            found = httpx.get(f"http://127.0.0.1:{metrics_port(settings, name)}/readyz", trust_env=False)
        except httpx.TransportError:
            return 0, ""
        return found.status_code, found.text

    try:
        until(lambda: "waiting for the broker" in readiness()[1], what=readiness)
        with running_broker(tmp_path, port=port):
            create_topics(settings)
            until(lambda: readiness()[0] == 200, what=readiness)
    finally:
        process.kill()
