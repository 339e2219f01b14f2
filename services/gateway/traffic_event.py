"""One upstream attempt, and the traffic event that describes it.

In: the request and the reply. Out: the event's ``data``, redacted and under 1 MB. Does not send it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from flywheel.ids import AdapterName, Person, RequestId, WorkloadId, digest_of
from flywheel.traffic.inference import Arm
from flywheel.traffic.redaction import redacted_json
from services.ports.redaction import Redactor

LARGEST_DATA_BYTES = 1_000_000
"""Kafka's usual limit of 1 MiB an event, less the envelope."""
CUT_REQUEST_BYTES, CUT_ANSWER_BYTES = 110_000, 40_000
"""What is kept of an event that is too large. JSON may write one byte as six, so the sum stays under the limit for any text."""


@dataclass(frozen=True, kw_only=True)
class Reply:
    """How one upstream request ended."""

    response: Mapping[str, Any] | None  # a ChatCompletion; None when the attempt failed
    status: int  # HTTP status; 0: no answer came
    error: str | None
    latency_ms: float


@dataclass(frozen=True, kw_only=True)
class UpstreamAttempt:
    """One request to one adapter, with its reply."""

    request_id: RequestId
    number: int  # 2: the champion, after a failed canary attempt
    workload: WorkloadId
    adapter: AdapterName
    arm: Arm
    session: str
    client: Person
    arrived_at: datetime
    route_version: int
    dimensions: Mapping[str, str]
    body: Mapping[str, Any]  # as the model got it, without ``model``
    added: tuple[str, ...]  # paths of ``body`` that the gateway put in
    reply: Reply

    @property
    def event_id(self) -> str:
        """One per attempt; a shadow attempt has its own."""
        return f"{self.request_id}-shadow" if self.arm is Arm.SHADOW else f"{self.request_id}-{self.number}"


def can_be_captured(body: Mapping[str, Any]) -> bool:
    """Whether the recorder could read it. vLLM refuses a request without proper messages, and it teaches nothing."""
    messages = body.get("messages")
    return (
        isinstance(messages, list)
        and bool(messages)
        and all(
            isinstance(message, dict) and isinstance(message.get("role"), str) and isinstance(message.get("content"), str | list | None)
            for message in messages
        )
    )


def event_data(attempt: UpstreamAttempt, *, redactor: Redactor) -> dict[str, Any]:
    """The event's data. Redacted first, then measured: pseudonyms change the length."""
    reply = attempt.reply
    data: dict[str, Any] = {
        "request_id": attempt.request_id,
        "workload_id": attempt.workload,
        "client_id": attempt.client[:200],
        "timestamp": attempt.arrived_at.astimezone(UTC).isoformat(),
        "session_id": _short(redactor.redact(attempt.session)[0]),
        "adapter": attempt.adapter,
        "arm": attempt.arm.value,
        "route_version": attempt.route_version,
        "attempt": attempt.number,
        "request": redacted_json(attempt.body, redactor.redact),
        "response": redacted_json(reply.response, redactor.redact),
        "status": reply.status,
        "error": redactor.redact(reply.error)[0][:2000] if reply.error is not None else None,
        "latency_ms": round(reply.latency_ms, 3),
        "dimensions": {name: redactor.redact(value)[0][:200] for name, value in attempt.dimensions.items()},
        "redacted": True,
        "truncated": False,
    }
    return data if len(orjson.dumps(data)) <= LARGEST_DATA_BYTES else _cut(data)


def _cut(data: dict[str, Any]) -> dict[str, Any]:
    """The last messages and the beginning of the answer, with ``truncated`` set: such a row is counted and never trains."""
    left, messages = CUT_REQUEST_BYTES, []
    for message in reversed(data["request"]["messages"]):
        text = _head_of(text_of_content(message.get("content")), left)
        messages.append({"role": message["role"][:40], "content": text})
        left -= len(text.encode()) + 100  # the role and the punctuation
        if left <= 0:
            break
    response = data["response"]
    choices = response.get("choices") if response is not None else None
    if isinstance(choices, list) and choices and isinstance(choices[0], dict):
        answer = choices[0].get("message")
        text = _head_of(text_of_content(answer.get("content")) if isinstance(answer, dict) else "", CUT_ANSWER_BYTES)
        kept = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": choices[0].get("finish_reason")}
        response = {"object": "chat.completion", "choices": [kept]}
    elif response is not None:
        response = {"object": "chat.completion", "choices": []}
    return {**data, "request": {"messages": messages[::-1]}, "response": response, "truncated": True}


def text_of_content(content: object) -> str:
    """The text of a message's ``content`` on the wire: text parts joined by line breaks; images and other parts are left out."""
    if isinstance(content, list):
        return "\n".join(part["text"] for part in content if isinstance(part, dict) and isinstance(part.get("text"), str))
    return content if isinstance(content, str) else ""


def _head_of(text: str, most_bytes: int) -> str:
    return text[: max(most_bytes, 0)].encode("utf-8", "replace")[: max(most_bytes, 0)].decode("utf-8", "ignore")


def _short(session: str) -> str:
    """At most the schema's 200 characters; a longer session becomes its digest."""
    return session if len(session) <= 200 else digest_of(session)
