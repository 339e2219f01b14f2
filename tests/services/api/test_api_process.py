import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from services.stores.tokens import sha256_of
from tests.databases import empty_databases
from tests.ports import free_metrics_port, free_port

ROOT = Path(__file__).resolve().parents[3]
DEADLINE_SECONDS = 240.0


def config(folder: Path, port: int) -> Path:
    path = folder / "flywheel.yaml"
    path.write_text(
        f"data_dir: {folder / 'var'}\n"
        f"http: {{api_port: {port}, metrics_port: {free_metrics_port()}, gateway_port: {free_port()}}}\n"
        f"kafka: {{bootstrap: '127.0.0.1:{free_port()}'}}\n"
        f"tokens: [{{name: ada, scopes: [operate], sha256: {sha256_of('ada')}}}]\n"
        "workloads: {tool-router: {alias: tool-router}}\n"
    )
    return path


@contextmanager
def started(path: Path) -> Iterator["subprocess.Popen[str]"]:
    empty_databases(path.parent / "var")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "services.api", "--config", str(path)]
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def ended(process: "subprocess.Popen[str]") -> tuple[int, str]:
    """Exit code and standard error; the deadline only keeps a hanging test from hanging for ever."""
    _, errors = process.communicate(timeout=DEADLINE_SECONDS)
    return process.returncode, errors


def test_it_serves_without_a_broker_and_ends_on_sigterm(tmp_path: Path) -> None:
    port = free_port()
    with started(config(tmp_path, port)) as process:
        status = 0
        deadline = time.monotonic() + DEADLINE_SECONDS
        while time.monotonic() < deadline and process.poll() is None and status != 200:
            try:
                status = httpx.get(f"http://127.0.0.1:{port}/readyz", trust_env=False).status_code
            except httpx.HTTPError:
                time.sleep(0.1)
        assert status == 200
        process.send_signal(signal.SIGTERM)
        code, errors = ended(process)
    assert code == 0
    assert "Traceback" not in errors


def test_a_taken_port_is_one_sentence_and_an_exit_code(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with started(config(tmp_path, taken.getsockname()[1])) as process:
            code, errors = ended(process)
    assert code == 1
    assert "http.api_port: the port cannot be taken" in errors
    assert "Traceback" not in errors


def test_a_wrong_configuration_is_one_sentence_and_an_exit_code(tmp_path: Path) -> None:
    path = tmp_path / "flywheel.yaml"
    path.write_text("colour: red\n")
    with started(path) as process:
        code, errors = ended(process)
    assert code == 2
    assert "colour: unknown key" in errors
    assert "Traceback" not in errors
