"""Creates topics, and reads a topic's id.

In: bootstrap, names, ``deploy/kafka/topics.yaml``. Out: topics that exist; the id of a topic, which changes when a broker comes
back empty, although the topic's name and the cluster's id stay the same.
"""

import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import yaml
from kafka.admin import KafkaAdminClient, NewTopic
from kafka.errors import KafkaError, TopicAlreadyExistsError

from deploy import deploy_dir
from flywheel.errors import CannotRun

REQUEST_TIMEOUT_MS = 10_000
BOOTSTRAP_TIMEOUT_MS = 5_000


@dataclass(frozen=True, kw_only=True)
class KafkaAccess:
    """The broker's address and credentials."""

    bootstrap: str
    security_protocol: str = "PLAINTEXT"
    ssl_cafile: str | None = None
    sasl_mechanism: str | None = None
    sasl_username: str | None = None
    sasl_password: str | None = None

    def options(self) -> dict[str, Any]:
        """Arguments that kafka-python and aiokafka share."""
        given: dict[str, Any] = {"bootstrap_servers": self.bootstrap, "security_protocol": self.security_protocol}
        if self.security_protocol.endswith("SSL"):
            given["ssl_context"] = ssl.create_default_context(cafile=self.ssl_cafile)
        if self.sasl_mechanism:
            given |= {
                "sasl_mechanism": self.sasl_mechanism,
                "sasl_plain_username": self.sasl_username,
                "sasl_plain_password": self.sasl_password,
            }
        return given


def topic_spec() -> dict[str, Any]:
    """The content of deploy/kafka/topics.yaml."""
    return dict(yaml.safe_load((deploy_dir() / "kafka" / "topics.yaml").read_text()))


def create_topics(access: KafkaAccess, *, names: Mapping[str, str], spec: Mapping[str, Any], replication: int = 1) -> tuple[str, ...]:
    """Creates each topic of ``names`` (key in ``spec["topics"]`` to its name) and its dead-letter topic; returns those it created.

    An existing topic stays as it is, even with another number of partitions: changing it would move keys.
    """
    wanted = [_new(name, spec["topics"][key], replication) for key, name in names.items()]
    letters = spec["dead_letters"]
    wanted += [_new(name + letters["suffix"], letters, replication) for name in names.values()]
    created = []
    with _admin(access) as admin:
        for topic in wanted:
            try:
                admin.create_topics([topic])
            except TopicAlreadyExistsError:
                continue
            created.append(topic.name)
    return tuple(created)


def topic_id(access: KafkaAccess, topic: str) -> str:
    """The topic id. A topic that was deleted and created again has another one."""
    with _admin(access) as admin:
        described = admin.describe_topics([topic])
    if not described or not described[0].get("topic_id") or described[0].get("error_code"):
        raise CannotRun(
            "the broker has no such topic", where="kafka", value=topic, remedy="Start with `flywheel up`, which makes the topics."
        )
    return str(described[0]["topic_id"])


def broker_answers(access: KafkaAccess) -> str | None:
    """None when the broker answers a request for metadata, else why not."""
    try:
        with _admin(access) as admin:
            admin.list_topics()
    except CannotRun as error:
        return str(error)
    except KafkaError as error:
        return f"kafka.bootstrap: {type(error).__name__} (got {access.bootstrap!r})"
    return None


def _new(name: str, spec: Mapping[str, Any], replication: int) -> NewTopic:
    configs = {"cleanup.policy": spec.get("cleanup", "delete"), "retention.ms": str(int(spec["retention_days"] * 86_400_000))}
    return NewTopic(name=name, num_partitions=spec["partitions"], replication_factor=replication, topic_configs=configs)


@contextmanager
def _admin(access: KafkaAccess) -> Iterator[Any]:
    try:
        admin = KafkaAdminClient(request_timeout_ms=REQUEST_TIMEOUT_MS, bootstrap_timeout_ms=BOOTSTRAP_TIMEOUT_MS, **access.options())
    except (KafkaError, OSError) as error:
        raise CannotRun(
            "the broker does not answer",
            where="kafka.bootstrap",
            value=access.bootstrap,
            remedy="Start it, or leave kafka.bootstrap unset to use the embedded development broker.",
        ) from error
    try:
        yield admin
    finally:
        admin.close()
