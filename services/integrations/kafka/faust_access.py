"""The broker's URL and credentials in Faust's form, and a transport that reads committed records only."""

import ssl
from typing import Any

import faust
from faust.transport.drivers import aiokafka as driver

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
