"""The parts of the gateway process.

In: the settings. Out: tokens, routes and their sources, redactor, spool, publisher. Nothing here waits for another process:
the gateway serves while all of them are down.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from flywheel.ids import WorkloadId
from flywheel.rollout.release import Route
from services.adapters.capture_spool import CaptureSpool, SpooledEvent
from services.adapters.event_codec import TRAFFIC_TYPE, encode
from services.adapters.recorded_ids import RecordedIds
from services.adapters.route_source import ApiRoutes, RouteFiles, TopicRoutes, from_wire, to_wire
from services.adapters.tokens import Tokens, internal_key
from services.ports.events import EventPublisher
from services.settings import Settings
from services.wiring.events import access, publisher
from services.wiring.redaction import lazy_redactor
from services.wiring.tokens import secret_from, tokens

if TYPE_CHECKING:  # at run time it brings datasketch and scipy: 2 s at each start of a process that needs neither
    from services.ports.learn import Redactor

__all__ = ["CaptureSpool", "GatewayParts", "SpooledEvent", "gateway_parts", "to_wire"]
SOURCE = "flywheel/gateway"


@dataclass(frozen=True, kw_only=True)
class GatewayParts:
    """Everything the gateway touches."""

    aliases: Mapping[str, WorkloadId]
    tokens: Tokens
    route_files: RouteFiles
    route_api: ApiRoutes
    route_topic: TopicRoutes
    read_route: Callable[[object], Route]
    redactor: "Redactor"
    spool: CaptureSpool
    publisher: EventPublisher
    recorded_ids: RecordedIds
    encode: Callable[..., bytes]  # id, workload, time, data, partitionkey
    traffic_topic: str
    upstream_url: str
    upstream_key: str | None


def gateway_parts(settings: Settings) -> GatewayParts:
    """Raises InvalidSettings and CannotRun; opens no connection."""
    key = internal_key(settings.data_dir)
    api_url = f"http://{settings.http.host}:{settings.http.api_port}"
    serving_key = settings.serving.key_file
    return GatewayParts(
        aliases={workload.alias: WorkloadId(name) for name, workload in settings.workloads.items()},
        tokens=tokens(settings),
        route_files=RouteFiles(settings.data_dir / "routes"),
        route_api=ApiRoutes(api_url=api_url, key=key),
        route_topic=TopicRoutes(access=access(settings), topic=settings.kafka.topics.releases),
        read_route=from_wire,
        redactor=lazy_redactor(settings),
        spool=CaptureSpool(_spool_file(settings)),
        publisher=publisher(settings),
        recorded_ids=RecordedIds(api_url=api_url, key=key),
        encode=_traffic_event,
        traffic_topic=settings.kafka.topics.traffic,
        upstream_url=settings.serving_url.rstrip("/"),
        upstream_key=secret_from(serving_key, where="serving.key_file") if serving_key is not None else None,
    )


def _spool_file(settings: Settings) -> Path:
    return settings.data_dir / "spool" / "gateway.db"


def _traffic_event(*, id: str, workload: str, time: datetime, data: Mapping[str, object], partitionkey: str) -> bytes:
    return encode(type=TRAFFIC_TYPE, id=id, workload=workload, time=time, data=data, partitionkey=partitionkey, source=SOURCE)
