"""Programs that a test starts and asks: OpenAI's clients line by line, LiteLLM's proxy over HTTP. Each ends with its context."""

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.clients.installed import HERE
from tests.ports import free_port

START_SECONDS = 300.0  # of a proxy whose import alone takes ten on a quiet machine


class Client:
    """One running client. ``url`` and ``key`` of the server that it calls may be changed at any time."""

    def __init__(self, process: "subprocess.Popen[str]", *, url: str, key: str = "app") -> None:
        self._process, self.url, self.key = process, url, key

    def tells(self, deed: str, **arguments: Any) -> dict[str, Any]:
        """``{"done": ...}`` or ``{"raised": ...}``."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"do": deed, "url": f"{self.url}/v1", "key": self.key, **arguments}) + "\n")
        self._process.stdin.flush()
        told: dict[str, Any] = json.loads(self._process.stdout.readline())
        return told

    def does(self, deed: str, **arguments: Any) -> Any:
        """What a deed returns. Fails with what it raised."""
        told = self.tells(deed, **arguments)
        assert "done" in told, told
        return told["done"]

    def raises(self, deed: str, **arguments: Any) -> dict[str, Any]:
        """What a deed raises."""
        told = self.tells(deed, **arguments)
        assert "raised" in told, told
        raised: dict[str, Any] = told["raised"]
        return raised


@contextmanager
def running_client(command: Sequence[str], *, url: str) -> Iterator[Client]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_", "PYTHON"))}
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        yield Client(process, url=url)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        process.wait()


def python_command(python: Path) -> list[str]:
    return [str(python), str(HERE / "openai_client.py")]


def node_command(folder: Path) -> list[str]:
    return ["node", str(folder / "openai_client.mjs")]


@contextmanager
def running_litellm(python: Path, folder: Path, *, models: Mapping[str, Mapping[str, str]], key: str) -> Iterator[Callable[[], str]]:
    """A LiteLLM proxy for ``models``: name -> LiteLLM's parameters. What it gives waits until the proxy answers, and returns its URL."""
    config, log, port = folder / "litellm.yaml", folder / "litellm.log", free_port()
    config.write_text(
        yaml.safe_dump(
            {
                "model_list": [{"model_name": name, "litellm_params": dict(parameters)} for name, parameters in models.items()],
                "general_settings": {"master_key": key, "forward_client_headers_to_llm_api": True},
                "litellm_settings": {"num_retries": 0, "telemetry": False},
                "router_settings": {"num_retries": 0, "disable_cooldowns": True},
            }
        )
    )
    command = [str(python.parent / "litellm"), "--config", str(config), "--host", "127.0.0.1", "--port", str(port)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_", "PYTHON", "DATABASE"))}
    environment |= {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_TELEMETRY": "False", "NO_DOCS": "True"}
    with log.open("wb") as out:
        process = subprocess.Popen(command, cwd=folder, stdout=out, stderr=subprocess.STDOUT, env=environment)

    def url_once_it_answers() -> str:
        url, until = f"http://127.0.0.1:{port}", time.monotonic() + START_SECONDS
        while not _answers(f"{url}/health/liveliness"):
            assert process.poll() is None, log.read_text()[-3000:]
            assert time.monotonic() < until, log.read_text()[-3000:]
            time.sleep(0.2)
        return url

    try:
        yield url_once_it_answers
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False
