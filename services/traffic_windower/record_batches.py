"""Records one batch of the traffic topic: read -> decide -> redact and measure -> store. The caller acknowledges.

Safe to repeat: ids decide what is new, consumer offsets move by compare-and-set. An event at which recording fails twice in an unexpected
way becomes a dead letter; all others are recorded. A failure of the machine (disk, database, memory) leaves the batch unrecorded.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

import structlog

from flywheel.errors import CannotRun, FlywheelError, InvalidInput
from flywheel.ids import EventId, WorkloadId
from flywheel.traffic import recording
from flywheel.traffic.answer_format import fits
from flywheel.traffic.attempt_outcome import AttemptOutcome
from flywheel.traffic.dead_letter import LetterCause, letter_id
from flywheel.traffic.features import columns_of
from flywheel.traffic.inference import Inference
from flywheel.traffic.names import names_of
from flywheel.traffic.recording import (
    KeptInference,
    LostPartition,
    Partition,
    RawRecord,
    ReadRecord,
    RecordingDecision,
    Unreadable,
    UnusableRecord,
)
from flywheel.traffic.redaction import Redact, is_made_by_machine, redacted_exchange, redacted_fault
from services.observability.unexpected import place_of
from services.ports.cloud_events import GATEWAY, source_of
from services.ports.dead_letters import DeadLetter
from services.ports.redaction import Redactor
from services.ports.traffic import (
    Advance,
    NotSealed,
    PartitionPosition,
    RecordedInference,
    RecordingBatch,
    TrafficCounts,
    TrafficRecorder,
)
from services.process.cpu_budget import EVENT_CPU_SECONDS as EVENT_CPU_SECONDS

MESSAGE_CHARACTERS = 300
MARGIN = 256  # characters behind a cut that are redacted too: the cut may halve personal data
log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class Recording:
    """The parts that recording a batch needs."""

    recorder: TrafficRecorder
    decode: Callable[[bytes], Inference]
    claimed_ids: Callable[[bytes], tuple[str, str]]
    redactor: Callable[[], Redactor]
    formats: Mapping[WorkloadId, dict[str, object] | None]
    of_machine: tuple[type[Exception], ...] = ()  # errors that say nothing of the events, beside the system's own
    allow: Callable[[float], None] = lambda _: None  # CPU seconds from now on


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """What became of a batch. ``moved_to``: the next offset of each partition; ``went_backward``: partitions to read from other offsets."""

    moved_to: Mapping[Partition, int]
    went_backward: tuple[Partition, ...]
    counts: Mapping[WorkloadId, TrafficCounts]
    dead_letters: int
    timed_anew: int = 0  # events of the gateway from the future, recorded at the time of their receipt


def record_batch(
    *,
    records: Sequence[RawRecord],
    positions: Mapping[Partition, PartitionPosition],
    reading_at: Mapping[Partition, int],
    parts: Recording,
    now: datetime,
) -> Recorded:
    """``reading_at``: the next offset expected. It differs from the stored offset only where the topic's oldest records expired.

    Raises LostPartition, which the store has answered with writing nothing; halves of the batch that were recorded before stay so.
    """
    passed_on: tuple[type[Exception], ...] = (LostPartition, CannotRun, OSError, MemoryError, *parts.of_machine)
    try:
        return _recorded(records, positions=positions, reading_at=reading_at, parts=parts, now=now)
    except passed_on:
        raise
    except Exception as error:  # noqa: BLE001 (any other type: a fault of ours at one of the events, which must not stop the others)
        if len(records) > 1:
            return _in_halves(records, positions=positions, reading_at=reading_at, parts=parts, now=now)
        log.warning("An event could not be recorded", action="recording_failed", error=type(error).__name__, place=place_of(error))
    try:
        return _recorded(records, positions=positions, reading_at=reading_at, parts=parts, now=now)
    except passed_on:
        raise
    except Exception as error:  # noqa: BLE001 (for the second time)
        return give_up(records[0], _unexpected(records[0], error, parts), positions=positions, reading_at=reading_at, parts=parts, now=now)


def give_up(
    record: RawRecord,
    why: Unreadable,
    *,
    positions: Mapping[Partition, PartitionPosition],
    reading_at: Mapping[Partition, int],
    parts: Recording,
    now: datetime,
) -> Recorded:
    """Makes a dead letter of the event without working on it."""
    try:
        return _store([ReadRecord(record=record, outcome=why)], positions=positions, reading_at=reading_at, parts=parts, now=now)
    finally:
        parts.allow(0.0)


def _in_halves(
    records: Sequence[RawRecord],
    *,
    positions: Mapping[Partition, PartitionPosition],
    reading_at: Mapping[Partition, int],
    parts: Recording,
    now: datetime,
) -> Recorded:
    half = len(records) // 2
    first = record_batch(records=records[:half], positions=positions, reading_at=reading_at, parts=parts, now=now)
    moved = {partition: replace(positions[partition], offset=offset) for partition, offset in first.moved_to.items()}
    second = record_batch(
        records=records[half:],
        positions={**positions, **moved},
        reading_at={**reading_at, **first.moved_to},
        parts=parts,
        now=now,
    )
    return Recorded(
        moved_to={**first.moved_to, **second.moved_to},
        went_backward=tuple(sorted({*first.went_backward, *second.went_backward})),
        counts={**first.counts, **second.counts},
        dead_letters=first.dead_letters + second.dead_letters,
        timed_anew=first.timed_anew + second.timed_anew,
    )


def _unexpected(record: RawRecord, error: Exception, parts: Recording) -> Unreadable:
    """The type, the place and the redacted message of the error; no message where it cannot be redacted."""
    try:
        message = parts.redactor().redact(str(error)[: MESSAGE_CHARACTERS + MARGIN])[0][:MESSAGE_CHARACTERS]
    except Exception:  # noqa: BLE001 (the redactor may be what failed)
        message = ""
    event_id, workload = parts.claimed_ids(record.value)
    told = f"recording it failed twice: {type(error).__name__} at {place_of(error)}{': ' if message else ''}{message}"
    return Unreadable(reason=told, path="$", cause=LetterCause.FAILED, event_id=event_id, workload=workload)


def _recorded(
    records: Sequence[RawRecord],
    *,
    positions: Mapping[Partition, PartitionPosition],
    reading_at: Mapping[Partition, int],
    parts: Recording,
    now: datetime,
) -> Recorded:
    read = []
    try:
        for record in records:
            parts.allow(EVENT_CPU_SECONDS)
            read.append(_read(record, parts, now))
        try:
            return _store(read, positions=positions, reading_at=reading_at, parts=parts, now=now)
        except NotSealed as error:
            usable = [_without_the_refused(one, error.refused) for one in read]
            return _store(usable, positions=positions, reading_at=reading_at, parts=parts, now=now)
    finally:
        parts.allow(0.0)


def _store(
    read: Sequence[ReadRecord],
    *,
    positions: Mapping[Partition, PartitionPosition],
    reading_at: Mapping[Partition, int],
    parts: Recording,
    now: datetime,
) -> Recorded:
    decision = recording.decide(records=read, expected=reading_at, workloads=frozenset(parts.formats), now=now)
    if not decision.advances:
        return Recorded(moved_to={}, went_backward=decision.went_backward, counts={}, dead_letters=0)
    rows = []
    for kept in decision.keep:
        parts.allow(EVENT_CPU_SECONDS)
        rows.append(_measured(kept, parts))
    parts.allow(EVENT_CPU_SECONDS + len(rows))
    batch = RecordingBatch(
        advances=[Advance(position=positions[partition], to_offset=offset) for partition, offset in sorted(decision.advances.items())],
        rows=rows,
        dead_letters=[_dead_letter(unusable, known=parts.formats, now=now) for unusable in decision.dead],
        taken_letters=_taken(read, decision, retried=parts.recorder.retried_letters()),
        in_batch_duplicates=decision.duplicates,
        recorded_at=now,
    )
    counts = parts.recorder.record(batch)
    return Recorded(
        moved_to=decision.advances,
        went_backward=decision.went_backward,
        counts=counts,
        dead_letters=len(batch.dead_letters),
        timed_anew=sum(kept.stated_at is not None for kept in decision.keep),
    )


def _without_the_refused(read: ReadRecord, refused: Mapping[EventId, FlywheelError]) -> ReadRecord:
    if isinstance(read.outcome, Unreadable) or (error := refused.get(read.outcome.event_id)) is None:
        return read
    why = Unreadable(
        reason=f"{error.reason}. {error.remedy}",
        path=error.where,
        cause=LetterCause.REFUSED,
        event_id=read.outcome.event_id,
        workload=read.outcome.workload,
    )
    return replace(read, outcome=why)


def _read(record: RawRecord, parts: Recording, now: datetime) -> ReadRecord:
    try:
        inference = parts.decode(record.value)
    except InvalidInput as error:
        event_id, workload = parts.claimed_ids(record.value)
        reason, path = (redacted_fault(told, lambda text: parts.redactor().redact(text)) for told in (error.reason, error.where))
        why = Unreadable(reason=reason, path=path, event_id=event_id, workload=workload)
        return ReadRecord(record=record, outcome=why)
    ours = recording.is_of_the_future(inference, now=now) and source_of(record.value) == GATEWAY
    return ReadRecord(record=record, outcome=inference, by_gateway=ours)


def _measured(kept: KeptInference, parts: Recording) -> RecordedInference:
    """The format is checked on the answer as given: a pseudonym in place of a number would break its JSON. Half of an answer has none."""
    inference = kept.inference
    is_whole = inference.attempt.outcome is AttemptOutcome.OK and inference.exchange.answer_is_whole
    valid = fits(inference.exchange.answer, parts.formats[inference.workload]) if is_whole else None
    if not inference.redacted:
        inference = _redacted(inference, parts.redactor())
    topic, partition = kept.partition
    features = columns_of(inference, valid_format=valid)
    return RecordedInference(inference=inference, features=features, topic=topic, partition=partition, stated_at=kept.stated_at)


def _redacted(inference: Inference, redactor: Redactor) -> Inference:
    """With pseudonyms in all that its producer wrote. A session that is the id of its request stays it, and so do ids made by machines."""

    names = names_of(inference.exchange.prompt)
    redact: Redact = partial(redactor.redact, names=names) if names else redactor.redact

    def clean(text: str) -> str:
        return redact(text)[0]

    attempt, client_id = inference.attempt, inference.client_request_id
    return replace(
        inference,
        exchange=redacted_exchange(inference.exchange, redact),
        attempt=replace(attempt, error=clean(attempt.error)) if attempt.error else attempt,
        session=inference.session if inference.session == inference.request_id else clean(inference.session),
        dimensions={clean(name): clean(value) for name, value in inference.dimensions.items()},
        client_request_id=client_id if is_made_by_machine(client_id) else clean(client_id),
        redacted=True,
    )


def _taken(read: Sequence[ReadRecord], decision: RecordingDecision, *, retried: frozenset[str]) -> Sequence[str]:
    """The dead letters that were sent again and are no dead letters this time."""
    if not retried:
        return ()
    dead = {id(unusable.record) for unusable in decision.dead}
    good = (one.record for one in read if (one.record.topic, one.record.partition) in decision.advances and id(one.record) not in dead)
    return sorted(retried & {letter_id(record.topic, record.value) for record in good})


def _dead_letter(unusable: UnusableRecord, *, known: Mapping[WorkloadId, object], now: datetime) -> tuple[DeadLetter, bytes]:
    """With the event's bytes."""
    record, why = unusable.record, unusable.why
    letter = DeadLetter(
        id=letter_id(record.topic, record.value),
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        at=now,
        cause=why.cause,
        reason=why.reason,
        path=why.path,
        size=len(record.value),
        event_id=why.event_id,
        workload=why.workload if why.workload in known else "",
    )
    return letter, record.value
