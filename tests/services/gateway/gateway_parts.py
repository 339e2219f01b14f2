"""Parts that the gateway's tests share: a redactor without Presidio, attempts, a publisher and an api in memory."""

import dataclasses
import re
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flywheel.ids import AdapterName, Person, RequestId, WorkloadId
from flywheel.traffic.inference import Arm
from flywheel.traffic.redaction import PersonalDataSpan, pseudonymise
from services.gateway.traffic_event import Reply, UpstreamAttempt
from services.stores.sealed_log import SealedLog
from services.stores.sealing import SealingKey

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
MAIL = re.compile(r"\b\w{1,40}@\w{1,40}\.[a-z]{2,10}")


class MailRedactor:
    """Finds e-mail addresses, as a real one would."""

    def redact(self, text: str, names: tuple[str, ...] = ()) -> tuple[str, int]:
        found = [PersonalDataSpan(start=match.start(), end=match.end(), kind="EMAIL_ADDRESS") for match in MAIL.finditer(text)]
        return pseudonymise(text, found, b"key")


class RecordedSet:
    """The api's answer: the ids put in here are recorded."""

    def __init__(self) -> None:
        self.ids: set[str] = set()

    def recorded(self, ids: Sequence[str]) -> frozenset[str]:
        return frozenset(self.ids.intersection(ids))


def attempt(**changes: Any) -> UpstreamAttempt:
    """An answered request; ``changes`` name fields of UpstreamAttempt or of its Reply."""
    reply: dict[str, Any] = {"response": completion("hi"), "status": 200, "error": None, "latency_ms": 12.5}
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
        "added": (),
        "body": {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 8},
    }
    of_reply = {field.name for field in dataclasses.fields(Reply)}
    reply |= {name: value for name, value in changes.items() if name in of_reply}
    fields |= {name: value for name, value in changes.items() if name not in of_reply}
    return UpstreamAttempt(**fields, reply=Reply(**reply))


def sealed_log(folder: Path) -> SealedLog:
    return SealedLog(folder, key=SealingKey(b"of a test" * 4, file=folder / "key"))


def completion(text: str | None) -> dict[str, Any]:
    message = {"role": "assistant", "content": text}
    return {
        "id": "chatcmpl-4155550134",
        "object": "chat.completion",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
    }


def until(true: Callable[[], object], *, told: Callable[[], object] = lambda: "it did not come about", seconds: float = 60) -> None:
    """Waits for what happens in another thread or process."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, told()
        threading.Event().wait(0.02)
