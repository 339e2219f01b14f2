"""The processes that mostly wait, alone and in one host: they become ready, show their health, and end as they promise."""

import json
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import yaml

from services.process.process_names import HOSTED, PROCESSES
from tests.databases import empty_databases
from tests.ports import free_metrics_port

DEADLINE_SECONDS = 90
WITHOUT_A_SERVER = [name for name in HOSTED if name != "release_controller"]  # that one is ready when there is a route


class Process:
    """One started process, and its health servers."""

    def __init__(self, module: tuple[str, ...], folder: Path, **settings: object) -> None:
        self._first = free_metrics_port()
        self.config = folder / "flywheel.yaml"
        content = {
            "data_dir": str(folder / "var"),
            "http": {"metrics_port": self._first},
            "workloads": {"router": {"alias": "router"}},
            **settings,
        }
        self.config.write_text(yaml.safe_dump(content))
        empty_databases(folder / "var")
        self.popen = subprocess.Popen(
            [sys.executable, "-m", *module, "--config", str(self.config)],
            stderr=subprocess.PIPE,
            text=True,
            cwd=Path.cwd(),
            start_new_session=True,
        )

    def page(self, process: str, path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self._first + PROCESSES.index(process)}{path}", timeout=2) as answer:
            return str(answer.read().decode())

    def await_ready(self, process: str) -> None:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while True:
            assert self.popen.poll() is None, self.popen.stderr.read() if self.popen.stderr else ""
            assert time.monotonic() < deadline, "not ready in time"
            try:
                assert json.loads(self.page(process, "/readyz"))["ready"]
                return
            except (urllib.error.URLError, OSError):
                time.sleep(0.1)

    def end(self) -> str:
        self.popen.send_signal(signal.SIGTERM)
        _, said = self.popen.communicate(timeout=30)
        return said


@contextmanager
def running(module: tuple[str, ...], folder: Path, **settings: object) -> Iterator[Process]:
    process = Process(module, folder, **settings)
    try:
        yield process
    finally:
        process.popen.kill()
        process.popen.wait()


@pytest.mark.parametrize("process", WITHOUT_A_SERVER)
def test_a_process_becomes_ready_and_ends_quietly(process: str, tmp_path: Path) -> None:
    with running((f"services.{process}",), tmp_path) as alone:
        alone.await_ready(process)
        said = alone.end()
        assert alone.popen.returncode == 0, said
        assert "Traceback" not in said


@pytest.fixture
def model_url() -> Iterator[str]:
    """A server that is healthy and holds no adapter."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = b'{"data": []}'
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def test_one_host_runs_all_that_wait_each_with_its_own_health_port(tmp_path: Path, model_url: str) -> None:
    with running(("services.cli.up.host", *HOSTED), tmp_path, serving={"url": model_url}) as host:
        for process in HOSTED:
            host.await_ready(process)
            assert json.loads(host.page(process, "/healthz")) == {"process": process, "alive": True}
        steps = {line for line in host.page("trainer", "/metrics").splitlines() if line.startswith("flywheel_steps_total")}
        assert steps
        assert all('process="trainer"' in line for line in steps)  # six pages with the same figures would be summed up by who reads them
        said = host.end()
        assert host.popen.returncode == 0, said
        assert "Traceback" not in said


def test_a_host_whose_process_fails_ends_with_its_name(tmp_path: Path) -> None:
    """The ledger's table is gone: an error that nobody foresaw."""
    import sqlite3

    with running(("services.cli.up.host", "alert_desk", "trainer"), tmp_path) as host:
        host.await_ready("trainer")
        with sqlite3.connect(tmp_path / "var" / "ledger.db") as connection:
            connection.execute("ALTER TABLE work RENAME TO gone")
        connection.close()
        _, said = host.popen.communicate(timeout=DEADLINE_SECONDS)
        assert host.popen.returncode == 1
        assert said.strip().splitlines()[-1].startswith("trainer ended all of this host: OperationalError")


def test_a_host_refuses_bad_settings_with_the_processs_own_exit_code(tmp_path: Path) -> None:
    with running(("services.cli.up.host", "alert_desk"), tmp_path, workload={}) as host:
        _, said = host.popen.communicate(timeout=DEADLINE_SECONDS)
        assert host.popen.returncode == 2
        assert "unknown key" in said
        assert "Traceback" not in said


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
