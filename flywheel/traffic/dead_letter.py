"""Dead letters: events that could not be recorded or decided, kept until a person retries or drops them.

In: the raw bytes, why they failed, what is kept already. Out: a letter's id, what a person can do next, and which contents are given up
for newer ones. Keeping, sealing and sending are not done here.
"""

from collections.abc import Iterable
from enum import StrEnum
from hashlib import sha256

from flywheel.ids import derive

KEPT_BYTES = 1_048_576
"""Kept of one event. The broker and our codec take no larger ones, so a longer one cannot be retried."""
KEPT_CONTENTS, KEPT_CONTENT_BYTES = 10_000, 256 * 1024**2
"""Contents kept of all letters. Beyond either bound the oldest are deleted; the letters themselves stay."""


class LetterCause(StrEnum):
    """Why an event became a dead letter. Stored; new ones may be added, none changed."""

    UNREADABLE = "unreadable"  # it is no event of its schema
    REFUSED = "refused"  # it can be read, and something outside of it stands against it: no such workload, a clock, a key
    FAILED = "failed"  # working on it raised an unexpected error twice
    DEADLY = "deadly"  # processes died, or used up their CPU time, while they had only this event in work


class LetterState(StrEnum):
    """waiting -> retried -> taken; a retried letter that fails again is waiting; dropped and expired ones have no content."""

    WAITING = "waiting"
    RETRIED = "retried"  # its bytes were sent again, and nothing has come of them yet
    TAKEN = "taken"  # its event was recorded or decided after all
    DROPPED = "dropped"
    EXPIRED = "expired"  # newer letters needed the room


WITH_CONTENT = frozenset({LetterState.WAITING, LetterState.RETRIED})


def letter_id(topic: str, raw: bytes) -> str:
    """Follows from the bytes: an event that fails again, wherever in its topic it lies, is the same letter."""
    return derive("dead-letter", topic, sha256(raw).hexdigest())


def why_not_retried(state: LetterState, *, size: int) -> str | None:
    """None when the letter's bytes can be sent again. ``size``: of the event, in bytes."""
    if state not in WITH_CONTENT:
        return {
            LetterState.TAKEN: "its event was recorded or decided already",
            LetterState.DROPPED: "it was dropped, and its content with it",
        }.get(state, "its content was deleted, because newer letters needed the room")
    if size > KEPT_BYTES:
        return f"only the first {KEPT_BYTES:,} of its {size:,} bytes are kept"
    return None


def next_step(id: str, cause: LetterCause, state: LetterState, *, size: int) -> str:
    """What a person can do, as one sentence with the command."""
    if state is LetterState.TAKEN:
        return "Nothing: its event was recorded or decided after all."
    if state is LetterState.DROPPED:
        return "Nothing: it was dropped. If its producer sends the event again and it fails again, the letter waits again."
    if why_not_retried(state, size=size) is not None:
        return f"Send the event again from its producer, then: flywheel dlq drop {id} --reason ..."
    if state is LetterState.RETRIED:
        return f"Wait some seconds and look again: flywheel dlq show {id}. If a broker lost the event meanwhile, retry it again."
    fix = {
        LetterCause.UNREADABLE: "Fix the producer and let it send the event again; retrying helps only where a newer version reads it",
        LetterCause.REFUSED: "Put right what the reason names",
        LetterCause.FAILED: "Report the place of the error, and upgrade to a version without it",
        LetterCause.DEADLY: "Report it, and upgrade to a version that survives it",
    }[cause]
    return f"{fix}. Then: flywheel dlq retry {id} (or flywheel dlq drop {id} --reason ...)."


def given_up(kept: Iterable[tuple[str, int]]) -> list[str]:
    """Ids of the letters whose contents are deleted. ``kept``: id and size in bytes of each content, newest first."""
    over, total = [], 0
    for number, (id, size) in enumerate(kept, start=1):
        total += size
        if number > KEPT_CONTENTS or total > KEPT_CONTENT_BYTES:
            over.append(id)
    return over
