"""The whole daemon under users and signal 9: any of its processes is killed at any moment, and what was answered is counted in the record.

One event in ten is sent to the topic a second time. In: a broker's kind, how many gateways, how many kills. Out: a ``CrashReport``.
"""

import http.client
import json
import os
import random
import select
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import KafkaError
from sqlalchemy import create_engine, text

from flywheel.ids import WorkloadId
from services.process.parent_death import at_parent_death
from services.settings import Settings, load
from tests.brokers import APACHE, ApacheKafka
from tests.fakes.vllm_server import FakeVllm
from tests.opened import create_topics, traffic_store
from tests.ports import free_port, free_ports
from tests.steady_users import Asked, SteadyUsers

ROOT = Path(__file__).resolve().parents[1]
ALIAS, WORKLOAD, TOKEN = "assistant", WorkloadId("assistant"), "crash"
SECONDS_TO_READY, SECONDS_TO_RECORD = 400.0, 400.0
SENT_TWICE, READER_LIVES, DUPLICATES_ARE_READ = 0.1, 3.0, 3.0
OTHER_GATEWAY, BROKER = "a gateway that starts, or the spare", "broker"
STARTS_KILLED = 3
GATEWAYS = 0.25  # of the kills are of a gateway, beside those that meet one by chance
MARGIN = 15.0  # seconds before a kill in which a request that it cut may have begun


@dataclass(kw_only=True)
class CrashReport:
    """``lost`` and ``doubled``: requests. ``refused``: failed, and neither in flight on a killed gateway nor sent while none was there.

    ``repairs``: seconds from the death of each gateway that answered to the next answer to a user. ``longest_gap``: between any two.
    """

    kills: Counter[str] = field(default_factory=Counter)
    asked: int = 0
    answered: int = 0
    sent_twice: int = 0
    lost: int = 0
    doubled: int = 0
    cut: int = 0
    while_starting: int = 0
    refused: int = 0
    longest_gap: float = 0.0
    repairs: list[float] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        kills = ", ".join(f"{name} {count}" for name, count in sorted(self.kills.items()))
        return (
            f"{self.kills.total()} kills ({kills}); {self.asked} asked, {self.answered} answered, {self.sent_twice} events sent twice; "
            f"lost {self.lost}, doubled {self.doubled}; failed: {self.cut} in flight on a killed gateway, "
            f"{self.while_starting} while none was there, {self.refused} otherwise; "
            f"longest time without answer {self.longest_gap:.2f} s; {dict(self.failures)}"
        )


@dataclass(kw_only=True)
class CrashWorld:
    """``flywheel up`` as a process, its broker, and a model server that takes 50 ms."""

    folder: Path
    settings: Settings
    up: "subprocess.Popen[bytes]"
    apache: ApacheKafka | None
    rng: random.Random
    gateway_deaths: list[tuple[float, float, float]] = field(default_factory=list)
    """The signal, the end of the process, and when a gateway answered again."""
    started_over: list[float] = field(default_factory=list)  # deaths of gateways that were killed while they started, or of a spare
    kills: Counter[str] = field(default_factory=Counter)

    @property
    def url(self) -> str:
        return f"http://{self.settings.http.host}:{self.settings.http.gateway_port}"

    def parts(self) -> dict[str, int]:
        """Process ids by name, of parts that are ready; a host without what it hosts."""
        try:
            page = json.loads((self.folder / "var" / "up.json").read_text())["parts"]
        except (OSError, ValueError):
            return {}
        pids: dict[int, str] = {}
        for name, part in page.items():
            if part["state"] == "ready" and part["pid"] is not None and _lives(part["pid"]):
                pids.setdefault(part["pid"], name)
        return {name: pid for pid, name in pids.items()}

    def victims(self) -> dict[str, int]:
        """Every process that may be killed now: with several gateways, not the last one that answers."""
        ready = victims = self.parts()
        gateways = [name for name in victims if name.startswith("gateway")]
        if self.settings.gateway.processes > 1 and len(gateways) < 2:
            victims = {name: pid for name, pid in victims.items() if name not in gateways}
        others = [pid for pid in self.gateway_processes() if pid not in ready.values()]
        victims = {**victims, **dict(zip([OTHER_GATEWAY], others, strict=False))}
        if self.apache is not None and self.apache.process is not None:
            victims[BROKER] = self.apache.process.pid
        return victims

    def gateway_processes(self) -> list[int]:
        """Spares and gateways that start included."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            with suppress(OSError, IndexError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                if parent == self.up.pid and b"services.gateway" in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
        return found

    def kill(self, name: str, pid: int) -> None:
        """Returns when it is dead; Apache Kafka is started again here, everything else by `flywheel up`."""
        self.kills[name] += 1
        if name == BROKER and self.apache is not None:
            self.apache.kill()
            self.apache.start()
            return
        handle, before = os.pidfd_open(pid), time.monotonic()
        os.kill(pid, signal.SIGKILL)
        wait_for(handle)
        os.close(handle)
        if name.startswith("gateway") or name == OTHER_GATEWAY:
            dead = time.monotonic()
            self._gateway_answers()
            self.gateway_deaths.append((before, dead, time.monotonic()))
            if name == OTHER_GATEWAY:
                self.started_over.append(before)

    def kill_while_starting(self) -> None:
        """A gateway three times in a row, each time before its start is over; the spare too."""
        began = dead = time.monotonic()
        for at in range(STARTS_KILLED):
            for pid in self.gateway_processes():
                self.kills["gateway that starts"] += 1
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            dead = time.monotonic() if at == 0 else dead
            time.sleep(self.rng.random())
        self._gateway_answers()
        self.started_over.append(began)
        self.gateway_deaths.append((began, dead, time.monotonic()))

    def _gateway_answers(self) -> None:
        until(lambda: _answers(self.settings), seconds=SECONDS_TO_READY, what=lambda: self.log())

    def all_ready(self) -> bool:
        page: dict[str, Any] = {"parts": {}}
        with suppress(OSError, ValueError):
            page = json.loads((self.folder / "var" / "up.json").read_text())
        states = {part["state"] for part in page["parts"].values()}
        return states == {"ready"} and all(part["pid"] and _lives(part["pid"]) for part in page["parts"].values())

    def log(self) -> str:
        return (self.folder / "up.log").read_text()[-3000:]


def wait_for(handle: int) -> None:
    """Until it can be read. By poll: a process with over 1,024 open files may not use select."""
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    poll.poll()


@contextmanager
def crash_world(folder: Path, *, kind: str, gateways: int, seed: int) -> Iterator[CrashWorld]:
    """Raises pytest's Skipped where Apache Kafka cannot be had."""
    first = free_ports(20)
    (folder / "token").write_text(TOKEN)
    apache = ApacheKafka(folder, port=free_port()) if kind == APACHE else None
    with ExitStack() as stack:
        vllm = stack.enter_context(FakeVllm(answers=lambda model, messages: "All good.", delay=0.05))
        content: dict[str, Any] = {
            "data_dir": str(folder / "var"),
            "http": {"gateway_port": first, "api_port": first + 1, "metrics_port": first + 2},
            "kafka": {"embedded_port": first + 19},
            "gateway": {"processes": gateways},
            "serving": {"url": vllm.url},
            "tokens": [{"name": "bench", "scopes": ["infer"], "token_file": str(folder / "token")}],
            "workloads": {"assistant": {"alias": ALIAS}},
        }
        if apache is not None:
            apache.start()
            stack.callback(apache.kill)
            content["kafka"] = {"bootstrap": apache.access.bootstrap}
        config = folder / "flywheel.yaml"
        config.write_text(yaml.safe_dump(content))
        settings = load(config)
        if apache is not None:
            create_topics(settings)
        up = stack.enter_context(_up(folder, config))
        world = CrashWorld(folder=folder, settings=settings, up=up, apache=apache, rng=random.Random(seed))
        until(world.all_ready, seconds=SECONDS_TO_READY, what=world.log)
        yield world


def crash(world: CrashWorld, *, kills: int) -> CrashReport:
    """Kills ``kills`` processes under users, and counts what became of their requests. The first kills are the nastier ones."""
    report = CrashReport(kills=world.kills)
    with _Duplicates(world) as duplicates:
        users = _kill_under_users(world, kills)
        until(world.all_ready, seconds=SECONDS_TO_READY, what=world.log)
        report.lost = len(_still_missing(users, world))
        time.sleep(2 * READER_LIVES)  # the last events are sent a second time
    report.sent_twice = duplicates.count
    _count_failures(report, users, world)
    _count_doubled(report, world)
    return report


def _kill_under_users(world: CrashWorld, kills: int) -> SteadyUsers:
    with SteadyUsers(url=world.url, token=TOKEN, model=ALIAS) as users:
        until(lambda: len(users.answered) > 30, what=world.log)
        if world.settings.gateway.processes == 1:
            world.kill_while_starting()
        while world.kills.total() < kills:
            until(lambda: bool(world.victims()), what=world.log)
            victims = sorted(world.victims().items())
            gateways = [one for one in victims if one[0].startswith("gateway")]
            name, pid = world.rng.choice(gateways if gateways and world.rng.random() < GATEWAYS else victims)
            if name.startswith("gateway") and world.rng.random() < 0.5:
                seen = len(users.answered)
                until(lambda seen=seen: len(users.answered) > seen, what=world.log, step=0.001)  # type: ignore[misc]
                time.sleep(0.01)  # after an answer
            with suppress(ProcessLookupError):
                world.kill(name, pid)
            time.sleep(world.rng.uniform(0.2, 2.0))
        seen = len(users.answered)
        until(lambda: len(users.answered) > seen + 30, what=world.log)  # users are served again
    return users


def _count_failures(report: CrashReport, users: SteadyUsers, world: CrashWorld) -> None:
    report.asked, report.answered, report.longest_gap = len(users.asked), len(users.answered), users.longest_gap()
    answers = sorted(one.answered for one in users.answered if one.answered is not None)
    for _, dead, _ in (one for one in world.gateway_deaths if one[0] not in world.started_over):
        report.repairs.append(next((at for at in answers if at > dead), dead) - dead)
    several = world.settings.gateway.processes > 1
    for one in users.failed:
        assert one.failed is not None
        report.failures[one.failed[:60]] += 1
        if any(_in_flight(one, before, dead) for before, dead, _ in world.gateway_deaths):
            report.cut += 1
        elif not several and any(before <= one.began <= again for before, _, again in world.gateway_deaths):
            report.while_starting += 1
        else:
            report.refused += 1


def _in_flight(one: Asked, before: float, dead: float) -> bool:
    return before - MARGIN < one.began <= dead and one.ended >= before


def _still_missing(users: SteadyUsers, world: CrashWorld) -> set[str]:
    """Requests that were answered and are not recorded, although everything runs again and had time."""
    wanted, engine = {one.request_id for one in users.answered}, create_engine(world.settings.traffic_url)

    def missing() -> set[str]:
        with engine.connect() as connection:
            return wanted - {str(id) for (id,) in connection.execute(text("SELECT request_id FROM inferences"))}

    deadline = time.monotonic() + SECONDS_TO_RECORD
    while (lost := missing()) and time.monotonic() < deadline:
        time.sleep(0.5)
    return lost


def _count_doubled(report: CrashReport, world: CrashWorld) -> None:
    """By rows, and by what the panes have counted."""
    time.sleep(DUPLICATES_ARE_READ)
    engine = create_engine(world.settings.traffic_url)
    with engine.connect() as connection:
        rows = int(connection.execute(text("SELECT count(*) FROM inferences")).scalar_one())
        requests = int(connection.execute(text("SELECT count(DISTINCT request_id) FROM inferences")).scalar_one())
    now = datetime.now(UTC)
    window = traffic_store(world.settings).window(workload=WORKLOAD, start=now - timedelta(days=1), end=now + timedelta(hours=1))
    counted = window.matrix.rows_by_slice.get("all", 0)
    report.doubled = (rows - requests) + max(0, counted - rows)


class _Duplicates(threading.Thread):
    """Reads the traffic topic and sends one event in ten a second time, through every death of the broker."""

    def __init__(self, world: CrashWorld) -> None:
        super().__init__(name="duplicates", daemon=True)
        self._settings, self._rng, self._over = world.settings, random.Random(world.rng.random()), threading.Event()
        self._seen: set[str] = set()
        self.count = 0

    def __enter__(self) -> "_Duplicates":
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self.join()

    def run(self) -> None:
        while not self._over.is_set():
            with suppress(KafkaError, OSError, AssertionError):
                self._read_and_send()
            self._over.wait(0.2)

    def _read_and_send(self) -> None:
        topic = self._settings.kafka.topics.traffic
        consumer = KafkaConsumer(bootstrap_servers=self._settings.bootstrap, auto_offset_reset="earliest")
        producer = KafkaProducer(bootstrap_servers=self._settings.bootstrap, acks="all", max_block_ms=2_000)
        try:
            partitions = consumer.partitions_for_topic(topic)
            if not partitions:
                return  # it is asked again
            consumer.assign([TopicPartition(topic, one) for one in partitions])
            consumer.seek_to_beginning()
            until = time.monotonic() + READER_LIVES  # a broker that came back empty may leave a reader at an offset of its life before
            while not self._over.is_set() and time.monotonic() < until:
                for records in consumer.poll(timeout_ms=200).values():
                    for record in records:
                        self._send_again(producer, record, len(partitions))
        finally:
            producer.close(timeout=1)
            consumer.close()

    def _send_again(self, producer: Any, record: Any, partitions: int) -> None:
        id = json.loads(record.value)["id"]
        if id not in self._seen:
            self._seen.add(id)
            if self._rng.random() < SENT_TWICE:
                producer.send(record.topic, record.value, partition=self._rng.randrange(partitions)).get(timeout=5)
                self.count += 1


@contextmanager
def _up(folder: Path, config: Path) -> Iterator["subprocess.Popen[bytes]"]:
    environment: Mapping[str, str] = {name: value for name, value in os.environ.items() if not name.startswith("FLYWHEEL")}
    with (folder / "up.log").open("wb") as log:
        up = subprocess.Popen(
            [sys.executable, "-m", "services.cli", "up", "--config", str(config)],
            cwd=ROOT,
            env={**environment, "PYTHONPATH": str(ROOT)},
            stdout=log,
            stderr=log,
            preexec_fn=at_parent_death(signal.SIGTERM),
        )
        try:
            yield up
        finally:
            up.send_signal(signal.SIGTERM)
            up.wait()


def _answers(settings: Settings) -> bool:
    connection = http.client.HTTPConnection(settings.http.host, settings.http.gateway_port, timeout=5)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def until(true: Callable[[], object], *, seconds: float = 120.0, what: Callable[[], object], step: float = 0.02) -> None:
    """Raises TimeoutError with ``what``."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            raise TimeoutError(f"it did not come about in {seconds:g} s: {what()}")
        time.sleep(step)
