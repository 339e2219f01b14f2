"""A gateway that dies is replaced at once: nothing heavy is imported before its port is open, and a spare waits to take its place."""

import os
import signal
import subprocess
import sys
import threading
import time
from itertools import pairwise
from pathlib import Path

import httpx
import pytest
from gateway_parts import until
from test_gateway_process import ROOT, ROUTE, configuration, reached

from services.cli.up.supervisor import PartState, Supervisor
from services.cli.up.wiring import parts
from services.process.child_process import ProcessGroup
from services.process.machine import read_machine
from services.settings import load
from services.stores.route_files import RouteFiles
from tests.fakes.vllm_server import FakeVllm

HEAVY = (
    *("aiokafka", "alembic", "evidently", "fastapi", "faust", "httpx", "jsonschema", "kafka", "pandas", "phonenumbers"),
    *("presidio_analyzer", "pydantic_settings", "scipy", "sqlalchemy", "torch", "transformers", "typer"),
)
"""Together they take seconds. What the gateway needs of them is imported once users are served."""
UNTIL_THE_PORT = f"""
import asyncio, sys, threading
from pathlib import Path
from services.gateway import __main__ as gateway
from services.settings import load

async def open_port(runner, host, port, **more):
    print(*(name for name in {HEAVY!r} if name in sys.modules))
    raise SystemExit

gateway.open_port = open_port
asyncio.run(gateway.serve(load(Path(sys.argv[1])), threading.Event()))
"""


def test_nothing_heavy_is_imported_before_the_port_is_open(tmp_path: Path) -> None:
    config = configuration(tmp_path, "http://127.0.0.1:9")
    done = subprocess.run([sys.executable, "-c", UNTIL_THE_PORT, str(config)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.split()) == (0, []), done.stderr


def test_a_spare_ends_with_whoever_started_it(tmp_path: Path) -> None:
    config = configuration(tmp_path, "http://127.0.0.1:9")
    command = [sys.executable, "-m", "services.gateway", "--config", str(config), "--wait"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as spare:
        _, said = spare.communicate()
    assert (spare.returncode, said) == (0, "")
    assert not list((tmp_path / "var").rglob("*.sealed"))


class Users:
    """Thirty requests a second, each by its own connection; ``answered`` has the moments of the answers."""

    def __init__(self, url: str) -> None:
        self._url, self._over = f"{url}/v1/chat/completions", threading.Event()
        self.answered: list[float] = []
        self.threads = [threading.Thread(target=self._ask_all, daemon=True)]
        self.threads[0].start()

    def _ask_all(self) -> None:
        while not self._over.wait(1 / 30):
            one = threading.Thread(target=self._ask, daemon=True)
            one.start()
            self.threads.append(one)

    def _ask(self) -> None:
        body = {"model": "router-alias", "messages": [{"role": "user", "content": "hi"}]}
        try:
            answer = httpx.post(self._url, json=body, headers={"Authorization": "Bearer secret"}, timeout=30, trust_env=False)
        except httpx.TransportError:
            return
        assert answer.status_code == 200, answer.text
        self.answered.append(time.monotonic())

    def stop(self) -> None:
        self._over.set()
        for thread in self.threads:
            thread.join()

    def longest_gap(self) -> float:
        moments = sorted(self.answered)
        return max(later - earlier for earlier, later in pairwise(moments))


@pytest.mark.parametrize("spare_dies", [False, True])
def test_the_spare_takes_the_place_of_a_gateway_that_was_killed(tmp_path: Path, spare_dies: bool) -> None:
    RouteFiles(tmp_path / "var" / "routes").save(ROUTE)
    group, stop = ProcessGroup(mark=tmp_path.name), threading.Event()
    with FakeVllm(answers=lambda model, messages: "yes") as vllm:
        config = configuration(tmp_path, vllm.url)
        settings = load(config)
        wanted = [
            one for one in parts(settings, config=config, machine=read_machine(), group=group, worked_before=False) if one.name == "gateway"
        ]
        supervisor = Supervisor(wanted, report=lambda _: None, stop=stop)
        (gateway,) = supervisor.watched
        running = threading.Thread(target=supervisor.run, kwargs={"all_ready": lambda _: None})
        running.start()
        try:
            until(lambda: gateway.state is PartState.READY)
            url = f"http://127.0.0.1:{settings.http.gateway_port}"
            reached(f"{url}/readyz")
            until(lambda: len(group.sessions) == 2)
            first, spare = sorted(group.sessions, key=lambda pid: pid != gateway.running.pid)  # type: ignore[union-attr]
            if spare_dies:
                os.kill(spare, signal.SIGKILL)
            users = Users(url)
            until(lambda: len(users.answered) >= 10)
            os.kill(first, signal.SIGKILL)
            killed = time.monotonic()
            until(lambda: users.answered[-1] > killed + 0.2 and gateway.state is PartState.READY)
            users.stop()
            print(f"longest time without answer {users.longest_gap():.2f} s, {len(users.answered)} of {len(users.threads) - 1} answered")
            assert gateway.running is not None
            assert (gateway.running.pid == spare) is not spare_dies
            assert len(gateway.deaths) == 1
        finally:
            stop.set()
            running.join()
            left = group.release()
        assert left == []
