"""The whole daemon on real processes: who can read its files, and what stands in them after requests that were refused.

A word is planted in every field of requests: of refused ones it may stand in no file, of answered ones in no log and nowhere unsealed.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from flywheel.journal import JournalKind
from services.settings import Settings, load
from services.stores.ledger.journal import LedgerJournal
from services.stores.tokens import sha256_of
from services.stores.traffic.traffic_store import TrafficStore
from tests.fakes.vllm_server import FakeVllm
from tests.opened import open_ledger, traffic_store
from tests.ports import free_metrics_port, free_port

pytestmark = [pytest.mark.broker]
START_SECONDS, RECORD_SECONDS, END_SECONDS = 240.0, 60.0, 60.0
ROOT = Path(__file__).resolve().parents[2]
TOKENS = {"app": "infer", "olga": "operate", "desk": "submit", "root": "admin"}
REFUSED, ANSWERED = "planted-refused", "planted-answered"


@dataclass(kw_only=True)
class RunningDaemon:
    """``flywheel up`` under a umask that lets everybody read, as a login shell has it."""

    folder: Path
    settings: Settings
    planted: list[str] = field(default_factory=list)
    made: str = ""  # a token

    def word(self, kind: str = REFUSED) -> str:
        self.planted.append(f"{kind}-{len(self.planted):04d}-word")
        return self.planted[-1]

    def ask(self, method: str, port: int, path: str, *, token: str = "", **more: Any) -> httpx.Response:
        headers = {**({"Authorization": f"Bearer {token}"} if token else {}), **more.pop("headers", {})}
        return httpx.request(method, f"http://127.0.0.1:{port}{path}", headers=headers, timeout=60, **more)


def secret(name: str) -> str:
    return f"token-of-{name}-3f9c1d"


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDaemon]:
    """A daemon that was asked well and badly, and has ended."""
    folder = tmp_path_factory.mktemp("private")
    with FakeVllm() as vllm:
        content = {
            "data_dir": str(folder / "var"),
            "http": {"gateway_port": free_port(), "api_port": free_port(), "metrics_port": free_metrics_port()},
            "kafka": {"embedded_port": free_port()},
            "serving": {"url": vllm.url},
            "tokens": [{"name": name, "scopes": [scope], "sha256": sha256_of(secret(name))} for name, scope in TOKENS.items()],
            "workloads": {"support": {"alias": "support", "mode": "observe"}},
        }
        config = folder / "flywheel.yaml"
        config.write_text(yaml.safe_dump(content))
        daemon = RunningDaemon(folder=folder, settings=load(config))
        with (folder / "up.log").open("wb") as log:
            up = subprocess.Popen(
                [sys.executable, "-m", "services.cli", "up", "--config", str(config), "--json"],
                cwd=ROOT, stdout=log, stderr=log, umask=0o022, env={**os.environ, "HF_HUB_OFFLINE": "1"}, start_new_session=True,
            )  # fmt: skip
        try:
            _until(lambda: _is_ready(folder, up), START_SECONDS)
            ask_well(daemon)
            make_and_revoke(daemon)
            ask_badly(daemon)
            assert not [line for line in _command_lines() if any(secret(name) in line for name in TOKENS)]
            traffic = traffic_store(daemon.settings)
            _until(lambda: _recorded(traffic) >= 3, RECORD_SECONDS)
        finally:
            up.send_signal(signal.SIGTERM)
            try:
                up.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                up.kill()
                up.wait()
        yield daemon


def ask_well(daemon: RunningDaemon) -> None:
    for _ in range(3):
        body = {
            "model": "support",
            "messages": [{"role": "user", "content": daemon.word(ANSWERED)}],
            "metadata": {"m": daemon.word(ANSWERED)},
        }
        headers = {"X-Flywheel-Session": daemon.word(ANSWERED), "X-Flywheel-Dim-Tenant": daemon.word(ANSWERED)}
        answer = daemon.ask(
            "POST", daemon.settings.http.gateway_port, "/v1/chat/completions", token=secret("app"), json=body, headers=headers
        )
        assert answer.status_code == 200, answer.text


def make_and_revoke(daemon: RunningDaemon) -> None:
    """The gateway and the api of this daemon know the token at once, and know at once that it is revoked."""
    api, gateway = daemon.settings.http.api_port, daemon.settings.http.gateway_port
    made = daemon.ask("POST", api, "/v1/tokens", token=secret("root"), json={"name": "new", "scopes": ["infer", "review"]})
    daemon.made = made.json()["token"]
    looks = [("GET", api, "/v1/alerts"), ("GET", gateway, "/v1/models")]
    assert [daemon.ask(*look, token=daemon.made).status_code for look in looks] == [200, 200]
    daemon.ask("POST", api, "/v1/tokens/new/revoke", token=secret("root"), json={"reason": "tried"})
    assert [daemon.ask(*look, token=daemon.made).status_code for look in looks] == [401, 401]


def ask_badly(daemon: RunningDaemon) -> None:
    """On both ports: tokens, headers, queries, paths and bodies that are refused, a word in each."""
    word, gateway, api = daemon.word, daemon.settings.http.gateway_port, daemon.settings.http.api_port
    chat = {"model": "support", "messages": [{"role": "user", "content": "hello"}]}
    correction = {
        "correction_id": "c", "workload_id": "support", "source": "s", "kind": "edit", "request_id": "r", "corrected": "x",
        "author": {"name": "n"}, "created_at": "2026-05-01T07:00:00Z",
    }  # fmt: skip
    chats = partial(daemon.ask, "POST", gateway, "/v1/chat/completions", token=secret("app"))
    golden = partial(daemon.ask, "POST", api, "/v1/golden/import?workload=support", token=secret("olga"))
    looks = partial(daemon.ask, "GET", api, token=secret("olga"))
    json_kind = {"Content-Type": "application/json"}
    asked = [
        *[daemon.ask("POST", gateway, "/v1/chat/completions", token=token, json=chat) for token in ("", word(), secret("desk"))],
        *[chats(json={**chat, name: word()}) for name in ("model", "messages")],
        chats(json={**chat, "messages": [{"role": word(), "content": [7]}, 7]}),
        chats(content=b'{"model": "' + word().encode() + b'\\ud800"'),
        daemon.ask("POST", gateway, f"/v1/{word()}/{word()}?q={word()}", token=secret("app"), json={"a": word()}),
        daemon.ask("PUT", gateway, "/admin/route", token=word(), json={"route": word()}),
        daemon.ask("GET", gateway, f"/v1/models/{word()}", token=secret("app")),
        *[daemon.ask("POST", api, "/v1/corrections", token=secret("desk"), json={**correction, name: [word()]}) for name in correction],
        *[daemon.ask("POST", api, "/v1/corrections", token=secret("desk"), json={**correction, word(): 1})],
        daemon.ask("POST", api, "/v1/corrections", token=word(), json={**correction, "corrected": word()}),
        daemon.ask("POST", api, "/v1/corrections:batch", token=secret("desk"), content=f'{{"a": "{word()}'),
        daemon.ask("POST", api, "/v1/train", token=secret("olga"), json={"workload": word(), "reason": word()}),
        daemon.ask("POST", api, "/v1/train", token=secret("olga"), json={"workload": "support", "reason": {"x": word()}}),
        daemon.ask("POST", api, "/v1/train", token=secret("olga"), content=f'{{"workload": NaN, "reason": "{word()}"}}', headers=json_kind),
        daemon.ask("POST", api, "/v1/train", token=secret("olga"), content=f'{{"reason": "{word()}\\ud800"}}', headers=json_kind),
        golden(content=json.dumps({"tier": word(), "x": word()})),
        *[looks(f"/v1/{kind}/{word()}?q={word()}") for kind in ("alerts", "exchanges", "work", "no")],
        daemon.ask("GET", api, f"/v1/corrections?workload={word()}&state={word()}", token=secret("olga")),
        daemon.ask("GET", api, "/v1/status", token=word(), headers={"X-Other": word(), "Cookie": word()}),
    ]  # fmt: skip
    taken = [str(answer.url) for answer in asked if answer.status_code not in (400, 401, 403, 404, 422)]
    assert [url.rpartition("/")[2] for url in taken] == ["corrections:batch"], taken  # each of its lines is refused


def _is_ready(folder: Path, up: "subprocess.Popen[bytes]") -> bool:
    assert up.poll() is None, (folder / "up.log").read_text()[-2_000:]
    page = folder / "var" / "up.json"
    return page.exists() and bool(json.loads(page.read_text() or "{}").get("ready"))


def _recorded(traffic: TrafficStore) -> int:
    return traffic.counts("support").recorded


def _command_lines() -> list[str]:
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            found.append((entry / "cmdline").read_bytes().decode(errors="replace"))
        except OSError:
            continue
    return found


def _until(true: Any, seconds: float) -> None:
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, "not within its time"
        time.sleep(0.2)


def files(daemon: RunningDaemon) -> list[Path]:
    found = [path for path in sorted((daemon.folder / "var").rglob("*")) if path.is_file()]
    assert {"ledger.db", "traffic.db", "gateway.log", "api.log"} <= {path.name for path in found}
    return found


def test_nobody_but_the_owner_can_read_a_file(ended: RunningDaemon) -> None:
    open_to_others = {
        str(path.relative_to(ended.folder)): oct(path.stat().st_mode & 0o777)
        for path in [ended.folder / "var", *(ended.folder / "var").rglob("*")]
        if path.stat().st_mode & 0o077
    }
    assert open_to_others == {}


def test_no_word_of_a_refused_request_and_no_token_stands_in_a_file(ended: RunningDaemon) -> None:
    assert len([word for word in ended.planted if word.startswith(REFUSED)]) > 40
    forbidden = re.compile("|".join([REFUSED, *(re.escape(secret(name)) for name in TOKENS), re.escape(ended.made)]).encode())
    found = {(str(path.relative_to(ended.folder)), word) for path in files(ended) for word in set(forbidden.findall(path.read_bytes()))}
    assert found == set()


def test_refused_attempts_stand_in_the_journal_a_line_for_each_kind(ended: RunningDaemon) -> None:
    lines = LedgerJournal(open_ledger(ended.settings)).entries(kind=JournalKind.ACCESS)
    kinds = sorted((line.subject, line.reason) for line in lines if line.evidence["left_out"] == 0)
    assert {("gateway", "unknown token"), ("gateway", "no token"), ("gateway", "revoked token"), ("api", "unknown token")} <= set(kinds)
    assert len(lines) < 20


def test_a_log_holds_no_word_of_an_answered_request_and_no_trace(ended: RunningDaemon) -> None:
    for path in [*(ended.folder / "var" / "logs").glob("*"), ended.folder / "up.log"]:
        said = path.read_text(errors="replace")
        assert ANSWERED not in said, path
        assert "Traceback" not in said, path
