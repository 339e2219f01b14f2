"""How the domain's values look as JSON.

In: dataclasses, enums, moments, arrays. Out: JSON values. What may be shown to whom is decided by the routes.
"""

from collections.abc import Mapping, Set
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum, IntEnum

import numpy as np

from flywheel.drift.reference import Reference
from flywheel.training_set.snapshot import Snapshot

Json = object
"""A JSON value: str, number, bool, None, list or dict of them."""


def shown(value: object) -> Json:
    """The value as JSON: field names are keys, moments are UTC text, enums their word."""
    if isinstance(value, IntEnum):
        return value.name.lower()
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, timedelta):
        return value.total_seconds()
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: shown(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): shown(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, Set):
        return sorted(str(item) for item in value)
    if isinstance(value, list | tuple):
        return [shown(item) for item in value]
    return value


def reference_shown(reference: Reference) -> dict[str, Json]:
    """Without its counts, which are thousands of numbers: rows per slice instead."""
    return {
        "id": reference.id,
        "workload": reference.workload,
        "adapter": reference.adapter,
        "start": shown(reference.start),
        "end": shown(reference.end),
        "maturity": reference.maturity.value,
        "pinned_by": reference.pinned_by,
        "pinned_at": shown(reference.pinned_at),
        "rows": {name: int(count) for name, count in reference.counts.rows.items()},
        "meta": shown(reference.meta),
    }


def snapshot_shown(snapshot: Snapshot, *, path: str | None = None, with_examples: bool = False) -> dict[str, Json]:
    """Without its examples unless asked for."""
    view: dict[str, Json] = {
        "id": snapshot.id,
        "workload": snapshot.workload,
        "cut_off": shown(snapshot.cut_off),
        "examples": len(snapshot.examples) or sum(count for name, count in snapshot.counts.items() if name in ("correction", "general")),
        "counts": shown(snapshot.counts),
        "warnings": list(snapshot.warnings),
        "audit": snapshot.audit,
    }
    if path is not None:
        view["path"] = path
    if with_examples:
        view["rows"] = shown(snapshot.examples)
    return view
