"""A recorded inference as a row of ``traffic.db``, and back. Its content stands in a table of its own."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import orjson
from sqlalchemy import Row, RowMapping

from flywheel.ids import AdapterName, EventId, RequestId, WorkloadId
from flywheel.traffic.attempt_outcome import AttemptOutcome, outcome_of
from flywheel.traffic.exchange import CUT, Exchange, text_exchange
from flywheel.traffic.inference import Arm, Attempt, Inference
from flywheel.windows.sample import rank
from services.ports.traffic import RecordedInference
from services.stores.database import to_moment, to_text
from services.stores.traffic.contents import ExchangeContent, without_content


def to_row(row: RecordedInference, *, recorded_at: str) -> dict[str, object]:
    """Values for every column of ``inferences``. ``recorded_at``: as ``to_text`` writes it."""
    one = row.inference
    exchange, attempt, answer = one.exchange, one.attempt, one.exchange.answer
    return {
        "event_id": one.event_id,
        "request_id": one.request_id,
        "workload": one.workload,
        "adapter": one.adapter,
        "arm": one.arm.value,
        "session": one.session,
        "client": one.client,
        "occurred_at": to_text(one.occurred_at),
        "messages": "",
        "answer": None,
        "finish_reason": answer.finish_reason if answer is not None else None,
        "status": attempt.status,
        "outcome": attempt.outcome.value,
        "error": None,
        "latency_ms": attempt.latency_ms,
        "prompt_tokens": exchange.tokens("prompt_tokens"),
        "answer_tokens": exchange.tokens("completion_tokens"),
        "dimensions": _json(one.dimensions),
        "truncated": int(bool(exchange.left_out)),
        "route_version": one.route_version,
        "attempt": attempt.number,
        "features": _json(row.features),
        "sample_rank": rank(one.event_id),
        "recorded_at": recorded_at,
        "completion_id": exchange.completion_id,
        "client_request_id": one.client_request_id,
        "answered": answer is not None,
        "stated_at": to_text(row.stated_at) if row.stated_at is not None else None,
    }


def outcome_in(row: Any) -> AttemptOutcome:
    """Rows of versions that did not tell outcomes apart have a status alone."""
    return AttemptOutcome(row.outcome) if row.outcome is not None else outcome_of(row.status)


def from_row(row: Row[tuple[object, ...]], content: ExchangeContent | None) -> RecordedInference:
    """The inverse; where it was read from is not kept with the row. ``content``: None if the row has none."""
    values = row._mapping
    held = _text(values) if values["messages"] else content or without_content("its content is no longer kept")
    return RecordedInference(
        inference=Inference(
            event_id=EventId(values["event_id"]),
            request_id=RequestId(values["request_id"]),
            workload=WorkloadId(values["workload"]),
            adapter=AdapterName(values["adapter"]),
            arm=Arm(values["arm"]),
            session=values["session"],
            client=values["client"],
            occurred_at=to_moment(values["occurred_at"]),
            exchange=_counted(held.exchange, values) if held.exchange.text_only or held.exchange.unreadable else held.exchange,
            attempt=Attempt(
                number=values["attempt"],
                status=values["status"],
                outcome=outcome_in(row),
                error=held.error,
                latency_ms=values["latency_ms"],
            ),
            dimensions=orjson.loads(values["dimensions"]),
            route_version=values["route_version"],
            redacted=True,
            client_request_id=values["client_request_id"],
        ),
        features=orjson.loads(values["features"]),
        stated_at=to_moment(values["stated_at"]) if values["stated_at"] else None,
    )


def _text(values: RowMapping) -> ExchangeContent:
    """Of a row from before contents were kept apart: roles and text alone."""
    exchange = text_exchange(orjson.loads(values["messages"]), values["answer"], finish_reason=values["finish_reason"])
    return ExchangeContent(exchange=replace(exchange, left_out=CUT if values["truncated"] else ()), error=values["error"])


def _counted(exchange: Exchange, values: RowMapping) -> Exchange:
    """With what the row itself says."""
    counts = {"prompt_tokens": values["prompt_tokens"], "completion_tokens": values["answer_tokens"]}
    usage = {name: count for name, count in counts.items() if count is not None}
    return replace(exchange, usage=usage, completion_id=values["completion_id"])


def _json(values: Mapping[str, object]) -> str:
    return orjson.dumps(dict(values), option=orjson.OPT_SORT_KEYS).decode()
