"""Which records of a batch are recorded, and which are dead-lettered?

In: records in the order they were read, each decoded or with the reason why it could not be; the offset expected next in
each partition this worker has; the workloads that are configured; the time. Out: what to record, what to dead-letter, the next offset
of each partition, and the partitions whose offsets went backward. Whether an id was recorded earlier is the store's to decide.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from flywheel.errors import FlywheelError
from flywheel.ids import EventId, WorkloadId
from flywheel.traffic.dead_letter import LetterCause
from flywheel.traffic.inference import Arm, Inference

CLOCK_TOLERANCE = timedelta(minutes=5)
"""A producer's clock may be ahead by so much. Further ahead, an event of a producer is dead-lettered; one of our own gateway is recorded at
the time of its receipt, for its exchange has taken place."""

Partition = tuple[str, int]
"""Topic and partition."""


class LostPartition(FlywheelError):
    """Another worker has taken the partition: nothing was written, and that worker reads from the same offset."""


@dataclass(frozen=True, kw_only=True)
class RawRecord:
    """A record as the broker gave it; the value of a tombstone is empty."""

    topic: str
    partition: int
    offset: int
    value: bytes


@dataclass(frozen=True, kw_only=True)
class Unreadable:
    """Why a record cannot be recorded; ids as far as they could be read."""

    reason: str
    path: str  # where in the event, e.g. "$.data.status"
    cause: LetterCause = LetterCause.UNREADABLE
    event_id: str = ""
    workload: str = ""


@dataclass(frozen=True, kw_only=True)
class ReadRecord:
    """A record, and the inference in it or why there is none."""

    record: RawRecord
    outcome: Inference | Unreadable
    by_gateway: bool = False  # our own


@dataclass(frozen=True, kw_only=True)
class KeptInference:
    """An inference to record, and the partition in whose panes it is counted."""

    inference: Inference
    partition: Partition
    stated_at: datetime | None = None  # the event's own time, where it lay in the future and the receipt's took its place


@dataclass(frozen=True, kw_only=True)
class UnusableRecord:
    """A record to dead-letter."""

    record: RawRecord
    why: Unreadable


@dataclass(frozen=True, kw_only=True)
class RecordingDecision:
    """What one transaction writes. ``went_backward``: check the topic id of these partitions before reading on."""

    keep: tuple[KeptInference, ...]
    dead: tuple[UnusableRecord, ...]
    advances: Mapping[Partition, int]  # the next offset to read
    duplicates: Mapping[WorkloadId, int]  # the same event id twice in this batch
    went_backward: tuple[Partition, ...]


def decide(
    *, records: Sequence[ReadRecord], expected: Mapping[Partition, int], workloads: Collection[WorkloadId], now: datetime
) -> RecordingDecision:
    """Records of partitions that another worker has are ignored; offsets that go backward are reported, never skipped."""
    backward = (read.record for read in records if read.record.offset < expected.get(_of(read.record), 0))
    went_backward = {_of(record) for record in backward}
    keep: dict[EventId, KeptInference] = {}
    dead: list[UnusableRecord] = []
    advances: dict[Partition, int] = {}
    duplicates: dict[WorkloadId, int] = {}
    for read in records:
        partition = _of(read.record)
        if partition not in expected or partition in went_backward:
            continue
        advances[partition] = max(advances.get(partition, 0), read.record.offset + 1)
        kept = read.outcome if isinstance(read.outcome, Unreadable) else _acceptable(read.outcome, read, workloads, now)
        if isinstance(kept, Unreadable):
            dead.append(UnusableRecord(record=read.record, why=kept))
            continue
        inference = kept.inference
        if inference.event_id in keep:
            if inference.arm is not Arm.SHADOW:
                duplicates[inference.workload] = duplicates.get(inference.workload, 0) + 1
        else:
            keep[inference.event_id] = kept
    return RecordingDecision(
        keep=tuple(keep.values()),
        dead=tuple(dead),
        advances=advances,
        duplicates=duplicates,
        went_backward=tuple(sorted(went_backward)),
    )


def is_of_the_future(inference: Inference, *, now: datetime) -> bool:
    """True beyond what a producer's clock may be ahead."""
    return inference.occurred_at > now + CLOCK_TOLERANCE


def _acceptable(inference: Inference, read: ReadRecord, workloads: Collection[WorkloadId], now: datetime) -> KeptInference | Unreadable:
    """Unreadable for what is well-formed, but of an unknown workload or a producer's from the future."""
    if inference.workload not in workloads:
        return Unreadable(
            reason="no such workload is configured", path="$.data.workload_id", cause=LetterCause.REFUSED, event_id=inference.event_id
        )
    if not is_of_the_future(inference, now=now):
        return KeptInference(inference=inference, partition=_of(read.record))
    if not read.by_gateway:
        return Unreadable(
            reason="the event's time is in the future",
            path="$.data.timestamp",
            cause=LetterCause.REFUSED,
            event_id=inference.event_id,
            workload=inference.workload,
        )
    return KeptInference(inference=replace(inference, occurred_at=now), partition=_of(read.record), stated_at=inference.occurred_at)


def _of(record: RawRecord) -> Partition:
    return record.topic, record.partition
