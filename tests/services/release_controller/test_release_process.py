"""The release controller as a process: it starts, shows itself, and ends."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx

from services.process.process_names import PROCESSES
from tests.databases import empty_databases
from tests.fakes.vllm_server import FakeVllm
from tests.ports import free_port


def start(folder: Path, *, vllm_url: str, metrics_port: int) -> subprocess.Popen[str]:
    config = folder / "flywheel.yaml"
    first_port = metrics_port - PROCESSES.index("release_controller")
    config.write_text(
        f"data_dir: {folder / 'var'}\n"
        f"http: {{metrics_port: {first_port}, gateway_port: {free_port()}, api_port: {free_port()}}}\n"
        f"serving: {{url: '{vllm_url}'}}\n"
        "workloads: {router: {alias: router-1}}\n"
    )
    empty_databases(folder / "var")
    command = [sys.executable, "-m", "services.release_controller", "--config", str(config)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ}, cwd=Path(__file__).parents[3])


def test_it_becomes_ready_with_a_route_and_ends_on_sigterm(tmp_path: Path) -> None:
    port = free_port()
    with FakeVllm() as vllm:
        process = start(tmp_path, vllm_url=vllm.url, metrics_port=port)
        try:
            url = f"http://127.0.0.1:{port}"
            deadline = time.monotonic() + 300  # a busy machine imports slowly
            while True:
                assert time.monotonic() < deadline
                assert process.poll() is None, process.stderr.read() if process.stderr else ""
                try:
                    if httpx.get(f"{url}/readyz", trust_env=False).status_code == 200:
                        break
                except httpx.HTTPError:
                    pass
                time.sleep(0.1)
            assert httpx.get(f"{url}/healthz", trust_env=False).json()["process"] == "release_controller"
            assert "flywheel_steps_total" in httpx.get(f"{url}/metrics", trust_env=False).text
            process.send_signal(signal.SIGTERM)
            assert process.wait(5) == 0
        finally:
            process.kill()
            process.wait()


def test_bad_settings_are_one_sentence_and_an_exit_code(tmp_path: Path) -> None:
    config = tmp_path / "flywheel.yaml"
    config.write_text("workloads: {router: {alias: router-1, mood: happy}}\n")
    command = [sys.executable, "-m", "services.release_controller", "--config", str(config)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[3], check=False)
    assert done.returncode == 2
    assert "workloads.router.mood: unknown key" in done.stderr
    assert "Traceback" not in done.stderr
