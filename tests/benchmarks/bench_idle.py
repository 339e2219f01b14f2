"""What a quiet daemon costs: `flywheel up` with everything that is on by default, without vLLM, after some traffic, with nothing to do.

CPU time and memory come from /proc: utime + stime of every process of the daemon, the embedded broker included, and PSS, which counts a
shared page once. Calls of fsync and fdatasync are counted by strace in a second interval, because strace itself slows the processes.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml

from tests.benchmarks.figures import ROOT, Figure, at_most, report, soak
from tests.ports import free_ports

SECONDS = 300.0 if soak() else 60.0
SETTLE_SECONDS = 45.0
READY_SECONDS = 300.0
REQUESTS, SESSIONS = 60, 12
TICKS = os.sysconf("SC_CLK_TCK")
TOKEN = "bench-idle"
CPU_PERCENT, MEGABYTES, SYNCS_A_MINUTE = 3.0, 900.0, 30.0


class ModelServer(BaseHTTPRequestHandler):
    """As much of vLLM's interface as an idle daemon uses. It lives in the benchmark's own process and is not counted."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer({"object": "list", "data": [{"id": "base", "object": "model", "parent": None, "root": "base"}]})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        message = {"role": "assistant", "content": "All good."}
        self._answer(
            {
                "id": "chat-1",
                "object": "chat.completion",
                "created": 0,
                "model": "base",
                "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12},
            }
        )

    def _answer(self, content: Mapping[str, object]) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Silent."""


@dataclass(frozen=True, kw_only=True)
class Usage:
    """One process: CPU seconds since it began, PSS in MB, context switches."""

    cpu_seconds: float
    megabytes: float
    switches: int


def settings(folder: Path, *, model_url: str) -> dict[str, Any]:
    """Defaults everywhere; named is only what has no default."""
    first = free_ports(16)
    token = folder / "token"
    token.write_text(TOKEN)
    return {
        "data_dir": str(folder / "var"),
        "http": {"gateway_port": first, "api_port": first + 1, "metrics_port": first + 2},
        "kafka": {"embedded_port": first + 13},
        "serving": {"url": model_url},
        "tokens": [{"name": "bench", "scopes": ["infer"], "token_file": str(token)}],
        "workloads": {"assistant": {"alias": "assistant"}},
    }


@contextmanager
def model_server() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), ModelServer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()


@contextmanager
def daemon(folder: Path, content: Mapping[str, Any]) -> Iterator[int]:
    """The process id of `flywheel up`, once everything is ready."""
    config = folder / "flywheel.yaml"
    config.write_text(yaml.safe_dump(dict(content)))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FLYWHEEL")}
    with (folder / "up.log").open("wb") as log:
        up = subprocess.Popen(
            [sys.executable, "-m", "services.cli", "up", "--json", "--config", str(config)],
            cwd=ROOT,
            env={**environment, "PYTHONPATH": str(ROOT)},
            stdout=log,
            stderr=log,
        )
        try:
            _await_ready(up, folder)
            yield up.pid
        finally:
            up.send_signal(signal.SIGTERM)
            try:
                up.wait(60)
            except subprocess.TimeoutExpired:
                up.kill()
                up.wait()


def _await_ready(up: "subprocess.Popen[bytes]", folder: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while not _parts(folder)[1]:
        if up.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the daemon is not ready; its log ends: {(folder / 'up.log').read_text()[-2000:]}")
        time.sleep(0.5)


def _parts(folder: Path) -> tuple[dict[int, str], bool]:
    """Names by process id, as `up.json` gives them, and whether everything is ready."""
    try:
        page = json.loads((folder / "var" / "up.json").read_text())
    except (OSError, ValueError):
        return {}, False
    names: dict[int, str] = {}
    for name, part in page["parts"].items():
        names.setdefault(part["pid"], name)  # a host stands before what it hosts
    return names, bool(page["ready"])


def ask(content: Mapping[str, Any]) -> None:
    """A little traffic, so that every process has something that it once did."""
    url = f"http://127.0.0.1:{content['http']['gateway_port']}/v1/chat/completions"
    for at in range(REQUESTS):
        body = {"model": "assistant", "messages": [{"role": "user", "content": f"Is everything all right in room {at}?"}]}
        request = urllib.request.Request(url, data=json.dumps(body).encode(), method="POST")
        request.add_header("Authorization", f"Bearer {TOKEN}")
        request.add_header("Content-Type", "application/json")
        request.add_header("X-Flywheel-Session", f"session-{at % SESSIONS}")
        with urllib.request.urlopen(request, timeout=30) as answer:
            answer.read()


def processes(root: int, names: Mapping[int, str]) -> dict[int, str]:
    """Every living descendant of ``root`` and itself, with its name; what a named process started is named after it."""
    parents = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    found = {root: "flywheel up"}
    waiting = [root]
    while waiting:
        parent = waiting.pop()
        for pid in (pid for pid, above in parents.items() if above == parent):
            found[pid] = names.get(pid) or f"started by {found[parent]}"
            waiting.append(pid)
    return found


def usage(pid: int) -> Usage:
    """Raises OSError for a process that has ended."""
    folder = Path("/proc") / str(pid)
    fields = (folder / "stat").read_text().rpartition(")")[2].split()
    pss = re.search(r"^Pss:\s+(\d+) kB", (folder / "smaps_rollup").read_text(), re.MULTILINE)
    switches = 0
    for task in (folder / "task").iterdir():
        switches += sum(map(int, re.findall(r"ctxt_switches:\s+(\d+)", (task / "status").read_text())))
    cpu = sum(map(int, fields[11:15])) / TICKS  # with the time of children that have ended
    return Usage(cpu_seconds=cpu, megabytes=int(pss[1]) / 1024 if pss else 0.0, switches=switches)


def syncs(pids: Mapping[int, str], folder: Path, *, seconds: float) -> dict[int, float] | None:
    """Calls of fsync and fdatasync a minute by process; None where there is no strace, or it may not look."""
    strace = shutil.which("strace")
    if strace is None:
        return None
    traces, deaf = {}, False
    for pid in pids:
        command = [strace, "-f", "-qq", "-e", "trace=fsync,fdatasync", "-o", str(folder / f"strace.{pid}"), "-p", str(pid)]
        traces[pid] = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    time.sleep(seconds)
    for trace in traces.values():
        deaf = deaf or trace.poll() not in (None, 0)
        trace.terminate()
    for trace in traces.values():
        trace.wait()
    if deaf:
        return None
    calls = {pid: len(re.findall(r"\bf(?:data)?sync\(", (folder / f"strace.{pid}").read_text())) for pid in pids}
    return {pid: 60 * count / seconds for pid, count in calls.items()}


def measured(root: int, folder: Path) -> list[Figure]:
    """The three figures with goals, then one row a process."""
    names = processes(root, _parts(folder)[0])
    before, began = {pid: usage(pid) for pid in names}, time.monotonic()
    time.sleep(SECONDS)
    lasted = time.monotonic() - began
    after = {pid: usage(pid) for pid in names}
    cpu = {pid: 100 * (after[pid].cpu_seconds - before[pid].cpu_seconds) / lasted for pid in names}
    counted = syncs(names, folder, seconds=SECONDS)
    not_counted = "not measured: there is no strace here that may look at processes (Debian: apt-get install strace)"
    figures = [
        at_most(CPU_PERCENT, name="CPU, all processes", value=sum(cpu.values()), unit="% of one core"),
        at_most(MEGABYTES, name="memory, all processes", value=sum(one.megabytes for one in after.values()), unit="MB (PSS)"),
        at_most(SYNCS_A_MINUTE, name="calls of fsync and fdatasync", value=sum(counted.values()), unit="a minute")
        if counted is not None
        else Figure(name="calls of fsync and fdatasync", value=float("nan"), unit="a minute", reason=not_counted),
    ]
    for pid, name in names.items():
        peer = f"{after[pid].megabytes:.0f} MB, {(after[pid].switches - before[pid].switches) / lasted:.0f} context switches a second"
        if counted is not None:
            peer += f", {counted[pid]:.1f} syncs a minute"
        figures.append(Figure(name=f"CPU, {name}", value=cpu[pid], unit="% of one core", peer=peer))
    return figures


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="flywheel-idle-") as made, model_server() as url:
        folder = Path(made)
        content = settings(folder, model_url=url)
        with daemon(folder, content) as root:
            ask(content)
            time.sleep(SETTLE_SECONDS)
            figures = measured(root, folder)
    report("idle", figures, seeds=[0])
    return 0


if __name__ == "__main__":
    sys.exit(main())
