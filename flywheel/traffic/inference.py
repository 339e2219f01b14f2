"""One production request and its answer, with the adapter that gave it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from flywheel.ids import AdapterName, EventId, RequestId, WorkloadId
from flywheel.traffic.attempt_outcome import AttemptOutcome
from flywheel.traffic.exchange import Exchange


class Arm(StrEnum):
    """Which arm of a release answered."""

    CHAMPION = "champion"
    CANARY = "canary"
    SHADOW = "shadow"  # not shown to users, not counted
    HOLDOUT = "hold_back"  # the value of stored rows and of the wire


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """How one attempt upstream ended."""

    number: int = 1  # 2: the retry of a failed canary attempt on the champion
    status: int  # of HTTP; 0: no answer came
    outcome: AttemptOutcome
    error: str | None
    latency_ms: float


@dataclass(frozen=True, kw_only=True)
class Inference:
    """One attempt upstream: a failed canary attempt that was retried on the champion is two."""

    event_id: EventId
    request_id: RequestId  # as the client got it; corrections refer to it
    workload: WorkloadId
    adapter: AdapterName
    arm: Arm
    session: str
    client: str  # the token's name
    occurred_at: datetime  # timezone-aware; when the request arrived at the gateway
    exchange: Exchange  # without an answer when the attempt failed
    attempt: Attempt
    dimensions: Mapping[str, str] = field(default_factory=dict)  # declared slice dimensions, e.g. {"tenant": "acme"}
    route_version: int = 0
    redacted: bool = False  # the producer has replaced personal data already
    client_request_id: str = ""  # the id that the client gave its request; need not be unique
