"""Reads one topic in batches by aiokafka, in a consumer group, from offsets that are stored elsewhere.

In: the offset to read from, for each partition that the group assigns. Out: batches of raw records. The offsets committed to
Kafka are for operators to see; reading never starts from them.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.errors import InvalidSessionTimeoutError, KafkaError, NoOffsetForPartitionError, OffsetOutOfRangeError

from flywheel.errors import CannotRun, FlywheelError
from flywheel.traffic.recording import Partition, RawRecord
from services.integrations.kafka.topics import KafkaAccess, session_timeout_refused

FETCH_BYTES = 4 * 1_048_576  # a partition and fetch: some thousand events of usual size
WAIT_MS = 1_000  # how long an empty batch takes
METADATA_MS = 5_000  # so old may be what the consumer knows of the topic; one that was deleted and made again is not read before
ENDS_SECONDS = 10.0  # for the answer where a topic ends
FETCH_WAIT_MS = 500  # how long a broker holds an empty fetch; data is sent at once


class OutOfRange(FlywheelError):
    """The topic does not hold the next offset of these partitions. Without partitions: no offset was set."""

    partitions: frozenset[Partition] = frozenset()


class KafkaBatches:
    """One consumer. ``on_assigned`` returns the offset to read each partition from; nothing is read before."""

    def __init__(self, access: KafkaAccess, *, topic: str, group: str, session_timeout_seconds: float, batch: int = 500) -> None:
        self._access, self._topic, self._group, self._batch = access, topic, group, batch
        self._session_ms = int(session_timeout_seconds * 1000)
        self._consumer: Any = None
        self.held_back = 0
        """Records behind an open transaction, as ``behind`` counted them last."""

    async def start(
        self,
        *,
        on_assigned: Callable[[Collection[Partition]], Awaitable[Mapping[Partition, int]]],
        on_revoked: Callable[[], Awaitable[None]],
    ) -> None:
        self._consumer = AIOKafkaConsumer(
            group_id=self._group,
            enable_auto_commit=False,
            isolation_level="read_committed",  # what a producer's aborted transaction sent was never said
            auto_offset_reset="none",  # the default would skip lost records without an error
            session_timeout_ms=self._session_ms,
            heartbeat_interval_ms=self._session_ms // 4,
            rebalance_timeout_ms=int(self._session_ms * 1.4),
            max_partition_fetch_bytes=FETCH_BYTES,
            fetch_max_wait_ms=FETCH_WAIT_MS,
            metadata_max_age_ms=METADATA_MS,
            **self._access.options(),
        )
        try:
            await self._consumer.start()
        except (KafkaError, OSError) as error:
            await self._consumer.stop()
            raise CannotRun(
                "the broker does not answer",
                where="kafka.bootstrap",
                value=self._access.bootstrap,
                remedy="Start it, or leave kafka.bootstrap unset to use the embedded development broker.",
            ) from error

        consumer = self._consumer

        class Listener(ConsumerRebalanceListener):  # type: ignore[misc]
            async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:  # noqa: ARG002
                await on_revoked()

            async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
                for (topic, partition), offset in (await on_assigned([(tp.topic, tp.partition) for tp in assigned])).items():
                    consumer.seek(TopicPartition(topic, partition), offset)

        self._consumer.subscribe([self._topic], listener=Listener())

    async def next(self) -> list[RawRecord]:
        """The next records, which may be none. Raises OutOfRange, and CannotRun for a session time-out that the broker refuses."""
        try:
            got = await self._consumer.getmany(timeout_ms=WAIT_MS, max_records=self._batch)
        except InvalidSessionTimeoutError as error:
            raise session_timeout_refused(self._session_ms / 1000, "it said so when the group was joined") from error
        except (OffsetOutOfRangeError, NoOffsetForPartitionError) as error:
            raised = OutOfRange("the topic does not contain the next offset", where=self._topic, remedy="The topic's id is read again.")
            if isinstance(error, OffsetOutOfRangeError):
                raised.partitions = frozenset((tp.topic, tp.partition) for tp in error.args[0])
            raise raised from error
        return [
            RawRecord(topic=tp.topic, partition=tp.partition, offset=record.offset, value=record.value or b"")
            for tp, records in got.items()
            for record in records
        ]

    def move(self, offsets: Mapping[Partition, int]) -> None:
        """Reads on from these offsets; ignores partitions that are no longer assigned."""
        held = self._consumer.assignment()
        for (topic, partition), offset in offsets.items():
            if TopicPartition(topic, partition) in held:
                self._consumer.seek(TopicPartition(topic, partition), offset)

    async def first_offsets(self, partitions: Collection[Partition]) -> Mapping[Partition, int]:
        """The oldest offset that each partition still holds."""
        found = await self._consumer.beginning_offsets([TopicPartition(*partition) for partition in partitions])
        return {(tp.topic, tp.partition): offset for tp, offset in found.items()}

    async def behind(self) -> int:
        """How many records of the partitions held are not fetched yet. Raises CannotRun where the broker does not say.

        Those after another producer's open transaction count too: none of them is delivered before it ends.
        """
        self.held_back = 0
        if not (held := list(self._consumer.assignment())):
            return 0
        try:
            async with asyncio.timeout(ENDS_SECONDS):
                ends = await self._consumer.end_offsets(held)  # of what is committed
                behind = 0
                for partition, end in ends.items():
                    all_of_it = max(int(end), self._consumer.highwater(partition) or 0)
                    self.held_back += all_of_it - int(end)
                    behind += max(0, all_of_it - int(await self._consumer.position(partition)))
                return behind
        except (KafkaError, TimeoutError, OSError) as error:
            raise CannotRun(
                f"the broker does not say where the topic ends: {type(error).__name__}",
                where="kafka.bootstrap",
                value=self._access.bootstrap,
                remedy="It is asked again; see that the broker runs.",
            ) from error

    async def commit(self, offsets: Mapping[Partition, int]) -> str | None:
        """Commits the offsets to Kafka. Returns None, or why Kafka refused them, which is harmless."""
        try:
            await self._consumer.commit({TopicPartition(*partition): offset for partition, offset in offsets.items()})
        except KafkaError as error:
            return f"{type(error).__name__}: {error}"
        return None

    async def stop(self) -> None:
        if self._consumer is not None:
            await self._consumer.stop()
