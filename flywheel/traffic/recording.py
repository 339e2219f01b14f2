"""What becomes of a batch of records from the topic?

In: records in the order they were read, each decoded or with the reason why it could not be; the offset expected next in
each partition this worker holds; the workloads that are configured; the time. Out: what to keep, what to put aside, how far
to move, and which partitions look like another log. Whether an id was recorded earlier is the store's to say.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from flywheel.errors import FlywheelError
from flywheel.ids import EventId, WorkloadId
from flywheel.traffic.inference import Arm, Inference

CLOCK_TOLERANCE = timedelta(minutes=5)  # a producer's clock may be ahead; further ahead it would close windows that are still filling

Partition = tuple[str, int]
"""Topic and partition."""


class LostPartition(FlywheelError):
    """Another worker has taken the partition: nothing was written, and the new owner reads from where we stood."""


@dataclass(frozen=True, kw_only=True)
class RawRecord:
    """As it came from the broker. A tombstone has no value."""

    topic: str
    partition: int
    offset: int
    value: bytes


@dataclass(frozen=True, kw_only=True)
class Unreadable:
    """Why a record cannot be kept; ids as far as they could be read."""

    reason: str
    path: str  # where in the event, e.g. "$.data.status"
    event_id: str = ""
    workload: str = ""


@dataclass(frozen=True, kw_only=True)
class ReadRecord:
    """A record and what reading it gave."""

    record: RawRecord
    outcome: Inference | Unreadable


@dataclass(frozen=True, kw_only=True)
class KeptInference:
    """To be recorded, and the partition whose panes it counts in."""

    inference: Inference
    partition: Partition


@dataclass(frozen=True, kw_only=True)
class PutAside:
    """To be dead-lettered."""

    record: RawRecord
    why: Unreadable


@dataclass(frozen=True, kw_only=True)
class RecordingDecision:
    """What one transaction shall write. ``another_log``: check the topic's id before reading on."""

    keep: tuple[KeptInference, ...]
    dead: tuple[PutAside, ...]
    advances: Mapping[Partition, int]  # the next offset to read
    duplicates: Mapping[WorkloadId, int]  # the same event id twice in this batch
    another_log: tuple[Partition, ...]


def decide(
    *, records: Sequence[ReadRecord], expected: Mapping[Partition, int], workloads: Collection[WorkloadId], now: datetime
) -> RecordingDecision:
    """Records of partitions that are not held are left to their owner; a step backward is never skipped in silence."""
    another_log = {_of(read.record) for read in records if _of(read.record) in expected and read.record.offset < expected[_of(read.record)]}
    keep: dict[EventId, KeptInference] = {}
    dead: list[PutAside] = []
    advances: dict[Partition, int] = {}
    duplicates: dict[WorkloadId, int] = {}
    for read in records:
        partition = _of(read.record)
        if partition not in expected or partition in another_log:
            continue
        advances[partition] = max(advances.get(partition, 0), read.record.offset + 1)
        why = read.outcome if isinstance(read.outcome, Unreadable) else _unacceptable(read.outcome, workloads, now)
        if why is not None:
            dead.append(PutAside(record=read.record, why=why))
            continue
        assert isinstance(read.outcome, Inference)
        inference = read.outcome
        if inference.event_id in keep:
            if inference.arm is not Arm.SHADOW:
                duplicates[inference.workload] = duplicates.get(inference.workload, 0) + 1
        else:
            keep[inference.event_id] = KeptInference(inference=inference, partition=partition)
    return RecordingDecision(
        keep=tuple(keep.values()),
        dead=tuple(dead),
        advances=advances,
        duplicates=duplicates,
        another_log=tuple(sorted(another_log)),
    )


def _unacceptable(inference: Inference, workloads: Collection[WorkloadId], now: datetime) -> Unreadable | None:
    """Well-formed, but not to be believed."""
    if inference.workload not in workloads:
        return Unreadable(reason="no such workload is configured", path="$.data.workload_id", event_id=inference.event_id)
    if inference.occurred_at > now + CLOCK_TOLERANCE:
        return Unreadable(
            reason="the event's time lies in the future",
            path="$.data.timestamp",
            event_id=inference.event_id,
            workload=inference.workload,
        )
    return None


def _of(record: RawRecord) -> Partition:
    return record.topic, record.partition
