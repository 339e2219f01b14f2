"""Records one batch of the traffic topic: read -> decide -> redact and measure -> store. The caller acknowledges.

Safe to repeat: ids decide what is new, consumer offsets move by compare-and-set. An unexpected error leaves the batch unrecorded.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import sha256

from flywheel.errors import FlywheelError, InvalidInput
from flywheel.ids import EventId, WorkloadId, derive
from flywheel.traffic import recording
from flywheel.traffic.answer_format import fits
from flywheel.traffic.attempt_outcome import AttemptOutcome
from flywheel.traffic.features import columns_of
from flywheel.traffic.inference import Inference
from flywheel.traffic.recording import KeptInference, Partition, RawRecord, ReadRecord, Unreadable, UnusableRecord
from flywheel.traffic.redaction import redacted_exchange
from services.ports.redaction import Redactor
from services.ports.traffic import (
    Advance,
    DeadLetter,
    NotSealed,
    PartitionPosition,
    RecordedInference,
    RecordingBatch,
    TrafficCounts,
    TrafficRecorder,
)

KEPT_RAW_BYTES = 1_048_576  # kept of a dead letter's bytes


@dataclass(frozen=True, kw_only=True)
class Recording:
    """The parts that recording a batch needs."""

    recorder: TrafficRecorder
    decode: Callable[[bytes], Inference]
    claimed_ids: Callable[[bytes], tuple[str, str]]
    redactor: Callable[[], Redactor]
    formats: Mapping[WorkloadId, dict[str, object] | None]


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """What became of a batch. ``moved_to``: the next offset of each partition; ``went_backward``: partitions to read from other offsets."""

    moved_to: Mapping[Partition, int]
    went_backward: tuple[Partition, ...]
    counts: Mapping[WorkloadId, TrafficCounts]
    dead_letters: int


def record_batch(
    *,
    records: Sequence[RawRecord],
    positions: Mapping[Partition, PartitionPosition],
    reading_at: Mapping[Partition, int],
    parts: Recording,
    now: datetime,
) -> Recorded:
    """``reading_at``: the next offset expected. It differs from the stored offset only where the topic's oldest records expired.

    Raises LostPartition, and has written nothing then.
    """
    read = [ReadRecord(record=record, outcome=_read(record, parts)) for record in records]
    try:
        return _store(read, positions=positions, reading_at=reading_at, parts=parts, now=now)
    except NotSealed as error:
        usable = [_without_the_refused(one, error.refused) for one in read]
        return _store(usable, positions=positions, reading_at=reading_at, parts=parts, now=now)


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
    batch = RecordingBatch(
        advances=[Advance(position=positions[partition], to_offset=offset) for partition, offset in sorted(decision.advances.items())],
        rows=[_measured(kept, parts) for kept in decision.keep],
        dead_letters=[
            _dead_letter(unusable, topic_id=positions[_of(unusable)].topic_id, known=parts.formats, now=now) for unusable in decision.dead
        ],
        in_batch_duplicates=decision.duplicates,
        recorded_at=now,
    )
    counts = parts.recorder.record(batch)
    return Recorded(moved_to=decision.advances, went_backward=decision.went_backward, counts=counts, dead_letters=len(batch.dead_letters))


def _without_the_refused(read: ReadRecord, refused: Mapping[EventId, FlywheelError]) -> ReadRecord:
    if isinstance(read.outcome, Unreadable) or (error := refused.get(read.outcome.event_id)) is None:
        return read
    why = Unreadable(
        reason=f"{error.reason}. {error.remedy}", path=error.where, event_id=read.outcome.event_id, workload=read.outcome.workload
    )
    return replace(read, outcome=why)


def _read(record: RawRecord, parts: Recording) -> Inference | Unreadable:
    try:
        return parts.decode(record.value)
    except InvalidInput as error:
        event_id, workload = parts.claimed_ids(record.value)
        return Unreadable(reason=error.reason, path=error.where, event_id=event_id, workload=workload)


def _measured(kept: KeptInference, parts: Recording) -> RecordedInference:
    """The format is checked on the answer as given: a pseudonym in place of a number would break its JSON. Half of an answer has none."""
    inference = kept.inference
    is_whole = inference.outcome is AttemptOutcome.OK and inference.exchange.answer_is_whole
    valid = fits(inference.exchange.answer, parts.formats[inference.workload]) if is_whole else None
    if not inference.redacted:
        inference = _redacted(inference, parts.redactor())
    topic, partition = kept.partition
    return RecordedInference(inference=inference, features=columns_of(inference, valid_format=valid), topic=topic, partition=partition)


def _redacted(inference: Inference, redactor: Redactor) -> Inference:
    def clean(text: str | None) -> str | None:
        return redactor.redact(text)[0] if text else text

    return replace(
        inference,
        exchange=redacted_exchange(inference.exchange, redactor.redact),
        error=clean(inference.error),
        redacted=True,
    )


def _dead_letter(unusable: UnusableRecord, *, topic_id: str, known: Mapping[WorkloadId, object], now: datetime) -> DeadLetter:
    """The id is derived from content and position: a redelivery is the same dead letter, and so is a resent event with the same bytes."""
    record, why = unusable.record, unusable.why
    cause = (why.event_id, sha256(record.value).hexdigest()) if why.event_id else (topic_id, record.topic, record.partition, record.offset)
    return DeadLetter(
        id=derive("dead", *cause),
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        reason=why.reason,
        path=why.path,
        at=now,
        raw=record.value[:KEPT_RAW_BYTES],
        event_id=why.event_id,
        workload=why.workload if why.workload in known else "",
    )


def _of(unusable: UnusableRecord) -> Partition:
    return unusable.record.topic, unusable.record.partition
