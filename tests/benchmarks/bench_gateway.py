"""What the gateway costs: CPU time of capturing an attempt, and the latency that it adds to an answer.

Capture is measured through the gateway's own steps: redact, encode, write to the spool, publish, delete once recorded; a publisher in
memory stands in for the broker. Latency is measured at a gateway process before a cheap model server in another process, by one client that
asks the server directly, the gateway and LiteLLM's proxy in turn; the rate over 64 connections. There is no broker, so captured events wait
on disk meanwhile.
"""

import asyncio
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
import yaml

from flywheel.ids import BASE
from services.gateway.capture_attempts import encoded_by, keep, publish
from services.gateway.traffic_event import UpstreamAttempt
from services.integrations.kafka.event_codec import TRAFFIC_TYPE
from services.integrations.presidio.redactor import PresidioRedactor
from services.ports.cloud_events import encode
from services.ports.redaction import Redactor
from services.ports.route_on_the_wire import from_wire
from services.stores.capture_spool import CaptureSpool
from services.stores.route_files import RouteFiles
from tests.benchmarks.exchange_traffic import NOON, SEED, SIZES, attempts, cpu_microseconds, text
from tests.benchmarks.figures import ROOT, Figure, at_least, at_most, report, soak
from tests.benchmarks.http_load import Load, cheap_model_server, load
from tests.clients.driven import running_litellm
from tests.clients.installed import python_clients
from tests.fakes.event_publisher import FakeEventPublisher
from tests.ports import free_metrics_port, free_port

COUNTS = {"1 KB": 2_000 if soak() else 500, "50 KB": 200 if soak() else 50}
ASKED = 1_000 if soak() else 400
TURNS = 10
CONNECTIONS = 64
ADDED_MS, TENTH, TIMES_LITELLM = 1.0, 10, 20
DURABILITIES = ("answered", "batched")
TIMES = 5 if soak() else 2
PERSONAL = 0.05
BATCH, PAGE = 100, 500
READY_SECONDS = 120
TOKEN = "bench-gateway"


def route(workload: str) -> dict[str, object]:
    """As the release controller pushes it."""
    of_a_challenger = {"challenger": None, "challenger_arm": None, "share": 0.0, "salt": "", "changed_at": None}
    return {"workload": workload, "alias": f"{workload}-alias", "version": 1, "champion": BASE, **of_a_challenger}


class Unchanged:
    """A redactor that finds nothing and searches nothing."""

    def redact(self, text: str, names: tuple[str, ...] = ()) -> tuple[str, int]:
        return text, 0


def _event(**fields: object) -> bytes:
    return encode(type=TRAFFIC_TYPE, **fields)  # type: ignore[arg-type]


def capture(made: Sequence[UpstreamAttempt], redactor: Redactor) -> None:
    """From memory to acknowledged and deleted."""
    with tempfile.TemporaryDirectory(prefix="flywheel-capture-") as folder:
        spool, publisher, encoded = CaptureSpool(Path(folder) / "gateway.db"), FakeEventPublisher(), encoded_by(_event)
        for start in range(0, len(made), BATCH):
            keep(made[start : start + BATCH], redactor=redactor, encode=encoded, spool=spool, now=NOON)
        while publish(spool=spool, publisher=publisher, topic="traffic", now=NOON):
            pass
        for start in range(0, len(made), PAGE):
            spool.recorded([one.event_id for one in made[start : start + PAGE]])


def capture_figures() -> Iterator[Figure]:
    presidio = PresidioRedactor(key=b"benchmark" * 4)
    presidio.redact("4155550134")  # imports what it needs
    redactors: dict[str, Redactor] = {"without redaction": Unchanged(), f"with redaction, {PERSONAL:.0%} with personal data": presidio}
    for size, characters in SIZES.items():
        made = attempts(COUNTS[size], characters=characters, personal=PERSONAL)
        for said, redactor in redactors.items():
            cost = cpu_microseconds(lambda made=made, redactor=redactor: capture(made, redactor), events=len(made), times=TIMES)  # type: ignore[misc]
            yield Figure(name=f"CPU time of a capture, prompt of {size}, {said}", value=cost, unit="microseconds", n=len(made))


@contextmanager
def gateway(folder: Path, model_url: str) -> Iterator[str]:
    """The gateway's URL, once it has answered."""
    (folder / "token").write_text(TOKEN)
    port = free_port()
    content = {
        "data_dir": str(folder / "var"),
        "http": {"gateway_port": port, "api_port": free_port(), "metrics_port": free_metrics_port()},
        "kafka": {"bootstrap": f"127.0.0.1:{free_port()}"},
        "serving": {"url": model_url},
        "tokens": [{"name": "bench", "scopes": ["infer"], "token_file": str(folder / "token")}],
        "workloads": {name: {"alias": f"{name}-alias", "capture": {"durability": name}} for name in DURABILITIES},
    }
    (folder / "flywheel.yaml").write_text(yaml.safe_dump(content))
    for name in DURABILITIES:
        RouteFiles(folder / "var" / "routes").save(from_wire(route(name)))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FLYWHEEL")} | {"PYTHONPATH": str(ROOT)}
    with (folder / "gateway.log").open("wb") as log:
        command = [sys.executable, "-m", "services.gateway", "--config", str(folder / "flywheel.yaml")]
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


async def _until_ready(client: aiohttp.ClientSession, url: str) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while True:
        try:
            async with client.get(f"{url}/readyz") as answer:
                if answer.status == 200:
                    return
        except aiohttp.ClientError:
            pass
        if time.monotonic() > deadline:
            raise RuntimeError("the gateway is not ready")
        await asyncio.sleep(0.1)


@dataclass(frozen=True, kw_only=True)
class Target:
    """Whom the client asks, and by which token and model name."""

    name: str
    url: str
    token: str
    model: str


def _bodies(target: Target, *, streams: bool) -> list[dict[str, object]]:
    """Prompts of 1 KB, one in twenty with personal data."""
    rng = random.Random(SEED)
    prompts = [text(rng, SIZES["1 KB"]) + (f" Write to ann.{number}@example.com." if number == 0 else "") for number in range(20)]
    return [{"model": target.model, "messages": [{"role": "user", "content": prompt}], "stream": streams} for prompt in prompts]


async def _measured(target: Target, *, streams: bool, connections: int, count: int) -> Load:
    told = await load(target.url, _bodies(target, streams=streams), token=target.token, connections=connections, count=count)
    if told.failed:
        raise RuntimeError(f"{told.failed} of {count} requests failed at {target.name}")
    return told


async def _in_turn(targets: Sequence[Target], *, streams: bool) -> dict[str, float]:
    """Milliseconds at the median over one connection, asked in turn, so that whatever else the machine does meets all of them."""
    taken: dict[str, list[float]] = {target.name: [] for target in targets}
    for turn in range(TURNS + 1):  # the first one warms up
        for target in targets:
            told = await _measured(target, streams=streams, connections=1, count=ASKED // TURNS)
            if turn:
                taken[target.name] += told.milliseconds
    return {name: statistics.median(milliseconds) for name, milliseconds in taken.items()}


async def _captured(url: str) -> tuple[float, float]:
    """Attempts redacted and on disk, and attempts dropped, since the gateway's start."""
    async with aiohttp.ClientSession() as client, client.get(f"{url}/metrics") as answer:
        page = await answer.text()
    kept = re.search(r"^flywheel_gateway_captured_total ([\d.e+]+)$", page, re.MULTILINE)
    dropped = re.findall(r"^flywheel_gateway_dropped_total\{[^}]*\} ([\d.e+]+)$", page, re.MULTILINE)
    return float(kept[1]) if kept else 0.0, sum(map(float, dropped))


async def _until_all_captured(url: str, answered: int) -> float:
    """The share of all answers that is on disk, redacted; waits for the redactor."""
    deadline = time.monotonic() + READY_SECONDS
    while True:
        kept, dropped = await _captured(url)
        if kept + dropped >= answered or time.monotonic() > deadline:
            return kept / answered
        await asyncio.sleep(0.2)


async def _figures(direct: Target, ours: Sequence[Target], litellm: Target | None) -> list[Figure]:
    gateway_url, figures, answered = ours[0].url, list[Figure](), 1
    async with aiohttp.ClientSession() as client:
        await _until_ready(client, gateway_url)
    await _measured(ours[0], streams=False, connections=1, count=1)
    await _until_all_captured(gateway_url, 1)  # the redactor is imported now
    for streams in (False, True):
        said = "streamed, to the last byte" if streams else "not streamed"
        medians = await _in_turn([direct, *ours, *([litellm] if litellm else [])], streams=streams)
        answered += len(ours) * (TURNS + 1) * (ASKED // TURNS)
        theirs = medians[litellm.name] - medians[direct.name] if litellm else None
        for target in ours:
            added, goal = medians[target.name] - medians[direct.name], min(ADDED_MS, theirs / TENTH if theirs is not None else ADDED_MS)
            peer = f"direct {medians[direct.name]:.2f} ms" + (f", LiteLLM adds {theirs:.1f} ms" if theirs is not None else "")
            figures.append(
                at_most(round(goal, 2), name=f"latency added at the median, {target.name}, {said}", value=added, unit="ms", peer=peer)
            )
    for streams in (False, True):
        said = "streamed" if streams else "not streamed"
        told = await _measured(ours[0], streams=streams, connections=CONNECTIONS, count=ASKED)
        answered += ASKED
        share = await _until_all_captured(gateway_url, answered)
        name, peer = f"answers a second at {CONNECTIONS} connections, {said}", f"{share:.2%} of all answers on disk, redacted"
        if litellm is None:
            figures.append(Figure(name=name, value=told.rate, unit="a second", peer=peer))
            continue
        theirs = (await _measured(litellm, streams=streams, connections=CONNECTIONS, count=ASKED // 10)).rate
        figures.append(
            at_least(round(TIMES_LITELLM * theirs), name=name, value=told.rate, unit="a second", peer=f"{peer}; LiteLLM {theirs:.1f}")
        )
    return figures


def latency_figures() -> tuple[list[Figure], list[str]]:
    """And what could not be measured."""
    said, notes = text(random.Random(SEED), 300), list[str]()
    with ExitStack() as stack:
        model_url = stack.enter_context(cheap_model_server(said))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="flywheel-gateway-")))
        through = stack.enter_context(gateway(folder, model_url))
        direct = Target(name="direct", url=model_url, token=TOKEN, model="base")
        ours = [Target(name=name, url=through, token=TOKEN, model=f"{name}-alias") for name in DURABILITIES]
        litellm = None
        try:
            models = {"base": {"model": "openai/base", "api_base": f"{model_url}/v1", "api_key": "none"}}
            proxy = stack.enter_context(running_litellm(python_clients(), folder, models=models, key=TOKEN))
            litellm = Target(name="LiteLLM", url=proxy(), token=TOKEN, model="base")
        except pytest.skip.Exception as skipped:
            notes.append(f"Not compared with LiteLLM: {skipped}")
        return asyncio.run(_figures(direct, ours, litellm)), notes


def main() -> int:
    compared, notes = latency_figures()
    report("gateway", [*capture_figures(), *compared], seeds=[SEED], notes=notes)
    return 0


if __name__ == "__main__":
    sys.exit(main())
