"""A snapshot: the training set of a run, immutable and content-addressed.

In: the curated examples, the cut-off. Out: the snapshot's value and its id. Writing the file is not done here.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from flywheel.ids import CorrectionId, SnapshotId, WorkloadId, digest_of
from flywheel.traffic.message import Json, message_from_wire
from flywheel.training_set.example import Example


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """``id`` is the hash of the rows in order, so the same rows are the same snapshot."""

    id: SnapshotId
    workload: WorkloadId
    cut_off: datetime  # nothing accepted later is in it
    examples: tuple[Example, ...]
    counts: Mapping[str, int] = field(default_factory=dict)  # e.g. {"correction": 150, "general": 30, "duplicates_dropped": 4}
    warnings: tuple[str, ...] = ()
    audit: str = "not signed"


def id_of(*, workload: WorkloadId, examples: Sequence[Example]) -> SnapshotId:
    """Hash of workload and rows in order."""
    return SnapshotId("snapshot-" + digest_of("\n".join([workload, *(line(example) for example in examples)]))[:16])


def line(example: Example) -> str:
    """The row in the file: one JSON object with sorted keys, without a line break."""
    row: dict[str, Json] = {
        "id": example.id,
        "messages": [message.to_wire() for message in example.messages],
        "completion": example.completion,
        "entity": example.entity,
        "source": example.source,
        "correction": example.correction,
        "rejected": example.rejected,
    }
    if example.tools:
        row["tools"] = list(example.tools)
    if example.settings:
        row["settings"] = dict(example.settings)
    return json.dumps(row, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def example_of(text: str) -> Example:
    """The inverse of ``line``."""
    row = json.loads(text)
    return Example(
        id=row["id"],
        messages=tuple(message_from_wire(message, where=f"messages[{at}]") for at, message in enumerate(row["messages"])),
        completion=row["completion"],
        entity=row["entity"],
        source=row["source"],
        correction=CorrectionId(row["correction"]) if row["correction"] is not None else None,
        rejected=row["rejected"],
        tools=tuple(row.get("tools", ())),
        settings=row.get("settings", {}),
    )
