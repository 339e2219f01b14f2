"""Stores, topics and tokens opened as the processes open them, from a whole Settings."""

from sqlalchemy import Engine

from flywheel.ids import WorkloadId
from services.integrations.kafka import topics
from services.integrations.kafka.publisher import KafkaEventPublisher
from services.integrations.kafka.topics import KafkaAccess, topic_spec
from services.settings import Settings
from services.settings.pane_shapes import pane_shapes
from services.settings.secrets import broker_fields, known_tokens
from services.stores import database
from services.stores.ledger.gates import LedgerGates
from services.stores.ledger.releases import LedgerReleases
from services.stores.ledger.runs import LedgerRuns
from services.stores.ledger.subject_keys import open_subject_keys
from services.stores.token_file import TokenFile
from services.stores.tokens import Tokens, internal_key, redaction_key
from tests.databases import empty_databases
from tests.ledgers import CorrectionAndTrainingLedger, DriftAndAlertLedger
from tests.traffic_stores import BothSides


def open_ledger(settings: Settings) -> Engine:
    empty_databases(settings.data_dir)
    return database.open_ledger(settings.ledger_url)


def open_traffic(settings: Settings) -> Engine:
    empty_databases(settings.data_dir)
    return database.open_traffic(settings.traffic_url)


def learn_ledger(settings: Settings) -> CorrectionAndTrainingLedger:
    return CorrectionAndTrainingLedger(open_ledger(settings))


def watch_ledger(settings: Settings) -> DriftAndAlertLedger:
    return DriftAndAlertLedger(open_ledger(settings))


def train_ledger(settings: Settings) -> LedgerRuns:
    return LedgerRuns(open_ledger(settings))


def gate_ledger(settings: Settings) -> LedgerGates:
    return LedgerGates(open_ledger(settings))


def release_ledger(settings: Settings) -> LedgerReleases:
    return LedgerReleases(open_ledger(settings), topic=settings.kafka.topics.releases)


def traffic_store(settings: Settings) -> BothSides:
    keys = open_subject_keys(open_ledger(settings), data_dir=settings.data_dir, configured=settings.sealing_key_file)
    redaction_key(settings.data_dir, in_use=False)  # as `flywheel up` makes it, before anything is recorded
    subjects = {WorkloadId(name): workload.recording.subject for name, workload in settings.workloads.items()}
    return BothSides(open_traffic(settings), shapes=pane_shapes(settings), keys=keys, subjects=subjects)


def publisher(settings: Settings) -> KafkaEventPublisher:
    return KafkaEventPublisher(KafkaAccess(**broker_fields(settings)))


def create_topics(settings: Settings) -> tuple[str, ...]:
    kafka = settings.kafka
    return topics.create_topics(
        KafkaAccess(**broker_fields(settings)), names=kafka.topics.model_dump(), spec=topic_spec(), replication=kafka.replication
    )


def tokens(settings: Settings) -> Tokens:
    return Tokens(entries=known_tokens(settings), internal=internal_key(settings.data_dir), issued=TokenFile(settings.data_dir))
