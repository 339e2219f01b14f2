"""Dead letters: what the dead-letter topic gets of an event that can never be a correction, and its journal line.

In: the raw event, its position, the error. Out: bytes and a JournalEntry. Both follow from the record alone, so a record read twice
leaves one line.
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
class RecordPosition:
    """A record of a topic; ``time`` is the broker's."""

    topic: str
    partition: int
    offset: int
    time: datetime


def dead_letter_value(raw: bytes, *, at: RecordPosition, error: InvalidInput) -> bytes:
    """JSON with the raw bytes in base64, because they may be no text."""
    return json.dumps(
        {
            "error": error.reason,
            "where": error.where,
            "topic": at.topic,
            "partition": at.partition,
            "offset": at.offset,
            "at": at.time.isoformat(),
            "attempts": 1,
            "raw_base64": base64.b64encode(raw).decode(),
        },
        sort_keys=True,
    ).encode()


def dead_letter_entry(*, at: RecordPosition, error: InvalidInput, workload: str, known: Collection[str]) -> JournalEntry:
    """The journal line. The journal never contains a workload's name that is not configured: it is unchecked text."""
    return JournalEntry(
        at=at.time,
        workload=WorkloadId(workload if workload in known else ""),
        kind=JournalKind.DEAD_LETTER,
        subject=derive("dead-letter", at.topic, at.partition, at.offset, at.time.isoformat()),
        state="dead_lettered",
        reason=error.reason,
        evidence={"topic": at.topic, "partition": at.partition, "offset": at.offset, "where": error.where},
    )
