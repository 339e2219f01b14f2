"""The parts of the api process.

In: the settings. Out: ledgers, queues and stores behind their ports, and per workload the few rules that its routes need.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Protocol

from flywheel.ids import Person, WorkloadId
from services.integrations.gateway.admin import GatewayAdmin
from services.integrations.kafka.event_codec import check_correction
from services.integrations.kafka.publisher import KafkaEventPublisher
from services.integrations.kafka.topics import KafkaAccess
from services.integrations.presidio.redaction import PresidioRedactor
from services.ports.cloud_events import encode
from services.ports.events import EventPublisher
from services.ports.learn import LearnLedger
from services.ports.record import Journal, Outbox, WorkQueue
from services.ports.redaction import Redactor
from services.ports.release import GateLedger, Gateways, ReleaseLedger
from services.ports.traffic import TrafficReader
from services.ports.train import TrainLedger
from services.ports.watch import WatchLedger
from services.settings import Settings, Workload
from services.settings.pane_shapes import pane_shapes
from services.settings.policies import build_policies
from services.settings.secrets import broker_fields, configured_redaction_key, known_tokens
from services.stores.database import open_ledger, open_traffic
from services.stores.ledger.gates import LedgerGate
from services.stores.ledger.learn import LedgerLearn
from services.stores.ledger.record import LedgerJournal, LedgerOutbox, LedgerWorkQueue
from services.stores.ledger.releases import LedgerReleases
from services.stores.ledger.runs import LedgerTrain
from services.stores.ledger.watch import LedgerWatch
from services.stores.tokens import Tokens, internal_key, redaction_key
from services.stores.traffic.record import TrafficStore


@dataclass(frozen=True, kw_only=True)
class WorkloadRules:
    """What the routes need of a workload's section."""

    id: WorkloadId
    alias: str
    mode: str
    acknowledgement: timedelta
    whole_day: timedelta  # below this a reference is still learning
    pane: timedelta


class Access(Protocol):
    """Who is behind a token."""

    def person(self, authorization: str | None, *, scope: str, workload: str | None = None) -> Person:
        """Raises NotAllowed."""


class EncodeEvent(Protocol):
    """The envelope around an event."""

    def __call__(self, *, type: str, id: str, workload: WorkloadId, time: datetime, data: Mapping[str, object], partitionkey: str) -> bytes:
        """Bytes for the topic."""


@dataclass(frozen=True, kw_only=True)
class ApiParts:
    """Everything a route may touch."""

    workloads: Mapping[WorkloadId, WorkloadRules]
    access: Access
    journal: Journal
    outbox: Outbox
    work: WorkQueue
    learn: LearnLedger
    watch: WatchLedger
    train: TrainLedger
    gates: GateLedger
    releases: ReleaseLedger
    gateways: Gateways
    traffic: TrafficReader
    open_publisher: Callable[[], EventPublisher]
    open_redactor: Callable[[], Redactor]  # when first needed: it takes seconds
    encode: EncodeEvent
    check_correction: Callable[[object], None]  # raises InvalidInput with the path
    corrections_topic: str
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)


def api_parts(settings: Settings) -> ApiParts:
    """One straight line from settings to parts."""
    key = internal_key(settings.data_dir)
    engine = open_ledger(settings.ledger_url)
    return ApiParts(
        workloads=rules(settings),
        access=Tokens(entries=known_tokens(settings), internal=key),
        journal=LedgerJournal(engine),
        outbox=LedgerOutbox(engine),
        work=LedgerWorkQueue(engine),
        learn=LedgerLearn(engine),
        watch=LedgerWatch(engine, drift_topic=settings.kafka.topics.drift, alerts_topic=settings.kafka.topics.alerts),
        train=LedgerTrain(engine),
        gates=LedgerGate(engine),
        releases=LedgerReleases(engine, topic=settings.kafka.topics.releases),
        gateways=GatewayAdmin(urls=[settings.gateway_url], key=key),
        traffic=TrafficStore(open_traffic(settings.traffic_url), shapes=pane_shapes(settings)),
        open_publisher=lambda: KafkaEventPublisher(KafkaAccess(**broker_fields(settings))),
        open_redactor=cache(lambda: PresidioRedactor(key=redaction_key(settings.data_dir, configured=configured_redaction_key(settings)))),
        encode=encode,
        check_correction=check_correction,
        corrections_topic=settings.kafka.topics.corrections,
    )


def rules(settings: Settings) -> dict[WorkloadId, WorkloadRules]:
    """By workload."""
    return {WorkloadId(name): _rules_of(WorkloadId(name), workload) for name, workload in settings.workloads.items()}


def _rules_of(name: WorkloadId, workload: Workload) -> WorkloadRules:
    policies = build_policies(workload)
    return WorkloadRules(
        id=name,
        alias=workload.alias,
        mode=workload.mode,
        acknowledgement=policies.alerts.acknowledgement,
        whole_day=policies.pinning.whole_day,
        pane=policies.windows.pane,
    )
