"""Real brokers for tests, on free ports of loopback, gone when the test ends: the embedded one, and Apache Kafka.

A test that streams runs on both (fixture ``broker``). Apache Kafka needs Java and Maven; where they are missing, or Maven gives no
packages, the test is skipped with that reason, which `make test` lists.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from deploy import deploy_dir
from services.integrations.kafka.embedded_broker import EmbeddedBroker
from services.integrations.kafka.topics import KafkaAccess, broker_answers
from services.process.parent_death import at_parent_death
from tests.ports import free_port

EMBEDDED, APACHE = "embedded", "Apache Kafka"
KINDS = (pytest.param(EMBEDDED, marks=pytest.mark.broker), pytest.param(APACHE, marks=pytest.mark.broker))
APACHE_SCRIPT = deploy_dir() / "kafka" / "apache_kafka.py"
APACHE_MISSING = 3  # the exit code of the script where it cannot have Apache Kafka
START_SECONDS = 120.0
CLUSTER_ID = "Zmx5d2hlZWwtdGVzdHMtMQ"


@contextmanager
def running_broker(tmp_path: Path, *, kind: str = EMBEDDED, port: int | None = None, killed: bool = False) -> Iterator[str]:
    """Yields the bootstrap address. With ``port`` given again, a broker that came back empty. ``killed``: it ends by signal 9."""
    if kind == APACHE:
        broker = ApacheKafka(tmp_path, port=port or free_port())
        shutil.rmtree(broker.data, ignore_errors=True)
        broker.start()
        try:
            yield broker.access.bootstrap
        finally:
            broker.kill()
        return
    embedded = EmbeddedBroker(port=port or free_port(), log_path=tmp_path / "broker.log")
    embedded.start()
    try:
        yield embedded.bootstrap
    finally:
        if killed and embedded.pid is not None:
            os.kill(embedded.pid, signal.SIGKILL)
        embedded.stop()


@dataclass
class ApacheKafka:
    """One broker, started by the script that `make kafka` runs. Its data outlives ``kill``."""

    folder: Path
    port: int
    sasl: str | None = None  # its user is "flywheel"
    tls: Path | None = None  # PEM: key and certificates; clients trust the same file
    shortest_session_ms: int = 500  # Kafka's default of 6,000 would make each test of a lost member wait so long
    more: tuple[str, ...] = ()  # settings of the broker, as "name=value"
    cluster_id: str | None = None
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def data(self) -> Path:
        return self.folder / "apache-kafka"

    @property
    def log(self) -> Path:
        return self.folder / "apache-kafka.log"

    @property
    def password_file(self) -> Path:
        return self.folder / "kafka-password"

    @property
    def access(self) -> KafkaAccess:
        return KafkaAccess(
            bootstrap=f"127.0.0.1:{self.port}",
            security_protocol=("SASL_" if self.sasl else "") + ("SSL" if self.tls else "PLAINTEXT"),
            ssl_cafile=str(self.tls) if self.tls else None,
            sasl_mechanism=self.sasl,
            sasl_username="flywheel" if self.sasl else None,
            sasl_password=self.password_file.read_text().strip() if self.sasl else None,
        )

    def start(self) -> None:
        """Returns when it answers; skips the test where this machine cannot have it."""
        self.begin()
        self.wait()

    def begin(self) -> None:
        self.folder.mkdir(exist_ok=True)
        command = [sys.executable, str(APACHE_SCRIPT), "--port", str(self.port), "--data", str(self.data)]
        command += ["--set", f"group.min.session.timeout.ms={self.shortest_session_ms}"]
        command += [word for setting in self.more for word in ("--set", setting)]
        if self.sasl:
            self.password_file.write_text("open-sesame\n")
            command += ["--sasl", self.sasl, "--password-file", str(self.password_file)]
        if self.tls:
            command += ["--tls", str(self.tls)]
        if self.cluster_id:
            command += ["--cluster-id", self.cluster_id]
        with self.log.open("wb") as out:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, preexec_fn=at_parent_death(signal.SIGKILL)
            )

    def wait(self) -> None:
        """For its answer."""
        assert self.process is not None, "begin() comes before"
        deadline = time.monotonic() + START_SECONDS
        why: str | None = "not asked yet"
        while why is not None:
            if self.process.poll() == APACHE_MISSING:
                pytest.skip(f"Apache Kafka: {self.log.read_text().strip()[-300:]}")
            assert self.process.poll() is None, self.log.read_text()[-3000:]
            assert time.monotonic() < deadline, f"{why}; {self.log.read_text()[-3000:]}"
            time.sleep(0.1)
            why = broker_answers(self.access) if _open(self.port) else "the port is closed"

    def kill(self) -> None:
        """-9. Safe to repeat."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()


class ApacheCluster:
    """Three brokers of Apache Kafka. Topics with three copies outlive the death of one: two copies suffice for an acknowledgement."""

    def __init__(self, folder: Path) -> None:
        ports = [[free_port() for _ in range(3)] for _ in range(3)]
        voters = ",".join(f"{node}@127.0.0.1:{controller}" for node, (_, _, controller) in enumerate(ports, start=1))
        self.brokers = [
            ApacheKafka(folder / f"broker-{node}", port=own[0], cluster_id=CLUSTER_ID, more=_of_a_cluster(node, voters, *own))
            for node, own in enumerate(ports, start=1)
        ]

    @property
    def bootstrap(self) -> str:
        return ",".join(broker.access.bootstrap for broker in self.brokers)

    def start(self) -> None:
        for broker in self.brokers:
            broker.begin()
        for broker in self.brokers:
            broker.wait()

    def kill(self) -> None:
        for broker in self.brokers:
            broker.kill()


def _of_a_cluster(node: int, voters: str, clients: int, inside: int, controller: int) -> tuple[str, ...]:
    """A dead broker is seen after 2 seconds."""
    return (
        f"node.id={node}",
        f"controller.quorum.voters={voters}",
        f"listeners=CLIENTS://127.0.0.1:{clients},INSIDE://127.0.0.1:{inside},CONTROLLER://127.0.0.1:{controller}",
        f"advertised.listeners=CLIENTS://127.0.0.1:{clients},INSIDE://127.0.0.1:{inside}",
        "offsets.topic.replication.factor=3",
        "transaction.state.log.replication.factor=3",
        "transaction.state.log.min.isr=2",
        "min.insync.replicas=2",
        "broker.session.timeout.ms=2000",
        "broker.heartbeat.interval.ms=300",
    )


def _open(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
