"""Retries and drops dead letters in a person's name.

In: a letter, the person, the time. Out: the letter in its new state, and a journal line. A retry sends the event's bytes to their topic
again: what was recorded before stays as it is, by its id. What comes of it is written by whoever reads the topic. The routes check who may
ask.
"""

from datetime import datetime

from flywheel.errors import CannotRun, Conflict, Refused
from flywheel.ids import Person, WorkloadId
from flywheel.journal import JournalEntry, JournalKind
from flywheel.traffic.dead_letter import LetterState, why_not_retried
from services.api.wiring import ApiParts
from services.ports.dead_letters import DeadLetter, LetterClosed
from services.ports.events import NotPublished
from services.ports.outbox import OutboxMessage

SEND_AGAIN = "Let its producer send the event again; then drop the letter: flywheel dlq drop."


def retry(parts: ApiParts, letter: DeadLetter, *, by: Person, now: datetime) -> DeadLetter:
    """Safe to repeat. Raises Refused for a letter whose bytes cannot be sent again, CannotRun while the broker does not take them, Conflict
    when the letter's state has changed meanwhile."""
    raw = _content(parts, letter)
    _move(parts, letter, LetterState.RETRIED)  # first: whoever reads the topic may be faster than the next line
    try:
        _publish(parts, OutboxMessage(id=letter.id, topic=letter.topic, key=letter.event_id or letter.id, value=raw, created_at=now))
    except CannotRun:
        # The event may have arrived all the same, without an answer: what its reader has written stays.
        parts.letters.move(letter.id, letter.state, expected=LetterState.RETRIED)
        raise
    return _journalled(parts, letter, LetterState.RETRIED, reason="its bytes were sent to the topic again", by=by, now=now)


def drop(parts: ApiParts, letter: DeadLetter, *, reason: str, by: Person, now: datetime) -> DeadLetter:
    """Deletes the content for good; the letter stays in the list. Raises Conflict when its state has changed meanwhile."""
    _move(parts, letter, LetterState.DROPPED)
    return _journalled(parts, letter, LetterState.DROPPED, reason=reason, by=by, now=now)


def _move(parts: ApiParts, letter: DeadLetter, state: LetterState) -> None:
    if not parts.letters.move(letter.id, state, expected=letter.state):
        remedy = f"Look at it: flywheel dlq show {letter.id}."
        raise Conflict("its state has changed meanwhile", where="dead letter", value=letter.id, remedy=remedy)


def _content(parts: ApiParts, letter: DeadLetter) -> bytes:
    why = why_not_retried(letter.state, size=letter.size)
    if why is None and letter.topic not in (parts.traffic_topic, parts.corrections_topic):
        why = "its topic is not read any more"
    if why is not None:
        raise Refused(f"it cannot be retried: {why}", where="dead letter", value=letter.id, remedy=SEND_AGAIN)
    try:
        raw = parts.letters.content(letter.id)
    except LetterClosed as error:
        raise Refused(f"it cannot be retried: {error}", where="dead letter", value=letter.id, remedy=SEND_AGAIN) from error
    if raw is None:
        raise Refused("it cannot be retried: its content was deleted meanwhile", where="dead letter", value=letter.id, remedy=SEND_AGAIN)
    return raw


def _publish(parts: ApiParts, message: OutboxMessage) -> None:
    try:
        publisher = parts.open_publisher()
        try:
            publisher.send(message)
            arrived = message.id in publisher.flush()
        finally:
            publisher.close()
    except NotPublished as error:
        raise CannotRun(error.reason, where="kafka.bootstrap", remedy="Nothing was changed. Retry when the broker answers.") from error
    if not arrived:
        why = publisher.refused.get(message.id, "it did not acknowledge the event in time")
        remedy = "Nothing was changed. Retry when the broker answers."
        raise CannotRun(f"the broker did not take the event: {why}", where="dead letter", value=message.id, remedy=remedy)


def _journalled(parts: ApiParts, letter: DeadLetter, state: LetterState, *, reason: str, by: Person, now: datetime) -> DeadLetter:
    line = JournalEntry(
        at=now,
        workload=WorkloadId(letter.workload),
        kind=JournalKind.DEAD_LETTER,
        subject=letter.id,
        state=state.value,
        reason=reason,
        actor=by,
        evidence={"topic": letter.topic, "partition": letter.partition, "offset": letter.offset, "cause": letter.cause.value},
    )
    parts.ledger.journal.append(line)
    return parts.letters.dead_letter(letter.id) or letter
