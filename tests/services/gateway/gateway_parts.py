"""Parts that the gateway's tests share: a redactor without Presidio, attempts, a publisher and an api in memory."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from flywheel.ids import AdapterName, Person, RequestId, WorkloadId
from flywheel.traffic.inference import Arm
from flywheel.traffic.redaction import Finding, pseudonymise
from services.gateway.attempt import Attempt
from services.ports.events import NotPublished
from services.ports.outbox import OutboxMessage

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
MAIL = re.compile(r"\b\w{1,40}@\w{1,40}\.[a-z]{2,10}")


class MailRedactor:
    """Finds e-mail addresses, as a real one would."""

    def redact(self, text: str) -> tuple[str, int]:
        found = [Finding(start=match.start(), end=match.end(), kind="EMAIL_ADDRESS") for match in MAIL.finditer(text)]
        return pseudonymise(text, found, b"key")


class Broker:
    """Takes messages while it is up."""

    def __init__(self) -> None:
        self.up = True
        self.messages: list[OutboxMessage] = []
        self._sent: list[OutboxMessage] = []

    def send(self, message: OutboxMessage) -> None:
        if not self.up:
            raise NotPublished("the broker is down", remedy="Start it.")
        self._sent.append(message)

    def flush(self) -> frozenset[str]:
        arrived, self._sent = self._sent, []
        self.messages += arrived
        return frozenset(message.id for message in arrived)

    def close(self) -> None:
        pass


class RecordedSet:
    """The api's answer: the ids put in here are recorded."""

    def __init__(self) -> None:
        self.ids: set[str] = set()

    def recorded(self, ids: Sequence[str]) -> frozenset[str]:
        return frozenset(self.ids.intersection(ids))


def attempt(**changes: Any) -> Attempt:
    fields: dict[str, Any] = {
        "request_id": RequestId("r1"),
        "number": 1,
        "workload": WorkloadId("router"),
        "adapter": AdapterName("base"),
        "arm": Arm.CHAMPION,
        "session": "s1",
        "client": Person("app"),
        "arrived_at": NOW,
        "route_version": 3,
        "dimensions": {"tenant": "acme"},
        "body": {"model": "router", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 8},
        "response": completion("hi"),
        "status": 200,
        "error": None,
        "latency_ms": 12.5,
    }
    return Attempt(**{**fields, **changes})


def completion(text: str | None) -> dict[str, Any]:
    message = {"role": "assistant", "content": text}
    return {
        "id": "chatcmpl-4155550134",
        "object": "chat.completion",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
    }
