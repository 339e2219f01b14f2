"""The correction desk's parts, from settings."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from flywheel.corrections.acceptance import AcceptancePolicy
from flywheel.corrections.correction import Correction
from flywheel.ids import WorkloadId
from flywheel.traffic.redaction import pseudonym
from services.adapters.event_codec import claimed_ids, decode_correction
from services.adapters.faust_broker import broker_credentials, broker_url
from services.adapters.knowledge_gap_events import knowledge_gap_message
from services.adapters.ledger_learn import LedgerLearn
from services.adapters.ledger_record import LedgerJournal
from services.adapters.tokens import redaction_key
from services.ports.learn import KeptCorrection, LearnLedger, Redactor
from services.ports.record import Journal, OutboxMessage
from services.ports.traffic import TrafficReader
from services.settings import Settings, Workload
from services.wiring import events
from services.wiring.ledger import open_ledger
from services.wiring.redaction import lazy_redactor
from services.wiring.tokens import secret_from
from services.wiring.traffic import traffic_store

PATIENCE = timedelta(minutes=10)  # how long a correction waits for its request: far longer than any lag of the recorder


@dataclass(frozen=True, kw_only=True)
class DeskRules:
    """What a workload's configuration says about its corrections."""

    policy: AcceptancePolicy
    entity_keys: tuple[str, ...] = ()
    slice_dimensions: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class DeskParts:
    """What the steps need."""

    ledger: LearnLedger
    traffic: TrafficReader
    redactor: Redactor
    decode: Callable[[bytes], tuple[Correction, str]]  # the correction and who submitted it
    pseudonym_of: Callable[[str], str]  # of an author's name
    knowledge_gap: Callable[[KeptCorrection, datetime], OutboxMessage]
    rules: Mapping[WorkloadId, DeskRules]
    patience: timedelta = PATIENCE


@dataclass(frozen=True, kw_only=True)
class DeskStream:
    """What the Faust app needs."""

    broker: str
    credentials: Any
    topic: str
    dead_letter_topic: str
    session_timeout_seconds: float
    scratch: str  # Faust wants a folder, though this app keeps no table
    journal: Journal
    claimed_workload: Callable[[bytes], str]
    workloads: frozenset[str]


def desk_parts(settings: Settings) -> DeskParts:
    """Ledger, traffic, redaction, rules. CannotRun when Presidio is missing: unredacted text is never stored."""
    if settings.redaction_key_file is not None:
        key = secret_from(settings.redaction_key_file, where="redaction_key_file").encode()
    else:
        key = redaction_key(settings.data_dir)
    topic = settings.kafka.topics.knowledge_gaps
    return DeskParts(
        ledger=LedgerLearn(open_ledger(settings)),
        traffic=traffic_store(settings),
        redactor=lazy_redactor(settings),
        decode=decode_correction,
        pseudonym_of=lambda name: pseudonym(name, kind="AUTHOR", key=key),
        knowledge_gap=lambda kept, now: knowledge_gap_message(kept, topic=topic, now=now),
        rules={WorkloadId(name): _rules(workload) for name, workload in settings.workloads.items()},
    )


def desk_stream(settings: Settings) -> DeskStream:
    """The topic and how to reach it."""
    access = events.access(settings)
    topic = settings.kafka.topics.corrections
    scratch = settings.data_dir / "faust" / "correction_desk"
    scratch.mkdir(parents=True, exist_ok=True)
    return DeskStream(
        broker=broker_url(access),
        credentials=broker_credentials(access),
        topic=topic,
        dead_letter_topic=topic + events.topic_spec()["dead_letters"]["suffix"],
        session_timeout_seconds=settings.kafka.session_timeout_seconds,
        scratch=str(scratch),
        journal=LedgerJournal(open_ledger(settings)),
        claimed_workload=lambda raw: claimed_ids(raw)[1],
        workloads=frozenset(settings.workloads),
    )


def _rules(workload: Workload) -> DeskRules:
    return DeskRules(
        policy=AcceptancePolicy(
            trusted_sources=frozenset(workload.corrections.trusted_sources),
            held_out_share=workload.corrections.held_out_share,
            near_duplicate=workload.corrections.near_duplicate,
        ),
        entity_keys=workload.corrections.entity_keys,
        slice_dimensions=workload.slices.dimensions,
    )
