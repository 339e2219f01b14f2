"""Runs the script of a day: unmodified clients before the whole daemon, a real vLLM behind it, and a recording proxy on both sides.

client [-> LiteLLM] -> front (a recording proxy) -> gateway -> back (a recording proxy) -> vLLM, stub, or LiteLLM -> vLLM
"""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import yaml

from flywheel.ids import BASE
from services.cli.demo.daemon import Daemon
from services.cli.demo.people import make_tokens, token_of
from services.cli.demo.stage_clock import wait_for
from services.process.process_names import metrics_port
from services.settings import Settings, load
from tests.clients.driven import Client, node_command, python_command, running_client, running_litellm
from tests.clients.installed import node_client, python_clients
from tests.clients.recording_proxy import Passage, RecordingProxy
from tests.e2e.day_script import ALIAS, CAPS, DEFAULTS, SYSTEM_PROMPT, Answerer, Deed, stub_answer
from tests.fakes.vllm_server import FakeVllm
from tests.ports import free_metrics_port, free_port
from tests.served_vllm import base_model, running_vllm

WORKLOAD = "tool-router"
LITELLM_KEY = "sk-test"
CHAT = "/v1/chat/completions"


@dataclass(frozen=True, kw_only=True)
class SeenExchange:
    """One request as it passed on both sides of the gateway."""

    front: Passage
    back: Passage


@dataclass(frozen=True, kw_only=True)
class DoneDeed:
    """A deed, what the client told of it, and its requests."""

    deed: Deed
    told: Mapping[str, Any]
    exchanges: list[SeenExchange]


@dataclass(kw_only=True)
class Day:
    """The daemon, the clients and what stands around them."""

    daemon: Daemon
    settings: Settings
    config: Path
    clients: Mapping[str, Client]
    front: RecordingProxy
    back: RecordingProxy
    answerers: Mapping[Answerer, str]
    done: dict[str, DoneDeed] = field(default_factory=dict)
    recorder_counts: Mapping[str, int] = field(default_factory=dict)  # once the script was recorded
    _records: dict[str, dict[str, Any]] = field(default_factory=dict)

    def runs(self, deed: Deed) -> None:
        self.done[deed.name] = self._ran(deed)

    def runs_again(self, name: str) -> None:
        """What it does is not remembered."""
        self._ran(self.done[name].deed)

    def _ran(self, deed: Deed) -> DoneDeed:
        fronts, backs = len(self.front.passages), len(self.back.passages)
        self.back.target, self.back.fault = self.answerers[deed.answerer], deed.fault
        told = self.clients[deed.client].tells(deed.does, model=ALIAS, **deed.arguments)
        pairs = zip(self.front.since(fronts), self.back.since(backs), strict=True)
        return DoneDeed(deed=deed, told=told, exchanges=[SeenExchange(front=one, back=other) for one, other in pairs])

    @property
    def attempts(self) -> int:
        return sum(len(one.exchanges) for one in self.done.values())

    def waits(self, look: Any, what: str) -> Any:
        return wait_for(look, what=what, seconds=120, alive=self.daemon.check, every=0.2)

    def asks_api(self, path: str, *, name: str = "maria", **more: Any) -> httpx.Response:
        """GET, with the token of this name."""
        headers = {"Authorization": f"Bearer {token_of(self.settings, name)}"}
        return httpx.get(f"{self._api}{path}", headers=headers, timeout=60, **more)

    def hands_in(self, content: bytes, *, source: str = "support-desk") -> httpx.Response:
        """One correction."""
        headers = {"Authorization": f"Bearer {token_of(self.settings, source)}"}
        return httpx.post(f"{self._api}/v1/corrections", content=content, headers=headers, timeout=60)

    def recorded(self, exchange: SeenExchange) -> dict[str, Any]:
        """By our request id; by the client's own, where the client never got ours."""
        request_id = exchange.front.answer_headers.get("x-flywheel-request") or exchange.front.headers["x-request-id"]
        if request_id not in self._records:
            answer = self.asks_api(f"/v1/exchanges/{request_id}")
            assert answer.status_code == 200, answer.text
            self._records[request_id] = answer.json()
        return self._records[request_id]

    def id_of(self, deed: str, name: str) -> str:
        """A field of the record of a deed's last request; without a deed an id that nobody gave."""
        return str(self.recorded(self.done[deed].exchanges[-1])[name]) if deed else "unknown"

    def flywheel(self, *words: str, person: str = "maria") -> "subprocess.CompletedProcess[str]":
        """The command, as this person types it."""
        environment = {**os.environ, "FLYWHEEL_TOKEN": token_of(self.settings, person), "FLYWHEEL_CONFIG": str(self.config)}
        command = [sys.executable, "-m", "services.cli", *words]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    def gateway_counts(self, metric: str) -> dict[tuple[str, ...], float]:
        """Of the gateway's metrics: values of the labels -> the count."""
        page = httpx.get(f"http://127.0.0.1:{metrics_port(self.settings, 'gateway')}/metrics", timeout=60).text
        lines = [line for line in page.splitlines() if line.startswith(f"{metric}{{")]
        return {tuple(re.findall(r'="([^"]*)"', line)): float(line.rsplit(" ", 1)[1]) for line in lines}

    @property
    def _api(self) -> str:
        return f"http://127.0.0.1:{self.settings.http.api_port}"


@contextmanager
def running_day(folder: Path) -> Iterator[Day]:
    """Everything started, and nothing asked yet. vLLM, daemon and LiteLLM start at the same time."""
    base_model()
    python, node = python_clients(), node_client()
    with ExitStack() as stack:
        stack.callback(signal.signal, signal.SIGINT, signal.getsignal(signal.SIGINT))  # the daemon's end leaves it ignored
        stub = stack.enter_context(FakeVllm(answers=stub_answer, embeds=True))
        back = stack.enter_context(RecordingProxy(stub.url, keeps=lambda path: path == CHAT))
        config = _config(folder, serving=back.url)
        settings = load(config)
        gateway = f"http://{settings.http.host}:{settings.http.gateway_port}"
        front = stack.enter_context(RecordingProxy(gateway, keeps=lambda path: path == CHAT))
        vllm_port = free_port()
        models = {
            ALIAS: {"model": f"openai/{ALIAS}", "api_base": f"{front.url}/v1", "api_key": token_of(settings, "tool-app")},
            BASE: {"model": f"openai/{BASE}", "api_base": f"http://127.0.0.1:{vllm_port}/v1", "api_key": "none"},
        }
        proxy = stack.enter_context(running_litellm(python, folder, models=models, key=LITELLM_KEY))
        daemon = stack.enter_context(Daemon(config=config, settings=settings))
        with ThreadPoolExecutor(1) as pool:
            started = pool.submit(daemon.start, show=lambda _: None)
            vllm = stack.enter_context(running_vllm(folder, port=vllm_port))
            started.result()
        litellm = proxy()
        clients = {
            "python": stack.enter_context(running_client(python_command(python), url=front.url)),
            "node": stack.enter_context(running_client(node_command(node), url=front.url)),
            "litellm": stack.enter_context(running_client(python_command(python), url=litellm)),
        }
        for name, client in clients.items():
            client.key = LITELLM_KEY if name == "litellm" else token_of(settings, "tool-app")
        yield Day(
            daemon=daemon,
            settings=settings,
            config=config,
            clients=clients,
            front=front,
            back=back,
            answerers={Answerer.VLLM: vllm, Answerer.STUB: stub.url, Answerer.LITELLM: litellm},
        )


def _config(folder: Path, *, serving: str) -> Path:
    """One workload, on free ports. ``serving``: where the gateway finds a vLLM."""
    data = folder / "day"
    (data / "keys").mkdir(parents=True)
    key = folder / "vllm.key"
    key.write_text(LITELLM_KEY)  # vLLM, started without a key, takes any
    key.chmod(0o600)
    tokens = {"tool-app": ["infer"], "support-desk": ["submit"], "annotation": ["submit"], "maria": ["operate", "review"]}
    content = {
        "data_dir": str(data),
        "http": {"gateway_port": free_port(), "api_port": free_port(), "metrics_port": free_metrics_port()},
        "kafka": {"embedded_port": free_port()},
        "serving": {"url": serving, "key_file": str(key)},
        "tokens": [
            {"name": name, "scopes": scopes, "workloads": [WORKLOAD], "token_file": str(data / "keys" / f"{name}.token")}
            for name, scopes in tokens.items()
        ],
        "workloads": {
            WORKLOAD: {
                "alias": ALIAS,
                "mode": "observe",
                "requests": {"system_prompt": SYSTEM_PROMPT, "defaults": DEFAULTS, "caps": CAPS},
                "slices": {"dimensions": ["tenant"]},
                "corrections": {"trusted_sources": ["support-desk", "annotation"]},
            }
        },
    }
    path = folder / "flywheel.yaml"
    path.write_text(yaml.safe_dump(content))
    make_tokens(load(path))
    return path
