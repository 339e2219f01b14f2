"""One production request and its answer, with the adapter that gave it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from flywheel.ids import AdapterName, EventId, RequestId, WorkloadId

CLIENT_CLOSED_REQUEST = 499
"""nginx's status for a client that closed the connection: nobody failed."""


class Arm(StrEnum):
    """Which arm of a release answered."""

    CHAMPION = "champion"
    CANARY = "canary"
    SHADOW = "shadow"  # not shown to users, not counted
    HOLDOUT = "hold_back"  # the value of stored rows and of the wire


@dataclass(frozen=True, kw_only=True)
class Message:
    """One chat message, as the model saw it."""

    role: str
    content: str


def text_of_content(content: object) -> str:
    """The text of a message's ``content`` on the wire: text parts joined by line breaks; images and other parts are left out."""
    if isinstance(content, list):
        return "\n".join(part["text"] for part in content if isinstance(part, dict) and isinstance(part.get("text"), str))
    return content if isinstance(content, str) else ""


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
    messages: tuple[Message, ...]
    answer: str | None  # None when the attempt failed
    finish_reason: str | None
    status: int  # HTTP status of the attempt
    error: str | None
    latency_ms: float
    prompt_tokens: int | None = None
    answer_tokens: int | None = None
    dimensions: Mapping[str, str] = field(default_factory=dict)  # declared slice dimensions, e.g. {"tenant": "acme"}
    truncated: bool = False  # the event was over 1 MB: never trained on
    route_version: int = 0
    attempt: int = 1  # 2: the retry of a failed canary attempt on the champion
    redacted: bool = False  # the producer has replaced personal data already

    @property
    def user_turns(self) -> str:
        """The user's messages, joined by line breaks."""
        return "\n".join(message.content for message in self.messages if message.role == "user")
