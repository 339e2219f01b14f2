"""An event that can never be a correction: what goes to the dead-letter topic, and its line in the journal.

In: the raw event, its place, the error. Out: bytes and a JournalEntry. Both follow from the record alone, so that a record read
twice leaves one line.
"""

import base64
import json
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from flywheel.errors import InvalidInput
from flywheel.ids import WorkloadId, derive
from flywheel.journal import JournalEntry, JournalKind


@dataclass(frozen=True, kw_only=True)
class RecordPlace:
    """Where a record stands; ``at`` is the broker's time of it."""

    topic: str
    partition: int
    offset: int
    at: datetime


def letter(raw: bytes, *, place: RecordPlace, error: InvalidInput) -> bytes:
    """The raw bytes go along in base64: they may be no text at all."""
    return json.dumps(
        {
            "error": error.reason,
            "where": error.where,
            "topic": place.topic,
            "partition": place.partition,
            "offset": place.offset,
            "at": place.at.isoformat(),
            "attempts": 1,
            "raw_base64": base64.b64encode(raw).decode(),
        },
        sort_keys=True,
    ).encode()


def entry(*, place: RecordPlace, error: InvalidInput, workload: str, known: Collection[str]) -> JournalEntry:
    """A workload that nobody configured is what a stranger wrote, and stays out of the journal."""
    return JournalEntry(
        at=place.at,
        workload=WorkloadId(workload if workload in known else ""),
        kind=JournalKind.DEAD_LETTER,
        subject=derive("dead-letter", place.topic, place.partition, place.offset, place.at.isoformat()),
        state="dead_lettered",
        reason=error.reason,
        evidence={"topic": place.topic, "partition": place.partition, "offset": place.offset, "where": error.where},
    )
