"""The parts of the api process.

In: the settings. Out: ledgers, queues and stores behind their ports, and per workload the few rules that its routes need.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Protocol

from flywheel.ids import Person, WorkloadId
from services.adapters.event_codec import check_correction, encode
from services.adapters.ledger_record import LedgerJournal, LedgerOutbox, LedgerWorkQueue
from services.ports.events import EventPublisher
from services.ports.learn import LearnLedger, Redactor
from services.ports.record import Journal, Outbox, WorkQueue
from services.ports.release import GateLedger, Gateways, ReleaseLedger
from services.ports.traffic import TrafficReader
from services.ports.train import TrainLedger
from services.ports.watch import WatchLedger
from services.settings import Settings
from services.wiring.events import publisher
from services.wiring.learn import learn_ledger
from services.wiring.ledger import open_ledger
from services.wiring.redaction import redactor
from services.wiring.release import gateways, release_ledger
from services.wiring.tokens import tokens
from services.wiring.traffic import traffic_store
from services.wiring.train import gate_ledger, train_ledger
from services.wiring.watch import watch_ledger


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
    engine = open_ledger(settings)
    return ApiParts(
        workloads=rules(settings),
        access=tokens(settings),
        journal=LedgerJournal(engine),
        outbox=LedgerOutbox(engine),
        work=LedgerWorkQueue(engine),
        learn=learn_ledger(settings),
        watch=watch_ledger(settings),
        train=train_ledger(settings),
        gates=gate_ledger(settings),
        releases=release_ledger(settings),
        gateways=gateways(settings),
        traffic=traffic_store(settings),
        open_publisher=lambda: publisher(settings),
        open_redactor=cache(lambda: redactor(settings)),
        encode=encode,
        check_correction=check_correction,
        corrections_topic=settings.kafka.topics.corrections,
    )


def rules(settings: Settings) -> dict[WorkloadId, WorkloadRules]:
    """Per workload."""
    return {
        WorkloadId(name): WorkloadRules(
            id=WorkloadId(name),
            alias=workload.alias,
            mode=workload.mode,
            acknowledgement=timedelta(hours=workload.alerts.acknowledgement_hours),
            whole_day=timedelta(seconds=workload.watch.learning_seconds),
            pane=timedelta(seconds=workload.watch.pane_seconds),
        )
        for name, workload in settings.workloads.items()
    }
