"""Opens the parts of the correction desk, from settings."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from flywheel.corrections.acceptance import AcceptancePolicy
from flywheel.corrections.correction import Correction
from flywheel.ids import WorkloadId
from flywheel.traffic.redaction import pseudonym
from services.correction_desk.knowledge_gap_events import knowledge_gap_message
from services.integrations.kafka.event_codec import claimed_ids, decode_correction
from services.integrations.kafka.faust_access import broker_credentials, broker_url, committed_only, unacknowledged
from services.integrations.kafka.topics import KafkaAccess, WaitsForBroker, topic_spec, waits_for_broker
from services.integrations.presidio.redactor import RedactorAtFirstText
from services.ports.corrections import CorrectionLedger, KeptCorrection
from services.ports.dead_letters import DeadLetters
from services.ports.journal import Journal
from services.ports.outbox import OutboxMessage
from services.ports.redaction import Redactor
from services.ports.regression_suite import SuiteLedger
from services.ports.traffic import TrafficReader
from services.settings import Settings, Workload
from services.settings.pane_shapes import pane_shapes
from services.settings.policies import build_policies
from services.settings.secrets import broker_fields, configured_redaction_key
from services.stores.database import DATABASE_FAILURES, open_ledger, open_traffic
from services.stores.ledger.corrections import LedgerCorrections
from services.stores.ledger.journal import LedgerJournal
from services.stores.ledger.regression_suite import LedgerSuite
from services.stores.ledger.subject_keys import LedgerSubjectKeys, open_subject_keys
from services.stores.tokens import redaction_key
from services.stores.traffic.dead_letters import DeadLetterStore
from services.stores.traffic.traffic_store import TrafficStore
from services.stores.work_notes import WorkNotes as WorkNotes


@dataclass(frozen=True, kw_only=True)
class CorrectionRules:
    """The correction settings of one workload."""

    policy: AcceptancePolicy
    entity_keys: tuple[str, ...] = ()
    slice_dimensions: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class CorrectionDeskParts:
    """Ledger, traffic store, redactor and rules."""

    ledger: CorrectionLedger
    suite: SuiteLedger
    traffic: TrafficReader
    redactor: Redactor
    decode: Callable[[bytes], tuple[Correction, str]]  # the correction and who submitted it
    pseudonym_of: Callable[[str], str]  # of an author's name
    knowledge_gap: Callable[[KeptCorrection, datetime], OutboxMessage]
    rules: Mapping[WorkloadId, CorrectionRules]
    of_machine: tuple[type[Exception], ...]  # failures that say nothing about the correction
    notes: WorkNotes


@dataclass(frozen=True, kw_only=True)
class CorrectionStream:
    """The connections and settings that the Faust app uses."""

    broker: str
    credentials: Any
    committed_only: Callable[[Any], Any]  # the Faust app, so that it reads committed records only
    unacknowledged: Callable[[Any], Awaitable[int]]  # records of the Faust app's partitions; raises CannotRun
    broker_is_back: WaitsForBroker
    topic: str
    dead_letter_topic: str
    session_timeout_seconds: float
    scratch: str  # Faust wants a folder, though this app keeps no table
    journal: Journal
    letters: DeadLetters
    claimed_ids: Callable[[bytes], tuple[str, str]]  # event id and workload, as far as they can be read
    workloads: frozenset[str]


def correction_desk_parts(settings: Settings) -> CorrectionDeskParts:
    """Ledger, traffic, redaction, rules. CannotRun when Presidio is missing: unredacted text is never stored."""
    topic = settings.kafka.topics.knowledge_gaps
    engine, subjects = open_ledger(settings.ledger_url), _subject_keys(settings)
    key = redaction_key(settings.data_dir, configured=configured_redaction_key(settings), in_use=subjects.in_use())
    return CorrectionDeskParts(
        ledger=LedgerCorrections(engine),
        suite=LedgerSuite(engine),
        traffic=TrafficStore(open_traffic(settings.traffic_url), shapes=pane_shapes(settings), keys=subjects),
        redactor=RedactorAtFirstText(key=key, **settings.redaction.model_dump()),
        decode=decode_correction,
        pseudonym_of=lambda name: pseudonym(name, kind="AUTHOR", key=key),
        knowledge_gap=lambda kept, now: knowledge_gap_message(kept, topic=topic, now=now),
        rules={WorkloadId(name): _rules(workload) for name, workload in settings.workloads.items()},
        of_machine=DATABASE_FAILURES,
        notes=WorkNotes(settings.data_dir / "in_work"),
    )


def _subject_keys(settings: Settings) -> LedgerSubjectKeys:
    return open_subject_keys(open_ledger(settings.ledger_url), data_dir=settings.data_dir, configured=settings.sealing_key_file)


def correction_stream(settings: Settings) -> CorrectionStream:
    """The topic and how to reach it."""
    access = KafkaAccess(**broker_fields(settings))
    topic = settings.kafka.topics.corrections
    scratch = settings.data_dir / "faust" / "correction_desk"
    scratch.mkdir(parents=True, exist_ok=True)
    return CorrectionStream(
        broker=broker_url(access),
        credentials=broker_credentials(access),
        committed_only=committed_only,
        unacknowledged=unacknowledged,
        broker_is_back=waits_for_broker(access, topics=(topic,), session_timeout_seconds=settings.kafka.session_timeout_seconds),
        topic=topic,
        dead_letter_topic=topic + topic_spec()["dead_letters"]["suffix"],
        session_timeout_seconds=settings.kafka.session_timeout_seconds,
        scratch=str(scratch),
        journal=LedgerJournal(open_ledger(settings.ledger_url)),
        letters=DeadLetterStore(open_traffic(settings.traffic_url), key=_subject_keys(settings).sealing),
        claimed_ids=claimed_ids,
        workloads=frozenset(settings.workloads),
    )


def _rules(workload: Workload) -> CorrectionRules:
    return CorrectionRules(
        policy=build_policies(workload).acceptance,
        entity_keys=workload.corrections.entity_keys,
        slice_dimensions=workload.slices.dimensions,
    )
