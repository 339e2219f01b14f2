"""Opens the parts of the api process.

In: the settings. Out: ledger, traffic store and queues behind their ports; by workload, the few rules that its routes need.
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
from services.integrations.presidio.redactor import PresidioRedactor
from services.ports.alerts import AlertLedger
from services.ports.cloud_events import encode
from services.ports.corrections import CorrectionLedger
from services.ports.dead_letters import DeadLetters
from services.ports.drift import DriftLedger
from services.ports.events import EventPublisher
from services.ports.gate import GateLedger
from services.ports.journal import Journal
from services.ports.outbox import Outbox
from services.ports.redaction import Redactor
from services.ports.regression_suite import SuiteLedger
from services.ports.retraining import RunLedger
from services.ports.rollout import Gateways, ReleaseLedger
from services.ports.tokens import IssuedTokens
from services.ports.traffic import TrafficReader
from services.ports.training_set import TrainingSetLedger
from services.ports.work_queue import WorkQueue
from services.process.process_names import gateway_urls
from services.process.refused_attempts import RefusedAttempts
from services.process.request_limits import RequestLimiter
from services.settings import Settings, Workload
from services.settings.pane_shapes import pane_shapes
from services.settings.policies import build_policies
from services.settings.secrets import broker_fields, configured_redaction_key, known_tokens
from services.settings.sections import Scope
from services.stores.database import open_ledger, open_traffic
from services.stores.database_changes import Changes
from services.stores.ledger.alerts import LedgerAlerts
from services.stores.ledger.corrections import LedgerCorrections
from services.stores.ledger.drift import LedgerDrift
from services.stores.ledger.gates import LedgerGates
from services.stores.ledger.journal import LedgerJournal
from services.stores.ledger.outbox import LedgerOutbox
from services.stores.ledger.regression_suite import LedgerSuite
from services.stores.ledger.releases import LedgerReleases
from services.stores.ledger.runs import LedgerRuns
from services.stores.ledger.subject_keys import open_subject_keys
from services.stores.ledger.training_sets import LedgerTrainingSets
from services.stores.ledger.work_queue import LedgerWorkQueue
from services.stores.token_file import TokenFile
from services.stores.tokens import EVERY_WORKLOAD, Tokens, internal_key, redaction_key
from services.stores.traffic.dead_letters import DeadLetterStore
from services.stores.traffic.traffic_store import TrafficStore

__all__ = ["EVERY_WORKLOAD", "ApiHttp", "ApiLedger", "ApiParts", "Scope", "WorkloadRules", "api_parts", "ledger_changes", "rules"]


@dataclass(frozen=True, kw_only=True)
class WorkloadRules:
    """The rules of one workload that the routes need."""

    id: WorkloadId
    alias: str
    mode: str
    acknowledgement: timedelta
    whole_day: timedelta  # below this a reference is still learning
    pane: timedelta


class Access(Protocol):
    """Returns the person of a token. ``issued``: the tokens that people made."""

    @property
    def issued(self) -> IssuedTokens: ...

    def names(self) -> frozenset[str]:
        """Of the tokens of the settings."""

    def person(self, authorization: str | None, *, scope: str, workload: str | None = None) -> Person:
        """Raises NotAllowed."""


class EncodeEvent(Protocol):
    """Encodes an event in its envelope."""

    def __call__(self, *, type: str, id: str, workload: WorkloadId, time: datetime, data: Mapping[str, object], partitionkey: str) -> bytes:
        """Bytes for the topic."""


@dataclass(frozen=True, kw_only=True)
class ApiLedger:
    """The ledger, one port per concept."""

    journal: Journal
    outbox: Outbox
    work: WorkQueue
    corrections: CorrectionLedger
    suite: SuiteLedger
    training_sets: TrainingSetLedger
    drift: DriftLedger
    alerts: AlertLedger
    runs: RunLedger
    gates: GateLedger
    releases: ReleaseLedger


@dataclass(frozen=True, kw_only=True)
class ApiHttp:
    """What callers may use."""

    body_seconds: float  # within which a body must arrive
    limiter: RequestLimiter
    refused: RefusedAttempts


@dataclass(frozen=True, kw_only=True)
class ApiParts:
    """Everything that a route may use."""

    workloads: Mapping[WorkloadId, WorkloadRules]
    access: Access
    ledger: ApiLedger
    traffic: TrafficReader
    letters: DeadLetters
    gateways: Gateways
    open_publisher: Callable[[], EventPublisher]
    open_redactor: Callable[[], Redactor]  # at its first use: it takes seconds
    encode: EncodeEvent
    check_correction: Callable[[object], None]  # raises InvalidInput with the path
    traffic_topic: str
    corrections_topic: str
    http: ApiHttp
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)


def api_parts(settings: Settings) -> ApiParts:
    """Opens the ledger, the traffic store and everything else from the settings."""
    key = internal_key(settings.data_dir)
    subjects = open_subject_keys(open_ledger(settings.ledger_url), data_dir=settings.data_dir, configured=settings.sealing_key_file)
    traffic = open_traffic(settings.traffic_url)
    redaction_secret = redaction_key(settings.data_dir, configured=configured_redaction_key(settings), in_use=subjects.in_use())
    return ApiParts(
        workloads=rules(settings),
        access=Tokens(entries=known_tokens(settings), internal=key, issued=TokenFile(settings.data_dir)),
        ledger=_ledger(settings),
        traffic=TrafficStore(traffic, shapes=pane_shapes(settings), keys=subjects),
        letters=DeadLetterStore(traffic, key=subjects.sealing),
        gateways=GatewayAdmin(urls=gateway_urls(settings), key=key),
        open_publisher=lambda: KafkaEventPublisher(KafkaAccess(**broker_fields(settings))),
        open_redactor=cache(lambda: PresidioRedactor(key=redaction_secret, **settings.redaction.model_dump())),
        encode=encode,
        check_correction=check_correction,
        traffic_topic=settings.kafka.topics.traffic,
        corrections_topic=settings.kafka.topics.corrections,
        http=ApiHttp(
            body_seconds=settings.http.body_seconds,
            limiter=RequestLimiter(tokens={token.name: token.limits for token in settings.tokens}, workloads={}),
            refused=RefusedAttempts("api", journal=lambda: LedgerJournal(open_ledger(settings.ledger_url))),
        ),
    )


def _ledger(settings: Settings) -> ApiLedger:
    engine, topics = open_ledger(settings.ledger_url), settings.kafka.topics
    return ApiLedger(
        journal=LedgerJournal(engine),
        outbox=LedgerOutbox(engine),
        work=LedgerWorkQueue(engine),
        corrections=LedgerCorrections(engine),
        suite=LedgerSuite(engine),
        training_sets=LedgerTrainingSets(engine),
        drift=LedgerDrift(engine, topic=topics.drift),
        alerts=LedgerAlerts(engine, topic=topics.alerts),
        runs=LedgerRuns(engine),
        gates=LedgerGates(engine),
        releases=LedgerReleases(engine, topic=topics.releases),
    )


def rules(settings: Settings) -> dict[WorkloadId, WorkloadRules]:
    """The rules of each workload."""
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


def ledger_changes(settings: Settings) -> Changes:
    """Signals changes of the ledger, which wake the relay."""
    return Changes(settings.ledger_url)
