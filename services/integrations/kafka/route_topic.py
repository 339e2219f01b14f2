"""The releases topic, as a gateway follows it. Which of two routes wins is not decided here."""

from collections.abc import AsyncIterator

import orjson
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from flywheel.errors import CannotRun, InvalidInput
from flywheel.rollout.release import Route
from services.integrations.kafka.topics import KafkaAccess
from services.ports.route_on_the_wire import from_wire

FETCH_WAIT_MS = 2_000  # how long a broker holds an empty fetch; data is sent at once


class TopicRoutes:
    """The releases topic. Partition 0 is assigned directly: a group takes seconds to form, and every gateway needs every route."""

    def __init__(self, *, access: KafkaAccess, topic: str) -> None:
        self._access, self._topic = access, topic

    async def follow(self) -> AsyncIterator[Route | InvalidInput]:
        """From the beginning, then as they come; an unreadable event is yielded as its error. Raises CannotRun."""
        consumer = AIOKafkaConsumer(
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            metadata_max_age_ms=30_000,
            fetch_max_wait_ms=FETCH_WAIT_MS,
            **self._access.options(),
        )
        try:
            await consumer.start()
            partition = TopicPartition(self._topic, 0)
            consumer.assign([partition])
            consumer.seek(partition, 0)  # not seek_to_beginning: that asks for offsets, which the embedded broker answers wrongly
            async for record in consumer:
                if record.value is not None:  # a tombstone holds no route
                    yield _read(record.value)
        except (KafkaError, OSError) as error:
            raise CannotRun(
                f"the releases topic cannot be read: {error}",
                where="kafka.bootstrap",
                value=self._access.bootstrap,
                remedy="Routes still come from the api and from disk; see that the broker runs.",
            ) from error
        finally:
            await consumer.stop()


def _read(raw: bytes) -> Route | InvalidInput:
    try:
        event = orjson.loads(raw)
        return from_wire(event["data"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        return InvalidInput(
            f"is not a route event: {error!r}"[:300], where="releases topic", remedy="Only the api publishes to this topic."
        )
    except InvalidInput as error:
        return error
