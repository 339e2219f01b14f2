"""The parts of the gateway process.

In: the settings. Out: tokens, routes and their sources, redactor, spool, publisher. Nothing here waits for another process:
the gateway serves while all others are down. What imports a database's or a broker's library is opened after the port is open, by
``open_record`` and ``open_topic``: a gateway that crashed must answer again within a second.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from flywheel.ids import WorkloadId
from flywheel.rollout.release import Route
from services.gateway.capture_rule import CaptureRule, Fsync
from services.gateway.read_request import ServedWorkload
from services.gateway.upstream import Deadlines, Upstream
from services.integrations.api.published_routes import ApiRoutes
from services.integrations.presidio.redactor import require_presidio
from services.ports.cloud_events import GATEWAY, encode
from services.ports.events import EventPublisher
from services.ports.journal import Journal
from services.ports.redaction import Redactor
from services.ports.route_on_the_wire import from_wire, to_wire
from services.process.process_names import numbered
from services.process.request_limits import RequestLimiter
from services.process.tls import ApiTrust, api_trust
from services.settings import Settings
from services.settings.policies import request_policy
from services.settings.secrets import broker_fields, configured_redaction_key, known_tokens, serving_key
from services.settings.sections import GatewaySettings, Workload
from services.stores.disk_reserve import DiskReserve
from services.stores.route_files import RouteFiles
from services.stores.sealed_log import SealedLog, SealedPlace, take_over
from services.stores.sealing import sealing_key
from services.stores.spooled_event import SpooledEvent, SpoolUnwritable
from services.stores.token_file import TokenFile
from services.stores.tokens import Tokens, internal_key, redaction_key

if TYPE_CHECKING:
    from services.integrations.api.recorded_ids import RecordedIds
    from services.integrations.kafka.route_topic import TopicRoutes
    from services.settings.secrets import BrokerFields
    from services.stores.capture_spool import CaptureSpool

__all__ = [
    "CaptureParts",
    "CaptureSpool",
    "GatewayParts",
    "RecordParts",
    "SealedLog",
    "SealedPlace",
    "SpoolUnwritable",
    "SpooledEvent",
    "gateway_parts",
    "to_wire",
]


@dataclass(frozen=True, kw_only=True)
class HttpPolicy:
    """Which web pages may call, and which routes under /v1 are passed on."""

    cors_origins: Sequence[str]
    passed_on: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class RecordParts:
    """What brings an exchange from the sealed file to the record."""

    redactor: Redactor
    spool: "CaptureSpool"
    publisher: EventPublisher
    question: "RecordedIds"
    encode: Callable[..., bytes]  # id, workload, time, data, partitionkey
    topic: str


@dataclass(frozen=True, kw_only=True)
class CaptureParts:
    """Where an exchange is sealed before its answer leaves, and what is opened after the port."""

    sealed: SealedLog
    open_record: Callable[[], RecordParts]


@dataclass(frozen=True, kw_only=True)
class GatewayParts:
    """Everything the gateway touches."""

    workloads: Mapping[str, ServedWorkload]  # by alias
    tokens: Tokens
    limiter: RequestLimiter
    route_files: RouteFiles
    route_api: ApiRoutes
    open_topic: Callable[[], "TopicRoutes"]
    read_route: Callable[[object], Route]
    capture: CaptureParts
    upstream: Upstream
    http: HttpPolicy
    journal: Callable[[], Journal]  # opened when a flow stands; raises CannotRun where this host has no ledger


def gateway_parts(settings: Settings, *, number: int = 1) -> GatewayParts:
    """``number``: of several gateways, each with files of its own. Raises InvalidSettings and CannotRun; opens no connection."""
    key = internal_key(settings.data_dir)
    broker, tls = broker_fields(settings), api_trust(settings.http)
    return GatewayParts(
        workloads={workload.alias: _served(WorkloadId(name), workload) for name, workload in settings.workloads.items()},
        tokens=Tokens(entries=known_tokens(settings), internal=key, issued=TokenFile(settings.data_dir)),
        limiter=RequestLimiter(
            tokens={token.name: token.limits for token in settings.tokens},
            workloads={name: workload.limits for name, workload in settings.workloads.items()},
            share=settings.gateway.processes,
        ),
        route_files=RouteFiles(settings.data_dir / "routes"),
        route_api=ApiRoutes(api_url=settings.http.api_url, key=key, tls=tls),
        open_topic=lambda: _route_topic(broker, topic=settings.kafka.topics.releases),
        read_route=from_wire,
        capture=_capture_parts(settings, number=number, tls=tls, key=key, broker=broker),
        upstream=Upstream(url=settings.serving_url.rstrip("/"), key=serving_key(settings), deadlines=_deadlines(settings.gateway)),
        journal=partial(_journal, settings),
        http=HttpPolicy(cors_origins=settings.gateway.cors_origins, passed_on=settings.gateway.passed_on),
    )


def _capture_parts(settings: Settings, *, number: int, tls: ApiTrust, key: str, broker: "BrokerFields") -> CaptureParts:
    """The first gateway takes over the files of those that are no more, after ``gateway.processes`` was lowered."""
    require_presidio(settings.redaction.engine)
    spool, name = settings.data_dir / "spool", numbered("sealed", number)
    gone = _of_gone_processes(settings) if number == 1 else ()
    sealed = [spool / name, *(spool / numbered("sealed", one) for one in gone)]
    seals = sealing_key(settings.data_dir, configured=settings.sealing_key_file, in_use=any(_holds_files(folder) for folder in sealed))
    take_over(sealed[0], sealed[1:], key=seals)
    configured = configured_redaction_key(settings)
    file = spool / f"{numbered('gateway', number)}.db"
    left = [spool / f"{numbered('gateway', one)}.db" for one in gone]

    def pseudonyms_key() -> bytes:  # while it is missing, exchanges wait sealed
        return redaction_key(settings.data_dir, configured=configured, in_use=file.exists())

    return CaptureParts(
        sealed=SealedLog(sealed[0], key=seals, require_room=DiskReserve(settings.data_dir).require_half),
        open_record=lambda: _record_parts(settings, file, left, tls=tls, key=key, broker=broker, pseudonyms_key=pseudonyms_key()),
    )


def _of_gone_processes(settings: Settings) -> tuple[int, ...]:
    """The numbers above ``gateway.processes`` that have files."""
    held = {name.partition(".")[0].rpartition("-")[2] for name in _names(settings.data_dir / "spool")}
    return tuple(sorted(int(one) for one in held if one.isascii() and one.isdecimal() and int(one) > settings.gateway.processes))


def _names(folder: Path) -> Sequence[str]:
    return [entry.name for entry in folder.iterdir()] if folder.is_dir() else []


def _record_parts(
    settings: Settings, file: Path, left: Sequence[Path], *, tls: ApiTrust, key: str, broker: "BrokerFields", pseudonyms_key: bytes
) -> RecordParts:
    """Imports for a second. Raises FlywheelError, e.g. where the spool cannot be written."""
    from services.integrations.api.recorded_ids import RecordedIds
    from services.integrations.kafka.event_codec import TRAFFIC_TYPE
    from services.integrations.kafka.publisher import KafkaEventPublisher
    from services.integrations.kafka.topics import KafkaAccess
    from services.integrations.presidio.redactor import RedactorAtFirstText
    from services.stores.capture_spool import CaptureSpool

    room = DiskReserve(settings.data_dir).require_room
    spool = CaptureSpool(file, survives_power_cuts=settings.records_survive_power_cuts, require_room=room)
    for other in left:
        spool.take_over(other)
    return RecordParts(
        redactor=RedactorAtFirstText(key=pseudonyms_key, **settings.redaction.model_dump()),
        spool=spool,
        publisher=KafkaEventPublisher(KafkaAccess(**broker)),
        question=RecordedIds(api_url=settings.http.api_url, key=key, tls=tls),
        encode=partial(encode, type=TRAFFIC_TYPE, source=GATEWAY),
        topic=settings.kafka.topics.traffic,
    )


def _route_topic(broker: "BrokerFields", *, topic: str) -> "TopicRoutes":
    from services.integrations.kafka.route_topic import TopicRoutes
    from services.integrations.kafka.topics import KafkaAccess

    return TopicRoutes(access=KafkaAccess(**broker), topic=topic)


def _served(name: WorkloadId, workload: Workload) -> ServedWorkload:
    requests = workload.requests
    return ServedWorkload(
        workload=name,
        alias=workload.alias,
        requests=request_policy(requests),
        session_from=requests.session_from,
        base_without_champion=requests.without_champion == "base",
        capture=CaptureRule(waits=workload.capture.durability == "answered", fsync=Fsync(workload.capture.fsync)),
    )


def _deadlines(gateway: GatewaySettings) -> Deadlines:
    return Deadlines(
        connect=gateway.connect_seconds,
        first_byte=gateway.first_byte_seconds,
        silence=gateway.silence_seconds,
        total=gateway.total_seconds,
    )


def _journal(settings: Settings) -> Journal:
    """Imported at its first line: the gateway needs no ledger to serve, and must start fast."""
    from services.stores.database import open_ledger
    from services.stores.ledger.journal import LedgerJournal

    return LedgerJournal(open_ledger(settings.ledger_url))


def _holds_files(folder: Path) -> bool:
    return folder.is_dir() and any(folder.iterdir())
