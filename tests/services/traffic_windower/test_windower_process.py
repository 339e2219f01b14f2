"""The process as somebody starts it: clear words and exit codes instead of a stack trace."""

import subprocess
import sys
from pathlib import Path

import yaml

from tests.databases import empty_databases
from tests.ports import free_metrics_port, free_port


def run(tmp_path: Path, settings: dict[str, object]) -> "subprocess.CompletedProcess[str]":
    path = tmp_path / "flywheel.yaml"
    path.write_text(yaml.safe_dump({"data_dir": str(tmp_path / "var"), "http": {"metrics_port": free_metrics_port()}} | settings))
    empty_databases(tmp_path / "var")
    command = [sys.executable, "-m", "services.traffic_windower", "--config", str(path)]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)


def test_a_broker_that_does_not_answer_is_one_sentence_and_an_exit_code(tmp_path: Path) -> None:
    done = run(tmp_path, {"kafka": {"bootstrap": f"127.0.0.1:{free_port()}"}, "workloads": {"support": {"alias": "support"}}})
    assert done.returncode == 1
    assert "the broker does not answer" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_wrong_setting_is_named_and_refused(tmp_path: Path) -> None:
    done = run(tmp_path, {"kafka": {"bootsrap": "x"}})
    assert done.returncode == 2
    assert "kafka.bootsrap: unknown key" in done.stderr
    assert "Traceback" not in done.stderr
