"""Apache Kafka's own rules: transactions, limits of sessions, retention, a topic made anew, credentials. Each on the real broker."""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from kafka import KafkaProducer
from kafka.admin import KafkaAdminClient
from kafka.structs import TopicPartition
from recorder_process import DEADLINE_SECONDS, SUPPORT, RecorderProcess, configured, until

from flywheel.journal import JournalKind
from services.cli.doctor import CheckLevel, examine
from services.process.machine import read_machine
from services.settings import Settings, load
from services.stores.ledger.journal import LedgerJournal
from services.traffic_windower.consume_partitions import Recorder
from services.traffic_windower.wiring import windower_parts
from tests.brokers import ApacheKafka
from tests.opened import create_topics, open_ledger, traffic_store
from tests.ports import free_port
from tests.traffic_events import traffic_event

pytestmark = pytest.mark.broker


@pytest.fixture
def kafka(tmp_path: Path) -> Iterator[ApacheKafka]:
    broker = ApacheKafka(tmp_path, port=free_port())
    broker.start()
    yield broker
    broker.kill()


@pytest.fixture
def recording(tmp_path: Path, kafka: ApacheKafka) -> Iterator[tuple[Settings, RecorderProcess, Callable[[], str]]]:
    """The recorder on the topics of a new broker."""
    config, settings = configured(tmp_path, kafka.access.bootstrap)
    create_topics(settings)
    traffic_store(settings)  # makes the databases
    process = RecorderProcess(config, tmp_path / "recorder.log")
    process.start()
    yield settings, process, lambda: (tmp_path / "recorder.log").read_text()[-3000:]
    process.kill()


def publish(settings: Settings, numbers: range, *, partition: int = 0, **options: object) -> None:
    producer = KafkaProducer(bootstrap_servers=settings.bootstrap, acks="all", **options)
    for number in numbers:
        producer.send(settings.kafka.topics.traffic, traffic_event(number), partition=partition)
    producer.flush()
    producer.close()


def test_what_an_aborted_transaction_sent_is_not_recorded(recording: tuple[Settings, RecorderProcess, Callable[[], str]]) -> None:
    settings, _, log = recording
    producer = KafkaProducer(bootstrap_servers=settings.bootstrap, acks="all", transactional_id="team")
    producer.init_transactions()
    for numbers, end in (
        (range(50), producer.commit_transaction),
        (range(50, 80), producer.abort_transaction),
        (range(80, 100), producer.commit_transaction),
    ):
        producer.begin_transaction()
        for number in numbers:
            producer.send(settings.kafka.topics.traffic, traffic_event(number), partition=0)
        producer.flush()
        end()
    publish(settings, range(100, 101))  # behind all of them: what is read in between has been judged when it arrives
    until(lambda: traffic_store(settings).counts(SUPPORT).recorded >= 71, what=log)
    assert traffic_store(settings).counts(SUPPORT).recorded == 71
    producer.close()


async def test_records_behind_an_open_transaction_are_counted_and_the_cause_is_told(kafka: ApacheKafka, tmp_path: Path) -> None:
    _, settings = configured(tmp_path, kafka.access.bootstrap)
    await asyncio.to_thread(create_topics, settings)
    producer = KafkaProducer(bootstrap_servers=settings.bootstrap, acks="all", transactional_id="team")
    await asyncio.to_thread(producer.init_transactions)
    producer.begin_transaction()
    producer.send(settings.kafka.topics.traffic, traffic_event(0), partition=0)
    await asyncio.to_thread(producer.flush)
    await asyncio.to_thread(publish, settings, range(1, 4))  # of another producer, behind it
    await asyncio.to_thread(traffic_store, settings)  # makes the databases
    parts = windower_parts(settings)
    recorder = Recorder(parts)

    async def until_waiting(records: int) -> None:
        while recorder.flow.waiting != records:
            await recorder.step()
            await recorder.count_behind()
            recorder.flow.measure()

    await recorder.start()
    try:
        await until_waiting(4)
        assert "open transaction holds back 4 records" in (recorder.flow._cause() or "")
        await asyncio.to_thread(producer.commit_transaction)
        await until_waiting(0)
        assert (traffic_store(settings).counts(SUPPORT).recorded, recorder.flow._cause()) == (4, None)
    finally:
        await parts.batches.stop()
        producer.close()


@pytest.mark.parametrize("process", ["services.traffic_windower", "services.correction_desk"])
def test_a_session_time_out_that_the_broker_refuses_is_one_sentence(tmp_path: Path, process: str) -> None:
    broker = ApacheKafka(tmp_path, port=free_port(), shortest_session_ms=6_000)
    broker.start()
    try:
        config, settings = configured(tmp_path, broker.access.bootstrap)
        create_topics(settings)
        traffic_store(settings)
        done = subprocess.run(
            [sys.executable, "-m", process, "--config", str(config)], capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=False
        )
    finally:
        broker.kill()
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert "kafka.session_timeout_seconds" in last
    assert "the broker allows 6 to 1800 s" in last
    assert "got 2.0" in last


def test_without_topics_one_sentence_names_the_command_that_makes_them(tmp_path: Path, kafka: ApacheKafka) -> None:
    config, settings = configured(tmp_path, kafka.access.bootstrap)
    traffic_store(settings)

    def run(*words: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", *words, "--config", str(config)]
        return subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=False)

    refused = run("services.traffic_windower")
    assert refused.returncode == 1, refused.stderr
    assert "the broker has no topic flywheel.traffic.v1" in refused.stderr
    assert "flywheel topics create" in refused.stderr.strip().splitlines()[-1]
    up = run("services.cli", "up")
    assert up.returncode == 1, up.stdout + up.stderr
    assert "flywheel topics create" in up.stderr
    examined = run("services.cli", "doctor", "--json")
    assert "topic flywheel.traffic.v1 is missing" in _about_broker(examined.stdout)
    made = run("services.cli", "topics", "create")
    assert made.returncode == 0, made.stderr
    assert "created flywheel.traffic.v1" in made.stdout
    assert "has all topics already" in run("services.cli", "topics", "create").stdout
    assert "has all topics" in _about_broker(run("services.cli", "doctor", "--json").stdout)
    assert settings.kafka.replication == 1


def _about_broker(report: str) -> str:
    return next(str(part["sentence"]) for part in json.loads(report)["parts"] if part["part"] == "broker")


def test_a_topic_that_was_deleted_and_made_again_is_taken_up(recording: tuple[Settings, RecorderProcess, Callable[[], str]]) -> None:
    settings, process, log = recording
    publish(settings, range(50))
    until(lambda: traffic_store(settings).counts(SUPPORT).recorded == 50, what=log)
    admin = KafkaAdminClient(bootstrap_servers=settings.bootstrap)
    admin.delete_topics([settings.kafka.topics.traffic])
    admin.close()
    deadline = time.monotonic() + DEADLINE_SECONDS
    while settings.kafka.topics.traffic not in create_topics(settings):  # deleting takes a moment
        assert time.monotonic() < deadline
        time.sleep(0.1)
    began = time.monotonic()
    publish(settings, range(50, 170))
    until(lambda: traffic_store(settings).counts(SUPPORT).recorded == 170, what=log)
    print(f"taken up after {time.monotonic() - began:.1f} s")
    assert not process.ended()


def test_records_that_retention_deleted_unread_are_told(recording: tuple[Settings, RecorderProcess, Callable[[], str]]) -> None:
    settings, process, log = recording
    publish(settings, range(40))
    until(lambda: traffic_store(settings).counts(SUPPORT).recorded == 40, what=log)
    process.kill()
    publish(settings, range(40, 100))
    admin = KafkaAdminClient(bootstrap_servers=settings.bootstrap)
    admin.delete_records({TopicPartition(settings.kafka.topics.traffic, 0): 100})
    admin.close()
    publish(settings, range(100, 110))
    process.start()
    until(lambda: traffic_store(settings).counts(SUPPORT).recorded == 50, what=log)
    (line,) = LedgerJournal(open_ledger(settings)).entries(kind=JournalKind.TRAFFIC_LOST)
    assert line.evidence["records"] == 60
    assert "retention deleted 60 records of flywheel.traffic.v1[0]" in line.reason
    (told,) = [part for part in examine(settings, read_machine()) if part.part == "records"]
    assert (told.finding, told.sentence.startswith(line.reason)) == (CheckLevel.NOTE, True)


@pytest.mark.parametrize(("sasl", "encrypted"), [("PLAIN", False), ("SCRAM-SHA-256", True)])
def test_credentials_and_encryption_serve_every_client(tmp_path: Path, sasl: str, encrypted: bool) -> None:
    """Topics by kafka-python, the recorder by aiokafka inside Faust, the correction desk by Faust itself; which reads no aborted event."""
    broker = ApacheKafka(tmp_path, port=free_port(), sasl=sasl, tls=certificate(tmp_path) if encrypted else None)
    broker.start()
    try:
        config, _ = configured(tmp_path, broker.access.bootstrap)
        content = yaml.safe_load(config.read_text())
        content["kafka"] |= {
            "security_protocol": broker.access.security_protocol,
            "sasl_mechanism": sasl,
            "sasl_username": "flywheel",
            "sasl_password_file": str(broker.password_file),
            **({"ssl_cafile": str(broker.tls)} if encrypted else {}),
        }
        config.write_text(yaml.safe_dump(content))
        settings = load(config)
        create_topics(settings)
        traffic_store(settings)
        recorder = RecorderProcess(config, tmp_path / "recorder.log")
        desk = RecorderProcess(config, tmp_path / "desk.log", process="services.correction_desk")
        recorder.start()
        desk.start()
        try:
            producer = KafkaProducer(acks="all", transactional_id="team", **broker.access.options())
            producer.init_transactions()
            producer.begin_transaction()
            producer.send(settings.kafka.topics.corrections, b"never said")
            producer.flush()
            producer.abort_transaction()
            producer.begin_transaction()
            for number in range(20):
                producer.send(settings.kafka.topics.traffic, traffic_event(number), partition=0)
            producer.send(settings.kafka.topics.corrections, b"not a correction")
            producer.commit_transaction()
            producer.close()
            until(
                lambda: traffic_store(settings).counts(SUPPORT).recorded == 20, what=lambda: (tmp_path / "recorder.log").read_text()[-3000:]
            )
            until(
                lambda: len(LedgerJournal(open_ledger(settings)).entries(kind=JournalKind.DEAD_LETTER)) == 1,
                what=lambda: (tmp_path / "desk.log").read_text()[-3000:],
            )
        finally:
            recorder.kill()
            desk.kill()
    finally:
        broker.kill()


def certificate(folder: Path) -> Path:
    """One PEM file with a key and a certificate for 127.0.0.1, signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    form = serialization.PrivateFormat.PKCS8
    private = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    file = folder / "broker.pem"
    file.write_bytes(private + signed.public_bytes(serialization.Encoding.PEM))
    return file
