"""Dead letters of the corrections topic: the letter that is kept, the notice on the dead-letter topic, the journal line.

In: the raw event, its position, the error. Out: a DeadLetter, bytes and a JournalEntry. All follow from the record alone, so a record read
twice leaves one letter and one line. Only the kept letter has the event's bytes, sealed.
"""

import json
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from flywheel.errors import InvalidInput
from flywheel.ids import WorkloadId
from flywheel.journal import JournalEntry, JournalKind
from flywheel.traffic.dead_letter import LetterCause, letter_id
from services.ports.dead_letters import DeadLetter


@dataclass(frozen=True, kw_only=True)
class RecordPosition:
    """A record of a topic; ``time`` is the broker's."""

    topic: str
    partition: int
    offset: int
    time: datetime


def dead_letter_of(raw: bytes, *, at: RecordPosition, error: InvalidInput, claimed: tuple[str, str], known: Collection[str]) -> DeadLetter:
    """``claimed``: event id and workload as far as they could be read. A workload that is not configured is unchecked text and left out."""
    event_id, workload = claimed
    return DeadLetter(
        id=letter_id(at.topic, raw),
        topic=at.topic,
        partition=at.partition,
        offset=at.offset,
        at=at.time,
        cause=getattr(error, "cause", LetterCause.UNREADABLE),
        reason=error.reason,
        path=error.where,
        size=len(raw),
        event_id=event_id,
        workload=workload if workload in known else "",
    )


def letter_notice(letter: DeadLetter) -> bytes:
    """JSON for the dead-letter topic: which event failed, where and why. Its bytes are not in it."""
    return json.dumps(
        {
            "letter": letter.id,
            "cause": letter.cause.value,
            "error": letter.reason,
            "where": letter.path,
            "topic": letter.topic,
            "partition": letter.partition,
            "offset": letter.offset,
            "at": letter.at.isoformat(),
            "workload": letter.workload,
            "bytes": letter.size,
        },
        sort_keys=True,
    ).encode()


def dead_letter_entry(letter: DeadLetter) -> JournalEntry:
    """The journal line."""
    return JournalEntry(
        at=letter.at,
        workload=WorkloadId(letter.workload),
        kind=JournalKind.DEAD_LETTER,
        subject=letter.id,
        state="dead_lettered",
        reason=letter.reason,
        evidence={"topic": letter.topic, "partition": letter.partition, "offset": letter.offset, "where": letter.path},
    )
