"""The broker is killed and nothing else, while idle and under traffic: every flow that stands is told, moves again, and nothing is lost."""

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from services.integrations.kafka.publisher import KafkaEventPublisher
from services.integrations.kafka.topics import KafkaAccess, differing_topics, topic_spec
from services.ports.outbox import OutboxMessage
from services.settings import Settings
from services.settings.secrets import broker_fields
from tests.brokers import APACHE, KINDS, ApacheCluster, ApacheKafka, running_broker
from tests.four_processes import ROUTER, Daemon, running_daemon, users
from tests.learning import NOON
from tests.opened import create_topics, learn_ledger
from tests.ports import free_port
from tests.told_flows import journalled, until

DEATHS = 3 if os.environ.get("FLYWHEEL_SOAK") else 1

pytestmark = pytest.mark.broker


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
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Lives:
    return Lives(tmp_path, request.param)


@pytest.fixture
def daemon(broker: Lives, tmp_path: Path) -> Iterator[Daemon]:
    with running_daemon(tmp_path, {"bootstrap": f"127.0.0.1:{broker.port}"}, begin=broker.begin, kill=broker.kill) as found:
        yield found


def test_the_broker_dies_while_idle_and_then_under_traffic(daemon: Daemon, broker: Lives) -> None:
    settings = daemon.settings
    daemon.chat()
    daemon.correct("c-1")
    until(lambda: daemon.recorded() == 1 and len(learn_ledger(settings).corrections(ROUTER)) == 1, what=daemon.logs)

    broker.kill()  # while idle
    daemon.stands("traffic_windower", "topic to record")
    daemon.stands("correction_desk", "corrections")
    assert journalled(settings, "gateway to topic") == journalled(settings, "outbox") == []  # nothing waits there
    broker.begin(settings)
    daemon.moves("traffic_windower", "topic to record")
    daemon.moves("correction_desk", "corrections")
    for _ in range(5):
        daemon.chat()
    daemon.correct("c-2")
    until(lambda: daemon.recorded() == 6 and len(learn_ledger(settings).corrections(ROUTER)) == 2, what=daemon.logs)

    with users(daemon) as failures:
        until(lambda: daemon.recorded() > 10, what=daemon.logs)
        broker.kill()  # under traffic
        daemon.correct("c-3")
        flows = (
            ("gateway", "gateway to topic"),
            ("api", "outbox"),
            ("traffic_windower", "topic to record"),
            ("correction_desk", "corrections"),
        )
        for process, flow in flows:
            daemon.stands(process, flow)
        broker.begin(settings)
        for process, flow in flows:
            daemon.moves(process, flow)
    assert failures == []
    until(lambda: daemon.recorded() == len(daemon.answered), what=lambda: (daemon.recorded(), len(daemon.answered), daemon.logs()))
    until(lambda: len(learn_ledger(settings).corrections(ROUTER)) == 3, what=daemon.logs)
    assert journalled(settings, "topic to record")[-2:] == ["stands", "moves"]


def test_a_cluster_of_three_brokers_loses_one_after_the_other(tmp_path: Path) -> None:
    """A rolling restart by kill -9, in `make test` of one broker only; one more address in kafka.bootstrap never answers."""
    cluster = ApacheCluster(tmp_path)
    bootstrap = f"127.0.0.1:{free_port()},{cluster.bootstrap}"

    def begin(settings: Settings) -> None:
        cluster.start()
        create_topics(settings)

    with running_daemon(tmp_path, {"bootstrap": bootstrap, "replication": 3}, begin=begin, kill=cluster.kill) as daemon:
        access, names = KafkaAccess(**broker_fields(daemon.settings)), daemon.settings.kafka.topics.model_dump()
        assert differing_topics(access, names=names, spec=topic_spec(), replication=3) == ()
        with users(daemon) as failures:
            for number, broker in enumerate(cluster.brokers[:DEATHS], start=1):
                before = daemon.recorded()
                until(lambda: daemon.recorded() > before, what=daemon.logs)  # noqa: B023
                broker.kill()
                daemon.correct(f"c-{number}")
                without_it = len(daemon.answered)
                until(lambda: daemon.recorded() > without_it, what=daemon.logs)  # noqa: B023
                until(lambda: len(learn_ledger(daemon.settings).corrections(ROUTER)) == number, what=daemon.logs)  # noqa: B023
                broker.start()
        assert failures == []
        until(lambda: daemon.recorded() == len(daemon.answered), what=lambda: (daemon.recorded(), len(daemon.answered), daemon.logs()))


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
