"""What the gateway costs: CPU time of capturing an attempt, and the latency that it adds to an answer.

Capture is measured through the gateway's own steps: redact, encode, write to the spool, publish, delete once recorded; a publisher in
memory stands in for the broker. Latency is measured at a gateway process before a stub model server in another process, by one client that
asks it and the server directly in turn. There is no broker, so captured events wait on disk meanwhile.
"""

import asyncio
import multiprocessing
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

import aiohttp
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
from tests.benchmarks.exchange_traffic import NOON, SEED, SIZES, WORKLOAD, attempts, cpu_microseconds, text
from tests.benchmarks.figures import ROOT, Figure, report, soak
from tests.fakes.event_publisher import FakeEventPublisher
from tests.fakes.vllm_server import FakeVllm
from tests.ports import free_metrics_port, free_port

COUNTS = {"1 KB": 2_000 if soak() else 500, "50 KB": 200 if soak() else 50}
ASKED = 2_000 if soak() else 300
WARM_UP = 50
TIMES = 5 if soak() else 2
PERSONAL = 0.05
BATCH, PAGE = 100, 500
READY_SECONDS = 120
TOKEN = "bench-gateway"
ROUTE = {
    "workload": WORKLOAD,
    "alias": "router-alias",
    "version": 1,
    "champion": BASE,
    "challenger": None,
    "challenger_arm": None,
    "share": 0.0,
    "salt": "",
    "changed_at": None,
}


class Unchanged:
    """A redactor that finds nothing and searches nothing."""

    def redact(self, text: str) -> tuple[str, int]:
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


def _serve(said: str, line: Connection) -> None:
    """A process of its own: the model server, until the other end of the line closes."""
    with FakeVllm(answers=lambda model, messages: said) as server:
        line.send(server.url)
        try:
            line.recv()
        except EOFError:
            return


@contextmanager
def model_server(said: str) -> Iterator[str]:
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(said, there), daemon=True)
    process.start()
    try:
        yield here.recv()
    finally:
        here.send("end")
        process.join(30)


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
        "workloads": {WORKLOAD: {"alias": "router-alias"}},
    }
    (folder / "flywheel.yaml").write_text(yaml.safe_dump(content))
    RouteFiles(folder / "var" / "routes").save(from_wire(ROUTE))
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


async def _asked(client: aiohttp.ClientSession, url: str, body: dict[str, object]) -> float:
    """Milliseconds to the last byte."""
    began = time.perf_counter()
    async with client.post(f"{url}/v1/chat/completions", json=body, headers={"Authorization": f"Bearer {TOKEN}"}) as answer:
        content = await answer.read()
        if answer.status != 200 or b"choices" not in content:
            raise RuntimeError(f"{url} answers {answer.status}: {content[:300]!r}")
    return (time.perf_counter() - began) * 1000


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


async def _until_captured(client: aiohttp.ClientSession, url: str) -> None:
    """Until the first event is on disk: the gateway imports its recognisers for it, which takes seconds of the same processor."""
    deadline = time.monotonic() + READY_SECONDS
    while True:
        async with client.get(f"{url}/metrics") as answer:
            found = re.search(r"^flywheel_gateway_captured_total ([\d.e+]+)$", await answer.text(), re.MULTILINE)
        if found is not None and float(found[1]) > 0:
            return
        if time.monotonic() > deadline:
            raise RuntimeError("the gateway captures nothing")
        await asyncio.sleep(0.1)


async def _latencies(direct: str, through: str, prompt: str, *, streams: bool) -> tuple[list[float], list[float]]:
    """(direct, through the gateway), asked in turn, so that whatever else the machine does meets both."""
    taken: tuple[list[float], list[float]] = ([], [])
    async with aiohttp.ClientSession() as client:
        await _until_ready(client, through)
        await _asked(client, through, {"model": "router-alias", "messages": [{"role": "user", "content": prompt}]})
        await _until_captured(client, through)
        for number in range(WARM_UP + ASKED):
            for held, url, model in ((taken[0], direct, "base"), (taken[1], through, "router-alias")):
                body = {"model": model, "messages": [{"role": "user", "content": prompt}], "stream": streams}
                milliseconds = await _asked(client, url, body)
                if number >= WARM_UP:
                    held.append(milliseconds)
    return taken


def latency_figures() -> Iterator[Figure]:
    rng = random.Random(SEED)
    prompt, said = text(rng, SIZES["1 KB"]), text(rng, 300)
    with (
        model_server(said) as direct,
        tempfile.TemporaryDirectory(prefix="flywheel-gateway-") as folder,
        gateway(Path(folder), direct) as through,
    ):
        for streams in (False, True):
            alone, beside = asyncio.run(_latencies(direct, through, prompt, streams=streams))
            base = statistics.median(alone)
            peer = f"direct {base:.2f} ms, through the gateway {statistics.median(beside):.2f} ms, at the median"
            name = f"latency added at the median, {'streamed, to the last byte' if streams else 'not streamed'}"
            yield Figure(name=name, value=statistics.median(beside) - base, unit="ms", peer=peer, n=ASKED)


def main() -> int:
    figures = [*capture_figures(), *latency_figures()]
    report("gateway", figures, seeds=[SEED])
    return 0


if __name__ == "__main__":
    sys.exit(main())
