"""The four processes that record, before a stub of the model server, on a broker that a test starts and ends."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import yaml

from flywheel.ids import BASE, WorkloadId
from flywheel.rollout.release import Route
from services.cli.up.wiring import health_answer
from services.process.process_names import metrics_port
from services.settings import Settings, load
from services.stores.route_files import RouteFiles
from tests.fakes.vllm_server import FakeVllm
from tests.opened import traffic_store
from tests.ports import free_metrics_port, free_port
from tests.told_flows import told, until

ROOT = Path(__file__).resolve().parents[1]
ROUTER = WorkloadId("router")
PROCESSES = ("gateway", "api", "traffic_windower", "correction_desk")
HEAD = {"Authorization": "Bearer secret"}


class Daemon:
    """The four processes that use the broker, before a stub of the model server."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        self.settings, self._folder = settings, folder
        self.answered: list[str] = []
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def chat(self) -> None:
        body = {"model": "router-alias", "messages": [{"role": "user", "content": f"hello {len(self.answered)}"}]}
        answer = httpx.post(
            f"http://127.0.0.1:{self.settings.http.gateway_port}/v1/chat/completions", json=body, headers=HEAD, timeout=30, trust_env=False
        )
        assert answer.status_code == 200, answer.text
        self.answered.append(answer.headers["X-Flywheel-Request"])

    def correct(self, name: str) -> None:
        body: dict[str, Any] = {
            "correction_id": name,
            "workload_id": "router",
            "source": "desk",
            "kind": "edit",
            "messages": [{"role": "user", "content": f"Where is parcel {name}?"}],
            "corrected": f"At the depot {name}.",
            "author": {"name": "Mia"},
            "created_at": "2026-05-01T07:00:00Z",
        }
        url = f"http://127.0.0.1:{self.settings.http.api_port}/v1/corrections"
        answer = httpx.post(url, json=body, headers=HEAD, timeout=30, trust_env=False)
        assert answer.status_code == 202, answer.text

    def recorded(self) -> int:
        return traffic_store(self.settings).counts(ROUTER).recorded

    def stands(self, process: str, flow: str) -> None:
        places: dict[str, bool] = {}

        def told_everywhere() -> bool:
            places.update(told(self.settings, process, flow))
            return all(places.values())

        until(told_everywhere, what=lambda: (flow, places, self.logs()))

    def moves(self, process: str, flow: str) -> None:
        until(lambda: not any(told(self.settings, process, flow).values()), what=lambda: (flow, self.logs()))

    def logs(self) -> str:
        return "\n".join(f"{name}: {(self._folder / f'{name}.log').read_text()[-1500:]}" for name in PROCESSES)


@contextmanager
def running_daemon(
    tmp_path: Path,
    kafka: Mapping[str, object],
    *,
    begin: Callable[[Settings], None],
    kill: Callable[[], None],
    data_dir: Path | None = None,
    capture: Mapping[str, str] | None = None,
) -> Iterator[Daemon]:
    """``begin`` is called when the databases are there. At the end all processes are killed."""
    (tmp_path / "token").write_text("secret\n")
    config = tmp_path / "flywheel.yaml"
    with FakeVllm(answers=lambda model, messages: "yes") as vllm, ExitStack() as stack:
        content = {
            "data_dir": str(data_dir or tmp_path / "var"),
            "http": {"gateway_port": free_port(), "api_port": free_port(), "metrics_port": free_metrics_port()},
            "kafka": {**kafka, "session_timeout_seconds": 2.0},
            "serving": {"url": vllm.url},
            "tokens": [{"name": "desk", "scopes": ["infer", "submit"], "token_file": str(tmp_path / "token")}],
            "workloads": {
                "router": {"alias": "router-alias", "corrections": {"trusted_sources": ["desk"]}, "capture": dict(capture or {})}
            },
        }
        config.write_text(yaml.safe_dump(content))
        settings = load(config)
        traffic_store(settings)  # makes the databases
        RouteFiles(settings.data_dir / "routes").save(Route(workload=ROUTER, alias="router-alias", version=1, champion=BASE))
        stack.callback(kill)
        begin(settings)
        found = Daemon(tmp_path, settings)
        for name in PROCESSES:
            found.processes[name] = stack.enter_context(started(name, config, tmp_path / f"{name}.log"))
        for name in PROCESSES:
            address = f"http://127.0.0.1:{metrics_port(settings, name)}"
            until(lambda address=address: health_answer(address) is None, what=found.logs)  # type: ignore[misc]
        yield found


@contextmanager
def started(name: str, config: Path, log: Path) -> Iterator["subprocess.Popen[bytes]"]:
    command = [sys.executable, str(ROOT / "tests" / "hurried.py"), name, "--config", str(config)]
    with log.open("wb") as out:
        process = subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=out, env={**os.environ, "PYTHONPATH": str(ROOT)})
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@contextmanager
def users(daemon: Daemon) -> Iterator[list[Exception]]:
    """They ask one after the other until the block ends. Yields what failed."""
    over = threading.Event()
    failures: list[Exception] = []

    def ask() -> None:
        while not over.wait(0.05):
            try:
                daemon.chat()
            except (httpx.HTTPError, AssertionError) as error:
                failures.append(error)

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    try:
        yield failures
    finally:
        over.set()
        asking.join()
