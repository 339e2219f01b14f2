"""One upstream attempt, and the traffic event that describes it.

In: the request and the reply. Out: the event's ``data``, redacted and under 1 MB. Does not send it.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

from flywheel.errors import InvalidInput
from flywheel.ids import AdapterName, Person, RequestId, WorkloadId, digest_of
from flywheel.traffic.attempt_outcome import AttemptOutcome, outcome_of
from flywheel.traffic.exchange import CUT, Exchange, exchange_from_wire
from flywheel.traffic.inference import Arm
from flywheel.traffic.message import Json
from flywheel.traffic.names import names_of
from flywheel.traffic.redaction import CUT_MARK, Redact, is_made_by_machine, unsearched_paths
from services.gateway.cut_to_size import MOST_PATHS, redacted_to_size
from services.ports.redaction import Redactor

LARGEST_DATA_BYTES = 1_000_000
"""Of request and answer: Kafka's usual limit of 1 MiB an event, less everything else in it."""
LONGEST_MS = 86_400_000.0  # the schema's: a day
_PLAIN_PATH = re.compile(r"(?:request|response)(?:\.[A-Za-z_]+|\[\d+\])*")
"""Other paths hold keys that a user wrote."""


@dataclass(frozen=True, kw_only=True)
class Reply:
    """How one upstream request ended."""

    response: Mapping[str, Any] | None  # a ChatCompletion; None when the attempt failed
    status: int  # HTTP status; 0: no answer came
    error: str | None
    latency_ms: float
    ended: bool = True  # the answer is whole
    client_closed: bool = False  # the client closed the connection
    left_out: tuple[str, ...] = ()  # paths of what was not kept of the response

    @property
    def outcome(self) -> AttemptOutcome:
        return outcome_of(self.status, ended=self.ended, client_closed=self.client_closed)


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
    client_request_id: str = ""  # the id that the client gave its request

    @property
    def event_id(self) -> str:
        """One per attempt; a shadow attempt has its own."""
        return f"{self.request_id}-shadow" if self.arm is Arm.SHADOW else f"{self.request_id}-{self.number}"


def event_data(attempt: UpstreamAttempt, *, redactor: Redactor) -> dict[str, Any]:
    """The event's data. Raises InvalidInput, with the path, for a request whose messages cannot be read.

    Media become references first, so that nobody searches megabytes of base64 for personal data. What could not be searched is left out.
    """
    reply = attempt.reply
    exchange = _exchange(attempt.body, reply)
    names = names_of(exchange.prompt)
    search: Redact = partial(redactor.redact, names=names) if names else redactor.redact
    request, response, cut = _redacted(exchange, search)

    def clean(text: str) -> str:
        return search(text)[0]

    left_out = [(path if _PLAIN_PATH.fullmatch(path) else clean(path))[:200] for path in dict.fromkeys((*exchange.left_out, *cut))]
    return {
        "request_id": attempt.request_id,
        **({"client_request_id": _client_id(attempt.client_request_id, clean)} if attempt.client_request_id else {}),
        "workload_id": attempt.workload,
        "client_id": attempt.client[:200],
        "timestamp": attempt.arrived_at.astimezone(UTC).isoformat(),
        "session_id": _short(attempt.session if attempt.session == attempt.request_id else clean(attempt.session)),
        "adapter": attempt.adapter,
        "arm": attempt.arm.value,
        "route_version": attempt.route_version,
        "attempt": attempt.number,
        "request": request,
        **({"added": list(attempt.added)} if attempt.added else {}),
        "response": response,
        **({"left_out": left_out if len(left_out) <= 2 * MOST_PATHS else list(CUT)} if left_out else {}),
        "status": reply.status,
        "ended": reply.ended,
        "outcome": reply.outcome.value,
        "error": clean(reply.error)[:2000] if reply.error is not None else None,
        "latency_ms": round(min(reply.latency_ms, LONGEST_MS), 3),
        "dimensions": {clean(name)[:100]: clean(value)[:200] for name, value in attempt.dimensions.items()},
        "redacted": True,
    }


def _redacted(exchange: Exchange, search: Redact) -> tuple[Json, Json, tuple[str, ...]]:
    """Request and answer with pseudonyms, and the paths of what is missing."""
    unsearched = False

    def redact(text: str) -> tuple[str, int]:
        nonlocal unsearched
        clean, found = search(text)
        unsearched = unsearched or (found > 0 and CUT_MARK in clean)
        return clean, found

    request, response, cut = redacted_to_size(
        exchange.prompt.to_wire(), exchange.response_to_wire(), redact=redact, most_bytes=LARGEST_DATA_BYTES
    )
    if unsearched:
        cut = (*cut, *unsearched_paths(request, "request"), *unsearched_paths(response, "response"))
    return request, response, cut


def _exchange(body: Mapping[str, Any], reply: Reply) -> Exchange:
    """An answer that is nested too deeply is left out: the request is recorded all the same."""
    try:
        return exchange_from_wire(body, reply.response, where="$", left_out=reply.left_out)
    except InvalidInput:
        return exchange_from_wire(body, None, where="$", left_out=(*reply.left_out, "response"))


def _client_id(sent: str, clean: Callable[[str], str]) -> str:
    """Ids that a machine makes stay as they are: a correction names them. Whatever else clients send is redacted."""
    return (sent if is_made_by_machine(sent) else clean(sent))[:200]


def _short(session: str) -> str:
    """At most the schema's 200 characters; a longer session becomes its digest."""
    return session if len(session) <= 200 else digest_of(session)
