"""Reads one topic in batches by aiokafka, in a consumer group, from positions that are kept elsewhere.

In: where to read from, for each partition the group hands over. Out: batches of raw records. Kafka's own committed offsets
are information for operators only; where to go on is never taken from them, and never guessed.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.errors import KafkaError, NoOffsetForPartitionError, OffsetOutOfRangeError

from flywheel.errors import CannotRun, FlywheelError
from flywheel.traffic.recording import Partition, RawRecord
from services.integrations.kafka.topics import KafkaAccess

FETCH_BYTES = 4 * 1_048_576  # a partition and fetch: some thousand events of usual size
WAIT_MS = 200  # how long an empty batch takes: also how soon a stop is noticed


class OutOfRange(FlywheelError):
    """The log does not hold the offset we wanted next, in these partitions. None named: there was no place to read from."""

    partitions: frozenset[Partition] = frozenset()


class KafkaBatches:
    """One consumer. ``on_assigned`` answers where to read each partition from; it is awaited before anything is read."""

    def __init__(self, access: KafkaAccess, *, topic: str, group: str, session_timeout_seconds: float, batch: int = 500) -> None:
        self._access, self._topic, self._group, self._batch = access, topic, group, batch
        self._session_ms = int(session_timeout_seconds * 1000)
        self._consumer: Any = None

    async def start(
        self,
        *,
        on_assigned: Callable[[Collection[Partition]], Awaitable[Mapping[Partition, int]]],
        on_revoked: Callable[[], Awaitable[None]],
    ) -> None:
        self._consumer = AIOKafkaConsumer(
            group_id=self._group,
            enable_auto_commit=False,
            auto_offset_reset="none",  # the default would jump over a lost log without a word
            session_timeout_ms=self._session_ms,
            heartbeat_interval_ms=self._session_ms // 4,
            rebalance_timeout_ms=int(self._session_ms * 1.4),
            max_partition_fetch_bytes=FETCH_BYTES,
            fetch_max_wait_ms=WAIT_MS // 2,
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
        """The next records, perhaps none. Raises OutOfRange."""
        try:
            got = await self._consumer.getmany(timeout_ms=WAIT_MS, max_records=self._batch)
        except (OffsetOutOfRangeError, NoOffsetForPartitionError) as error:
            raised = OutOfRange("the log does not hold the offset wanted next", where=self._topic, remedy="The topic's id is read again.")
            if isinstance(error, OffsetOutOfRangeError):
                raised.partitions = frozenset((tp.topic, tp.partition) for tp in error.args[0])
            raise raised from error
        return [
            RawRecord(topic=tp.topic, partition=tp.partition, offset=record.offset, value=record.value or b"")
            for tp, records in got.items()
            for record in records
        ]

    def move(self, places: Mapping[Partition, int]) -> None:
        """Reads on from these offsets; partitions that are not ours any more are passed over."""
        held = self._consumer.assignment()
        for (topic, partition), offset in places.items():
            if TopicPartition(topic, partition) in held:
                self._consumer.seek(TopicPartition(topic, partition), offset)

    async def first_offsets(self, partitions: Collection[Partition]) -> Mapping[Partition, int]:
        """The oldest offset that each partition still holds."""
        found = await self._consumer.beginning_offsets([TopicPartition(*partition) for partition in partitions])
        return {(tp.topic, tp.partition): offset for tp, offset in found.items()}

    async def commit(self, places: Mapping[Partition, int]) -> str | None:
        """Tells the group how far we are. None, or why it did not take it, which harms nothing."""
        try:
            await self._consumer.commit({TopicPartition(*partition): offset for partition, offset in places.items()})
        except KafkaError as error:
            return f"{type(error).__name__}: {error}"
        return None

    async def stop(self) -> None:
        if self._consumer is not None:
            await self._consumer.stop()
