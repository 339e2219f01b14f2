"""What ``flywheel up`` refuses, and how: one clear sentence, an exit code, nothing left behind."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from services.cli.up.command import _Page
from services.cli.up.supervisor import PartState, Watched
from services.cli.up.wiring import StartTier, SupervisedPart
from services.process.process_group import MARK
from tests.ports import free_ports

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def content(tmp_path: Path) -> dict[str, Any]:
    first = free_ports(16)
    return {
        "data_dir": str(tmp_path / "var"),
        "http": {"gateway_port": first, "api_port": first + 1, "metrics_port": first + 2},
        "kafka": {"embedded_port": first + 13},
        "serving": {"port": first + 14},
    }


def flywheel(command: str, content: dict[str, Any], tmp_path: Path, *more: str) -> "subprocess.CompletedProcess[str]":
    config = tmp_path / "flywheel.yaml"
    config.write_text(yaml.safe_dump(content))
    arguments = [sys.executable, "-m", "services.cli", command, "--config", str(config), *more]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FLYWHEEL")}
    return subprocess.run(arguments, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture
def occupied(content: dict[str, Any]) -> Iterator[int]:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", content["http"]["api_port"]))
        holder.listen()
        yield content["http"]["api_port"]


def no_trace(ended: "subprocess.CompletedProcess[str]") -> str:
    said = ended.stdout + ended.stderr
    assert "Traceback" not in said
    return said


def test_an_occupied_port_is_named_with_its_setting(content: dict[str, Any], tmp_path: Path, occupied: int) -> None:
    ended = flywheel("up", content, tmp_path)
    assert ended.returncode == 1
    said = no_trace(ended)
    assert "http.api_port: the port for the api is taken" in said
    assert str(occupied) in said


def test_a_missing_model_is_named_before_anything_starts(content: dict[str, Any], tmp_path: Path) -> None:
    content["serving"] |= {"python": sys.executable, "model": str(tmp_path / "nowhere")}
    ended = flywheel("up", content, tmp_path)
    assert ended.returncode == 1
    assert "serving.model: there is no model in this folder" in no_trace(ended)
    assert not (tmp_path / "var" / "logs").exists()


def test_a_missing_interpreter_is_named(content: dict[str, Any], tmp_path: Path) -> None:
    content["serving"] |= {"python": str(tmp_path / "python"), "model": str(tmp_path)}
    ended = flywheel("up", content, tmp_path)
    assert ended.returncode == 1
    assert "serving.python: there is no such Python interpreter" in no_trace(ended)


def test_a_data_dir_that_cannot_be_written_is_named(content: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    content["data_dir"] = str(tmp_path / "file" / "var")
    ended = flywheel("up", content, tmp_path)
    assert ended.returncode == 1
    assert "data_dir: cannot be written" in no_trace(ended)


def test_a_second_one_on_the_same_data_is_refused(content: dict[str, Any], tmp_path: Path) -> None:
    import fcntl

    data = tmp_path / "var"
    data.mkdir()
    with (data / "up.pid").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write(str(os.getpid()))
        lock.flush()
        ended = flywheel("up", content, tmp_path)
    assert ended.returncode == 3
    assert "another `flywheel up` runs on this data" in no_trace(ended)


@pytest.mark.broker
def test_a_vllm_that_does_not_come_up_ends_everything_with_its_own_last_error(content: dict[str, Any], tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    (model / "model.safetensors").write_text("")
    content["serving"] |= {"python": sys.executable, "model": str(model)}  # our own interpreter holds no vLLM
    ended = flywheel("up", content, tmp_path, "--json")
    said = no_trace(ended)
    assert ended.returncode == 1
    error = json.loads(ended.stderr.splitlines()[-1])["error"]
    assert error["where"] == "vllm"
    assert error["reason"].startswith("it ended before it was ready")
    assert "No module named 'vllm'" in said
    data = str(tmp_path).encode()
    left = [entry for entry in Path("/proc").glob("[0-9]*") if _environment(entry).find(MARK.encode()) >= 0 and data in _command(entry)]
    assert left == []
    assert not (tmp_path / "var" / "up.json").exists()


def test_the_doctor_names_every_wrong_part_at_once(content: dict[str, Any], tmp_path: Path, occupied: int) -> None:
    content["serving"] |= {"python": sys.executable, "model": str(tmp_path / "nowhere")}
    ended = flywheel("doctor", content, tmp_path)
    said = no_trace(ended)
    assert ended.returncode == 1
    assert "serving.model: there is no model in this folder" in said
    assert f"127.0.0.1:{occupied} for the api is taken" in said
    assert "not Apache Kafka" in said
    assert f"`flywheel doctor --config {tmp_path / 'flywheel.yaml'}` again" in said


def test_the_doctor_shows_what_is_wrong_with_the_settings(content: dict[str, Any], tmp_path: Path) -> None:
    content["htpt"] = {}
    ended = flywheel("doctor", content, tmp_path, "--json")
    assert ended.returncode == 1
    assert "unknown key" in no_trace(ended)


def _environment(entry: Path) -> bytes:
    try:
        return (entry / "environ").read_bytes()
    except OSError:
        return b""


def _command(entry: Path) -> bytes:
    try:
        return (entry / "cmdline").read_bytes()
    except OSError:
        return b""


def test_up_json_lists_what_a_host_holds_with_each_ones_own_address(tmp_path: Path) -> None:
    addresses = {"trainer": "http://127.0.0.1:1", "gatekeeper": "http://127.0.0.1:2"}
    host = SupervisedPart(
        name="host",
        tier=StartTier.WORK,
        start=lambda: pytest.fail("nothing is started"),
        why_not_ready=lambda: None,
        log=tmp_path / "host.log",
        start_seconds=1.0,
        restarts_before_ready=1,
        address="here",
        hosted=addresses,
    )
    _Page(tmp_path / "up.json").write((Watched(part=host, state=PartState.READY),))
    parts = json.loads((tmp_path / "up.json").read_text())["parts"]
    assert {name: part["address"] for name, part in parts.items()} == {"host": "here", **addresses}
    assert {part["state"] for part in parts.values()} == {"ready"}
