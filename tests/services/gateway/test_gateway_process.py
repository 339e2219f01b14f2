"""The real process, with nothing else running but vLLM: users are served by the last good route."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import yaml

from flywheel.ids import BASE, AdapterName, WorkloadId
from flywheel.rollout.release import Route
from services.stores.capture_spool import CaptureSpool
from services.stores.route_files import RouteFiles
from tests.fakes.vllm_server import FakeVllm
from tests.ports import free_metrics_port, free_port

ROOT = Path(__file__).resolve().parents[3]
ROUTE = Route(workload=WorkloadId("router"), alias="router-alias", version=4, champion=BASE)


def configuration(tmp_path: Path, serving_url: str, *, gateway: Any = None, requests: Any = None) -> Path:
    (tmp_path / "token").write_text("secret\n")
    file = tmp_path / "flywheel.yaml"
    settings = {
        "data_dir": str(tmp_path / "var"),
        "http": {"gateway_port": free_port(), "api_port": free_port(), "metrics_port": free_metrics_port()},
        "kafka": {"bootstrap": f"127.0.0.1:{free_port()}"},
        "serving": {"url": serving_url},
        "tokens": [{"name": "app", "scopes": ["infer"], "token_file": str(tmp_path / "token")}],
        "gateway": gateway or {},
        "workloads": {"router": {"alias": "router-alias", "requests": requests or {}}},
    }
    file.write_text(yaml.safe_dump(settings))
    return file


@contextmanager
def started(config: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "services.gateway", "--config", str(config)],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        env=dict(os.environ),
    )
    port = yaml.safe_load(config.read_text())["http"]["gateway_port"]
    try:
        yield process, f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def reached(url: str, *, seconds: float = 150) -> httpx.Response:
    deadline = time.monotonic() + seconds
    while True:
        try:
            return httpx.get(url, trust_env=False)
        except httpx.TransportError:
            assert time.monotonic() < deadline, "the gateway did not come up"
            threading.Event().wait(0.05)


def test_with_everything_else_down_users_are_served_and_nothing_is_lost(tmp_path: Path) -> None:
    RouteFiles(tmp_path / "var" / "routes").save(ROUTE)
    with FakeVllm(answers=lambda model, messages: "yes") as vllm, started(configuration(tmp_path, vllm.url)) as (process, url):
        assert reached(f"{url}/readyz").json()["ready"] is True
        head = {"Authorization": "Bearer secret"}
        body = {"model": "router-alias", "messages": [{"role": "user", "content": "call me at +1 415 555 0134"}]}
        answers = [httpx.post(f"{url}/v1/chat/completions", json=body, headers=head, timeout=30, trust_env=False) for _ in range(5)]
        assert [answer.status_code for answer in answers] == 5 * [200]
        metrics_port = yaml.safe_load((tmp_path / "flywheel.yaml").read_text())["http"]["metrics_port"]
        assert "flywheel_gateway_attempts_total" in reached(f"http://127.0.0.1:{metrics_port}/metrics").text
        deadline = time.monotonic() + 90  # Presidio is imported at the first text, on a machine that may be busy
        while "flywheel_gateway_captured_total 5" not in reached(f"{url}/metrics").text:
            assert time.monotonic() < deadline
            threading.Event().wait(0.1)
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0
        print(f"ended after {time.monotonic() - began:.2f} s")
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()
    kept = CaptureSpool(tmp_path / "var" / "spool" / "gateway.db").due()
    assert {event.id for event in kept} == {f"{answer.headers['X-Flywheel-Request']}-1" for answer in answers}
    assert all(b"415 555" not in event.body and b"<PHONE_NUMBER:" in event.body for event in kept)


def test_the_settings_of_a_workload_reach_its_requests(tmp_path: Path) -> None:
    """``flywheel.yaml`` to the body that the model gets, and to the answers of the process."""
    RouteFiles(tmp_path / "var" / "routes").save(replace(ROUTE, champion=AdapterName("router-1")))
    requests = {
        "system_prompt": "Be brief.",
        "session_from": ["metadata.session_id"],
        "without_champion": "base",
        "defaults": {"temperature": 0.2, "stop": ["END"]},
        "caps": {"max_tokens": 50},
    }
    gateway = {"cors_origins": ["https://app.example.org"], "passed_on": ["completions"]}
    with FakeVllm(answers=lambda model, messages: "yes", embeds=True) as vllm:
        config = configuration(tmp_path, vllm.url, gateway=gateway, requests=requests)
        with started(config) as (_, url):
            reached(f"{url}/readyz")
            head = {"Authorization": "Bearer secret", "Origin": "https://app.example.org"}
            body = {"model": "router-alias", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 900, "user": "u1"}
            answer = httpx.post(f"{url}/v1/chat/completions", json=body, headers=head, timeout=30, trust_env=False)
            other = httpx.post(f"{url}/v1/embeddings", json={**body, "input": "x"}, headers=head, timeout=30, trust_env=False)
            metrics = httpx.get(f"{url}/metrics", trust_env=False).text
    assert (answer.status_code, answer.headers["X-Flywheel-Adapter"], answer.json()["model"]) == (200, "base", "router-alias")
    assert answer.headers["Access-Control-Allow-Origin"] == "https://app.example.org"
    assert other.status_code == 404
    assert 'flywheel_gateway_chat_requests_total{kind="without_session",workload="router"} 1.0' in metrics
    missing, served = vllm.paths, vllm.requests[-1]
    assert missing == ["/v1/chat/completions", "/v1/chat/completions"]
    assert served == {
        "model": "base",
        "messages": [{"role": "system", "content": "Be brief."}, *body["messages"]],
        "max_tokens": 50,
        "user": "u1",
        "temperature": 0.2,
        "stop": ["END"],
    }


def test_a_taken_port_is_one_sentence_and_no_stack_trace(tmp_path: Path) -> None:
    config = configuration(tmp_path, "http://127.0.0.1:9")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", yaml.safe_load(config.read_text())["http"]["gateway_port"]))
        taken.listen()
        with started(config) as (process, _):
            assert process.wait(timeout=150) == 1
            assert process.stderr is not None
            told = process.stderr.read()
    assert "the port is taken" in told
    assert "Traceback" not in told


def test_an_unreadable_route_file_is_passed_over(tmp_path: Path) -> None:
    files = RouteFiles(tmp_path)
    files.save(ROUTE)
    files.save(replace(ROUTE, workload=WorkloadId("other")))
    (tmp_path / "other.json").write_text('{"workload": "other", "versi')
    routes, unreadable = files.load()
    assert (routes, len(unreadable)) == ([ROUTE], 1)
