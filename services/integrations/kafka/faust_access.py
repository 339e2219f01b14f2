"""The broker's URL and credentials in Faust's form, a transport that reads committed records only, and what an app has still to do."""

import ssl
from typing import Any

import faust
from aiokafka.errors import KafkaError as AIOKafkaError
from faust.transport.drivers import aiokafka as driver

from flywheel.errors import CannotRun
from services.integrations.kafka.topics import KafkaAccess


def broker_url(access: KafkaAccess) -> str:
    """Faust separates brokers by semicolons, each with its scheme."""
    return ";".join(f"kafka://{address.strip()}" for address in access.bootstrap.split(","))


def broker_credentials(access: KafkaAccess) -> Any:
    """None for a plain connection."""
    encrypted = access.security_protocol.endswith("SSL")
    context = ssl.create_default_context(cafile=access.ssl_cafile) if encrypted else None
    if access.sasl_mechanism:
        return faust.SASLCredentials(
            username=access.sasl_username, password=access.sasl_password, ssl_context=context, mechanism=access.sasl_mechanism
        )
    return faust.SSLCredentials(context=context) if encrypted else None


def committed_only(app: faust.App) -> faust.App:
    """The same app. What a producer's aborted transaction sent was never said; Faust reads it unless it is transactional itself."""
    app.transport = _Transport(app.conf.broker_consumer, app)
    return app


async def unacknowledged(app: Any) -> int:
    """How many records of the app's partitions it has not acknowledged, fetched or not. Raises CannotRun where the broker does not say."""
    consumer = app.consumer
    held = sorted(consumer.assignment())
    if not held:
        return 0
    try:
        ends = await consumer.highwaters(*held)
        unread = sum([max(0, int(end) - (await consumer.position(partition) or 0)) for partition, end in ends.items()])
    except (AIOKafkaError, OSError) as error:
        raise CannotRun(
            f"the broker does not say where the topic ends: {type(error).__name__}",
            where="kafka.bootstrap",
            remedy="It is asked again; see that the broker runs.",
        ) from error
    return int(unread) + sum(not message.acked for message in list(consumer.unacked))


class _ConsumerThread(driver.AIOKafkaConsumerThread):  # type: ignore[misc]
    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        consumer._isolation_level = "read_committed"
        return consumer


class _Consumer(driver.Consumer):  # type: ignore[misc]
    def _new_consumer_thread(self) -> _ConsumerThread:
        return _ConsumerThread(self, loop=self.loop, beacon=self.beacon)


class _Transport(driver.Transport):  # type: ignore[misc]
    Consumer = _Consumer
