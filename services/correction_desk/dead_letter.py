"""Dead letters: what the dead-letter topic gets of an event that can never be a correction, and its journal line.

In: the raw event, its position, the error. Out: bytes and a JournalEntry. Both follow from the record alone, so a record read twice
leaves one line. The line's subject follows from the event's bytes, so that whoever has sent them finds it.
"""

import base64
import json
import zlib
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from flywheel.errors import InvalidInput
from flywheel.ids import WorkloadId
from flywheel.journal import JournalEntry, JournalKind
from services.correction_desk.attempt_twice import ATTEMPTS, NotDecidable
from services.ports.corrections import dead_letter_subject

RAW_BYTES = 600_000  # as base64 and with the rest of a letter under a broker's usual limit of 1 MB


@dataclass(frozen=True, kw_only=True)
class RecordPosition:
    """A record of a topic; ``time`` is the broker's."""

    topic: str
    partition: int
    offset: int
    time: datetime


def dead_letter_value(raw: bytes, *, at: RecordPosition, error: InvalidInput) -> bytes:
    """JSON with the raw bytes in base64, because they may be no text.

    Over RAW_BYTES they are compressed, so that the letter stays under the broker's limit; if that does not help, only their beginning
    is kept.
    """
    kept = {"raw_base64": raw}
    if len(raw) > RAW_BYTES:
        compressed = zlib.compress(raw)
        kept = {"raw_zlib_base64": compressed} if len(compressed) <= RAW_BYTES else {"raw_beginning_base64": raw[:RAW_BYTES]}
    return json.dumps(
        {
            "error": error.reason,
            "where": error.where,
            "topic": at.topic,
            "partition": at.partition,
            "offset": at.offset,
            "at": at.time.isoformat(),
            "attempts": ATTEMPTS if isinstance(error, NotDecidable) else 1,
            "raw_bytes": len(raw),
            **{name: base64.b64encode(held).decode() for name, held in kept.items()},
        },
        sort_keys=True,
    ).encode()


def dead_letter_entry(raw: bytes, *, at: RecordPosition, error: InvalidInput, workload: str, known: Collection[str]) -> JournalEntry:
    """The journal line. The journal never contains a workload's name that is not configured: it is unchecked text."""
    return JournalEntry(
        at=at.time,
        workload=WorkloadId(workload if workload in known else ""),
        kind=JournalKind.DEAD_LETTER,
        subject=dead_letter_subject(raw),
        state="dead_lettered",
        reason=error.reason,
        evidence={"topic": at.topic, "partition": at.partition, "offset": at.offset, "where": error.where},
    )
