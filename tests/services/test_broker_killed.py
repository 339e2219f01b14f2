"""The broker is killed and nothing else, while idle and under traffic: every flow that stands is told, moves again, and nothing is lost."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from flywheel.ids import BASE, WorkloadId
from flywheel.rollout.release import Route
from services.cli.up.wiring import health_answer
from services.integrations.kafka.publisher import KafkaEventPublisher
from services.ports.outbox import OutboxMessage
from services.process.process_names import metrics_port
from services.settings import Settings, load
from services.stores.route_files import RouteFiles
from tests.brokers import APACHE, KINDS, ApacheKafka, running_broker
from tests.fakes.vllm_server import FakeVllm
from tests.learning import NOON
from tests.opened import create_topics, learn_ledger, traffic_store
from tests.ports import free_metrics_port, free_port
from tests.told_flows import journalled, told, until

ROOT = Path(__file__).resolve().parents[2]
ROUTER = WorkloadId("router")
PROCESSES = ("gateway", "api", "traffic_windower", "correction_desk")
HEAD = {"Authorization": "Bearer secret"}

pytestmark = pytest.mark.broker


class Daemon:
    """The four processes that use the broker, before a stub of the model server."""

    def __init__(self, folder: Path, settings: Settings, broker: "Lives") -> None:
        self.settings, self.broker, self._folder = settings, broker, folder
        self.answered: list[str] = []

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


class Lives:
    """One address, and one life of a broker after the other. The embedded one comes back empty, Apache Kafka with its data."""

    def __init__(self, folder: Path, kind: str) -> None:
        self._folder, self._kind, self.port = folder, kind, free_port()
        self._apache = ApacheKafka(folder, port=self.port)
        self._life = ExitStack()

    def begin(self, settings: Settings) -> None:
        if self._kind == APACHE:
            self._apache.start()
        else:
            self._life.enter_context(running_broker(self._folder, port=self.port, killed=True))
        create_topics(settings)

    def kill(self) -> None:
        self._apache.kill()
        self._life.close()


@pytest.fixture(params=KINDS)
def daemon(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Daemon]:
    broker = Lives(tmp_path, request.param)
    (tmp_path / "token").write_text("secret\n")
    config = tmp_path / "flywheel.yaml"
    with FakeVllm(answers=lambda model, messages: "yes") as vllm, ExitStack() as stack:
        content = {
            "data_dir": str(tmp_path / "var"),
            "http": {"gateway_port": free_port(), "api_port": free_port(), "metrics_port": free_metrics_port()},
            "kafka": {"bootstrap": f"127.0.0.1:{broker.port}", "session_timeout_seconds": 2.0},
            "serving": {"url": vllm.url},
            "tokens": [{"name": "desk", "scopes": ["infer", "submit"], "token_file": str(tmp_path / "token")}],
            "workloads": {"router": {"alias": "router-alias", "corrections": {"trusted_sources": ["desk"]}}},
        }
        config.write_text(yaml.safe_dump(content))
        settings = load(config)
        stack.callback(broker.kill)
        broker.begin(settings)
        traffic_store(settings)  # makes the databases
        RouteFiles(settings.data_dir / "routes").save(Route(workload=ROUTER, alias="router-alias", version=1, champion=BASE))
        found = Daemon(tmp_path, settings, broker)
        for name in PROCESSES:
            stack.enter_context(started(name, config, tmp_path / f"{name}.log"))
        for name in PROCESSES:
            address = f"http://127.0.0.1:{metrics_port(settings, name)}"
            until(lambda address=address: health_answer(address) is None, what=found.logs)  # type: ignore[misc]
        yield found


@contextmanager
def started(name: str, config: Path, log: Path) -> Iterator[None]:
    command = [sys.executable, str(ROOT / "tests" / "hurried.py"), name, "--config", str(config)]
    with log.open("wb") as out:
        process = subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=out, env={**os.environ, "PYTHONPATH": str(ROOT)})
    try:
        yield
    finally:
        process.kill()
        process.wait()


def test_the_broker_dies_while_idle_and_then_under_traffic(daemon: Daemon) -> None:
    settings = daemon.settings
    daemon.chat()
    daemon.correct("c-1")
    until(lambda: daemon.recorded() == 1 and len(learn_ledger(settings).corrections(ROUTER)) == 1, what=daemon.logs)

    daemon.broker.kill()  # while idle
    daemon.stands("traffic_windower", "topic to record")
    daemon.stands("correction_desk", "corrections")
    assert journalled(settings, "gateway to topic") == journalled(settings, "outbox") == []  # nothing waits there
    daemon.broker.begin(settings)
    daemon.moves("traffic_windower", "topic to record")
    daemon.moves("correction_desk", "corrections")
    for _ in range(5):
        daemon.chat()
    daemon.correct("c-2")
    until(lambda: daemon.recorded() == 6 and len(learn_ledger(settings).corrections(ROUTER)) == 2, what=daemon.logs)

    over = threading.Event()
    failures: list[Exception] = []

    def ask() -> None:
        while not over.wait(0.05):
            try:
                daemon.chat()
            except (httpx.HTTPError, AssertionError) as error:
                failures.append(error)

    users = threading.Thread(target=ask, daemon=True)
    users.start()
    until(lambda: daemon.recorded() > 10, what=daemon.logs)
    daemon.broker.kill()  # under traffic
    daemon.correct("c-3")
    flows = (
        ("gateway", "gateway to topic"),
        ("api", "outbox"),
        ("traffic_windower", "topic to record"),
        ("correction_desk", "corrections"),
    )
    for process, flow in flows:
        daemon.stands(process, flow)
    daemon.broker.begin(settings)
    for process, flow in flows:
        daemon.moves(process, flow)
    over.set()
    users.join()
    assert failures == []
    until(lambda: daemon.recorded() == len(daemon.answered), what=lambda: (daemon.recorded(), len(daemon.answered), daemon.logs()))
    until(lambda: len(learn_ledger(settings).corrections(ROUTER)) == 3, what=daemon.logs)
    assert journalled(settings, "topic to record")[-2:] == ["stands", "moves"]


def test_producer_ids_that_expired_cost_no_event(tmp_path: Path) -> None:
    """Apache Kafka forgets a producer that sends nothing for a time."""
    forgets = ("producer.id.expiration.ms=300", "producer.id.expiration.check.interval.ms=100")
    kafka = ApacheKafka(tmp_path, port=free_port(), more=forgets)
    kafka.start()
    try:
        settings = Settings(data_dir=tmp_path / "var", kafka={"bootstrap": kafka.access.bootstrap})  # type: ignore[arg-type]
        create_topics(settings)
        publisher = KafkaEventPublisher(kafka.access)
        for number in range(3):
            waiting = {f"e{number}-{place}" for place in range(5)}
            for name in waiting:
                publisher.send(OutboxMessage(id=name, topic=settings.kafka.topics.traffic, key="k", value=b"{}", created_at=NOON))
            assert publisher.flush() == waiting
            time.sleep(1.0)  # not a wait for anything: the broker forgets the producer meanwhile
        publisher.close()
    finally:
        kafka.kill()
