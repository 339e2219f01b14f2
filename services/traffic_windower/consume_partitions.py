"""Consumes the traffic topic: one transaction for each batch, and consumer offsets that are kept with the recorded traffic.

One lock covers a batch and every change of partitions, so that nothing is written for a partition that is being handed over.
After an offset that goes backward, or one that the topic does not hold, the topic's id is read again.
"""

import asyncio
import os
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

import structlog
from prometheus_client import Counter

from flywheel.errors import CannotRun
from flywheel.ids import WorkloadId
from flywheel.journal import JournalEntry, JournalKind
from flywheel.progress import Flow
from flywheel.traffic.caution import DEADLY, Caution, NotedWork, caution_after
from flywheel.traffic.dead_letter import LetterCause
from flywheel.traffic.recording import LostPartition, Partition, RawRecord, Unreadable
from services.observability import LAST_STEP, STEPS
from services.ports.traffic import PartitionPosition
from services.process import cpu_budget
from services.process.progress import FlowMark
from services.process.wait_for_disk import RETRY_SECONDS, DiskWait
from services.traffic_windower.record_batches import EVENT_CPU_SECONDS, Recorded, Recording, give_up, record_batch
from services.traffic_windower.wiring import OutOfRange, WindowerParts

PROCESS = "traffic_windower"
TOPIC_ID_CHECK_SECONDS = 5.0  # a broker that came back empty, or a topic made anew, is noticed after at most this long
PACE_SECONDS, RESTART_SECONDS = 60.0, 300.0  # a batch takes seconds; a restart helps a consumer that no longer fetches
TOPIC_ID_ATTEMPTS = 20
TOPIC_ID_PAUSE_SECONDS = 0.5

RECORDS = Counter("flywheel_traffic_records_total", "Records read from the traffic topic", ["outcome"])
LOST = Counter("flywheel_traffic_records_lost_total", "Records that the topic no longer held when they were to be read")
TIMED_ANEW = Counter("flywheel_traffic_records_timed_anew_total", "Events of the gateway from the future, recorded at their receipt")
log = structlog.get_logger(PROCESS)


class Recorder:
    """One consumer of the traffic topic, and the partitions it holds."""

    def __init__(self, parts: WindowerParts, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._batches, self._topic_id, self._store, self._clock = parts.batches, parts.topic_id, parts.recorder, clock
        self._journal = parts.journal
        self._recording = Recording(
            recorder=parts.recorder,
            decode=parts.decode,
            claimed_ids=parts.claimed_ids,
            redactor=parts.redactor,
            formats=parts.formats,
            of_machine=parts.of_machine,
            allow=cpu_budget.allow,
        )
        self._notes, self._process = parts.notes, f"{os.getpid()}-{time.time_ns()}"
        self._caution: dict[Partition, Caution] = {}
        self._lock = asyncio.Lock()
        self._positions: dict[Partition, PartitionPosition] = {}
        self._reading_at: dict[Partition, int] = {}
        self._generation = 0  # grows with every assignment: a batch fetched under an older one may be from a topic that is gone
        self._failure: BaseException | None = None
        self._joined = False
        self._times_anew = False
        self._unseen: str | None = None  # why the topic cannot be seen at present
        self._behind, self._in_work = 0, 0  # records on the topic and not fetched, as they were counted last; and those in work
        self._uncounted: str | None = None  # why the former could not be counted
        self.disk = DiskWait(PROCESS)
        remedy = "See that the broker runs, that the disk has room, and what the recorder's log says; nothing is lost while it waits."
        flow = Flow(name="topic to record", pace_seconds=PACE_SECONDS, remedy=remedy, restart_after_seconds=RESTART_SECONDS)
        self.flow = FlowMark(flow, waiting=self._waiting, cause=lambda: self.disk.reason or self._unknown() or self._held_back())

    async def start(self) -> None:
        """Joins the group. Raises CannotRun without a broker."""
        await self._batches.start(on_assigned=self._assigned, on_revoked=self._revoked)

    async def step(self) -> None:
        """Records one batch, which may be empty. Raises any error that makes it unsafe to go on."""
        if self._failure is not None:
            raise self._failure
        fetched_under = self._generation
        try:
            records = await self._batches.next()
        except OutOfRange as error:
            async with self._lock:
                why = "offset out of range" if error.partitions else "no offset yet"
                await self._reposition(set(self._positions), why=why, unreadable=error.partitions)
            return
        if not records:
            return
        async with self._lock:
            if fetched_under != self._generation:
                self._batches.move(self._reading_at)
                return
            self._in_work = len(records)
            try:
                for part in self._parts_of(records):
                    if fetched_under != self._generation:
                        self._batches.move(self._reading_at)
                        return
                    await self._record(part)
                return
            except Exception as error:
                if not self.disk.waits_for(error):
                    raise
                self._batches.move(self._reading_at)  # what is left of the batch is read again
            finally:
                self._in_work = 0
        await asyncio.sleep(RETRY_SECONDS)

    def why_not_ready(self) -> str | None:
        """None when it reads, else the reason."""
        return self._unseen or (None if self._joined else "has not joined its consumer group yet")

    def _waiting(self) -> int | None:
        return self._behind + self._in_work if self._unknown() is None else None

    def _unknown(self) -> str | None:
        """Why it is not known what waits."""
        return self.why_not_ready() or self._uncounted

    def _held_back(self) -> str | None:
        """Kafka gives out nothing that stands after an open transaction, whoever wrote it."""
        if not (records := self._batches.held_back):
            return None
        return (
            f"another producer's open transaction holds back {records} records, until that producer commits or aborts or its time is over; "
            "kafka-transactions.sh find-hanging names it"
        )

    async def count_behind(self) -> None:
        """Asks the broker how many records of the partitions held are not fetched yet."""
        try:
            self._behind, self._uncounted = await self._batches.behind(), None
        except CannotRun as error:
            self._uncounted = str(error)

    async def check_topic_id(self) -> None:
        """Starts again at 0 when the topic has another id, and waits for a topic that is gone. Costs one request to the broker."""
        async with self._lock:
            for topic in {topic for topic, _ in self._positions}:
                held = {partition for partition in self._positions if partition[0] == topic}
                try:
                    current = await asyncio.to_thread(self._topic_id, topic)
                except CannotRun as error:  # it was deleted, or the broker is away: both may come back
                    if self._unseen is None:
                        log.warning(f"The traffic topic cannot be seen: {error}", action="topic_unseen", topic=topic)
                    self._unseen = str(error)
                    continue
                self._unseen = None
                if any(self._positions[partition].topic_id != current for partition in held):
                    await self._reposition(held, why="the topic has another id")

    async def stop(self) -> None:
        await self._batches.stop()

    async def _record(self, records: list[RawRecord]) -> None:
        self._note(records)
        try:
            done = await asyncio.to_thread(self._recorded, records)
        except LostPartition as error:
            log.warning("Another worker has taken a partition; it records the batch", action="partition_lost", where=error.where)
            RECORDS.labels("fenced").inc(len(records))
            self._forget()  # the rebalance under way assigns partitions again
            return
        for partition, offset in done.moved_to.items():
            self._positions[partition] = replace(self._positions[partition], offset=offset)
            self._reading_at[partition] = offset
            self._caution[partition] = self._caution[partition].after_one()
        RECORDS.labels("recorded").inc(len(records) - done.dead_letters)
        self._tell_timed_anew(done.timed_anew)
        RECORDS.labels("dead_lettered").inc(done.dead_letters)
        self.disk.is_over()
        self.flow.moved()
        STEPS.labels(PROCESS, "done").inc()
        LAST_STEP.labels(PROCESS).set_to_current_time()
        if done.went_backward:
            await self._reposition(set(done.went_backward), why="offsets went backward")
        if done.moved_to and (refused := await self._batches.commit(done.moved_to)):
            log.info("The consumer group did not take our offsets; those in traffic.db count", action="commit_refused", reason=refused)

    def _tell_timed_anew(self, events: int) -> None:
        """Once, until a batch is without any."""
        if events and not self._times_anew:
            told = "Events of the gateway lie in the future: they are recorded at the time of their receipt. Set the clocks by NTP"
            log.warning(told, action="timed_anew", events=events)
        self._times_anew = bool(events)
        TIMED_ANEW.inc(events)

    def _recorded(self, records: list[RawRecord]) -> Recorded:
        positions, reading_at, parts, now = dict(self._positions), dict(self._reading_at), self._recording, self._clock()
        deaths = self._caution_at(records[0]).deaths if self._is_alone(records) else 0
        if deaths < DEADLY:
            return record_batch(records=records, positions=positions, reading_at=reading_at, parts=parts, now=now)
        # The first attempt reads the event's id, which its producer asks for; if that was deadly too, the next one does without.
        event_id, workload = parts.claimed_ids(records[0].value) if deaths == DEADLY else ("", "")
        log.error("An event that ended its process again and again is dead-lettered", action="deadly_event", deaths=deaths)
        reason = f"{deaths} processes died, or used over {EVENT_CPU_SECONDS:g} s of CPU time, while they had only this event in work"
        why = Unreadable(reason=reason, path="$", cause=LetterCause.DEADLY, event_id=event_id, workload=workload)
        return give_up(records[0], why, positions=positions, reading_at=reading_at, parts=parts, now=now)

    def _parts_of(self, records: list[RawRecord]) -> list[list[RawRecord]]:
        """What is recorded at a time: each event that may have ended the process by itself, then all others."""
        alone = [record for record in records if self._is_suspect(record)]
        others = [record for record in records if not self._is_suspect(record)]
        return [[record] for record in alone] + ([others] if others else [])

    def _is_suspect(self, record: RawRecord) -> bool:
        return record.offset < self._caution_at(record).until

    def _caution_at(self, record: RawRecord) -> Caution:
        return self._caution.get(_of(record), Caution())

    def _is_alone(self, records: list[RawRecord]) -> bool:
        return len(records) == 1 and self._is_suspect(records[0])

    def _note(self, records: list[RawRecord]) -> None:
        """Before the work, so that after a death it is known what was in work."""
        alone = self._is_alone(records)
        offsets: dict[Partition, list[int]] = {}
        for record in records:
            offsets.setdefault(_of(record), []).append(record.offset)
        for partition, held in offsets.items():
            if partition not in self._positions:
                continue
            caution = self._caution[partition]
            work = NotedWork(
                topic_id=self._positions[partition].topic_id,
                process=self._process,
                first=min(held),
                until=caution.until if alone else max(held) + 1,
                alone=alone,
                deaths=caution.deaths if alone else 0,
            )
            self._notes.note(partition, work)

    async def _assigned(self, partitions: Collection[Partition]) -> Mapping[Partition, int]:
        """aiokafka ignores what a listener raises, so a failure is kept for the next step, which ends the process."""
        async with self._lock:
            self._forget()
            try:
                await self._take(partitions)
            except BaseException as error:
                self._failure = error
                raise
            self._joined = True
            return dict(self._reading_at)

    async def _revoked(self) -> None:
        async with self._lock:
            self._forget()
            self._joined = False

    def _forget(self) -> None:
        self._generation += 1
        self._positions.clear()
        self._reading_at.clear()

    async def _take(self, partitions: Collection[Partition]) -> None:
        """Reads the topic's id at every assignment: a seek to an offset of a topic that is gone would lose data unnoticed."""
        ids = {topic: await self._current_topic_id(topic) for topic in {topic for topic, _ in partitions}}
        for topic, partition in sorted(partitions):
            position = await self.disk.patiently(
                partial(asyncio.to_thread, self._store.assign, topic_id=ids[topic], topic=topic, partition=partition)
            )
            self._positions[topic, partition] = position
            self._reading_at[topic, partition] = position.offset
            noted = self._notes.noted((topic, partition))
            caution = caution_after(noted, topic_id=position.topic_id, offset=position.offset, process=self._process)
            if caution.until:
                log.warning(
                    "A process died at its work: its events are recorded one by one",
                    action="recorded_one_by_one",
                    partition=(topic, partition),
                    until=caution.until,
                    deaths=caution.deaths,
                )
            self._caution[topic, partition] = caution
        log.info("Partitions taken", action="partitions_taken", offsets={f"{t}[{p}]": at for (t, p), at in self._reading_at.items()})

    async def _reposition(self, partitions: Collection[Partition], *, why: str, unreadable: Collection[Partition] = ()) -> None:
        """Takes the partitions again. A topic with another id is read from 0; of the same topic, a partition whose next offset cannot
        be read goes on at its oldest record. Event ids make both safe."""
        before = {partition: self._positions[partition] for partition in partitions}
        self._generation += 1
        await self._take(partitions)
        stuck = [
            partition
            for partition in partitions
            if partition in unreadable and self._positions[partition].topic_id == before[partition].topic_id
        ]
        for partition, first in (await self._batches.first_offsets(stuck)).items() if stuck else ():
            await self._tell_loss(partition, wanted=self._reading_at[partition], oldest=first)
            self._reading_at[partition] = first
        log.warning("Partitions are read from other offsets", action="repositioned", reason=why, partitions=len(partitions))
        self._batches.move({partition: self._reading_at[partition] for partition in partitions})

    async def _tell_loss(self, partition: Partition, *, wanted: int, oldest: int) -> None:
        """Retention deleted records before they were read, or the topic is shorter than what was read of it."""
        lost = max(0, oldest - wanted)
        topic, number = partition
        why = (
            f"retention deleted {lost} records of {topic}[{number}] before they were read: offset {wanted} was next, {oldest} is the oldest"
        )
        LOST.inc(lost)
        log.error(why, action="records_expired", partition=partition, wanted=wanted, oldest=oldest)
        line = JournalEntry(
            at=self._clock(),
            workload=WorkloadId(""),
            kind=JournalKind.TRAFFIC_LOST,
            subject=f"{topic}[{number}]",
            state="lost",
            reason=why,
            evidence={"records": lost, "wanted": wanted, "oldest": oldest},
        )
        await self.disk.patiently(partial(asyncio.to_thread, self._journal.append, line))

    async def _current_topic_id(self, topic: str) -> str:
        """Tries again for a while: a broker that has just started may not know its topics yet."""
        for attempt in range(1, TOPIC_ID_ATTEMPTS + 1):
            try:
                return await asyncio.to_thread(self._topic_id, topic)
            except CannotRun:
                if attempt == TOPIC_ID_ATTEMPTS:
                    raise
                await asyncio.sleep(TOPIC_ID_PAUSE_SECONDS)
        raise AssertionError("unreachable")


def _of(record: RawRecord) -> Partition:
    return record.topic, record.partition
