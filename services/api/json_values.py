"""Converts values of ``flywheel`` to JSON values.

In: dataclasses, enums, times, arrays. Out: JSON values. The routes check who may read them.
"""

from collections.abc import Mapping, Set
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum, IntEnum

import numpy as np

from flywheel.alerts.alert import Alert
from flywheel.drift.reference import Reference
from flywheel.traffic.message import Message
from flywheel.training_set.snapshot import Snapshot
from services.ports.traffic import RecordedInference

Json = object
"""A JSON value: str, number, bool, None, list or dict of them."""


def json_of(value: object) -> Json:
    """Field names are keys, times are UTC text, enums their value, durations seconds, chat messages in OpenAI's form."""
    if isinstance(value, Message):
        return json_of(value.to_wire())
    if isinstance(value, IntEnum):
        return value.name.lower()
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, timedelta):
        return value.total_seconds()
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: json_of(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): json_of(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, Set):
        return sorted(str(item) for item in value)
    if isinstance(value, list | tuple):
        return [json_of(item) for item in value]
    return value


def alert_json(alert: Alert) -> dict[str, Json]:
    """Flat: what a person reads first comes first."""
    held = {field.name: json_of(getattr(alert, field.name)) for field in fields(alert) if field.name not in ("message", "seen")}
    message, seen = ({field.name: json_of(getattr(part, field.name)) for field in fields(part)} for part in (alert.message, alert.seen))
    drifted = [{"slice": series.slice, "column": series.column} for series in sorted(alert.seen.drifted)]
    return {**held, **message, "seen": {**seen, "drifted": drifted}, "labels": dict(alert.labels), "fingerprint": alert.fingerprint}


def exchange_json(row: RecordedInference) -> dict[str, Json]:
    """Who asked and who answered, then the request and the answer in OpenAI's form."""
    inference = row.inference
    exchange, attempt = inference.exchange, inference.attempt
    apart = ("exchange", "attempt", "redacted")
    about = {field.name: json_of(getattr(inference, field.name)) for field in fields(inference) if field.name not in apart}
    ended = {field.name: json_of(getattr(attempt, field.name)) for field in fields(attempt) if field.name != "number"}
    return {
        **about,
        "attempt": attempt.number,
        **ended,
        "stated_at": json_of(row.stated_at),
        "completion_id": exchange.completion_id,
        "request": exchange.prompt.to_wire(),
        "response": exchange.response_to_wire(),
        "added": list(exchange.added),
        "left_out": list(exchange.left_out),
        "text_only": exchange.text_only,
        "unreadable": exchange.unreadable,
    }


def reference_json(reference: Reference) -> dict[str, Json]:
    """With rows per slice, and what the thresholds rest on, in place of its counts and thresholds, which are thousands of numbers."""
    thresholds = reference.thresholds
    calibration = {"alarms_a_day": thresholds.alarms_a_day, "days": thresholds.days, "seed": thresholds.seed} if thresholds else None
    return {
        "id": reference.id,
        "workload": reference.workload,
        "adapter": reference.adapter,
        "start": json_of(reference.start),
        "end": json_of(reference.end),
        "maturity": reference.maturity.value,
        "pinned_by": reference.pinned_by,
        "pinned_at": json_of(reference.pinned_at),
        "rows": json_of(reference.counts.rows_by_slice),
        "covers": reference.covers.value,
        "grids": json_of(reference.grids),
        "by_hour": bool(reference.seasonal_digest),
        "calibration": calibration,
    }


def snapshot_json(snapshot: Snapshot, *, path: str | None = None, with_examples: bool = False) -> dict[str, Json]:
    """The snapshot as JSON, with its examples only on request."""
    view: dict[str, Json] = {
        "id": snapshot.id,
        "workload": snapshot.workload,
        "cut_off": json_of(snapshot.cut_off),
        "examples": len(snapshot.examples) or sum(count for name, count in snapshot.counts.items() if name in ("correction", "general")),
        "counts": json_of(snapshot.counts),
        "warnings": list(snapshot.warnings),
        "audit": snapshot.audit,
    }
    if path is not None:
        view["path"] = path
    if with_examples:
        view["rows"] = json_of(snapshot.examples)
    return view


def gate_summary(gate: object) -> dict[str, Json]:
    """A gate's verdict and reason, without its axes."""
    view = json_of(gate)
    assert isinstance(view, dict)
    decision = view.pop("decision")
    return {**view, "verdict": decision["verdict"], "reason": decision["reason"]}
