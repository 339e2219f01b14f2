"""Creates topics, and reads a topic's id.

In: bootstrap, names, ``deploy/kafka/topics.yaml``. Out: topics that exist; the id of a topic, which changes when a broker comes
back empty, although the topic's name and the cluster's id stay the same.
"""

import asyncio
import ssl
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Protocol

import yaml
from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient, NewTopic
from kafka.errors import KafkaError, TopicAlreadyExistsError

from deploy import deploy_dir
from flywheel.errors import CannotRun

REQUEST_TIMEOUT_MS = 10_000
BOOTSTRAP_TIMEOUT_MS = 5_000
SHORTEST_SESSION, LONGEST_SESSION = "group.min.session.timeout.ms", "group.max.session.timeout.ms"
LOOK_SECONDS = 2.0  # between two looks whether a broker that was away answers
CREATE = "Run `flywheel topics create`."


class BrokerAway(CannotRun):
    """Nothing answers at the broker's address."""


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


def create_topics(access: KafkaAccess, *, names: Mapping[str, str], spec: Mapping[str, Any], replication: int) -> tuple[str, ...]:
    """Creates each topic of ``names`` (key in ``spec["topics"]`` to its name) and its dead-letter topic; returns those it created.

    An existing topic stays as it is, even with another number of partitions: changing it would move keys.
    """
    created = []
    with _admin(access) as admin:
        for topic in _wanted(names, spec, replication):
            try:
                admin.create_topics([topic])
            except TopicAlreadyExistsError:
                continue
            created.append(topic.name)
    return tuple(created)


def differing_topics(access: KafkaAccess, *, names: Mapping[str, str], spec: Mapping[str, Any], replication: int) -> tuple[str, ...]:
    """What the broker has otherwise than ``create_topics`` would make it, a sentence each."""
    wanted = {topic.name: topic for topic in _wanted(names, spec, replication)}
    with _admin(access) as admin:
        found = {one["name"]: one for one in admin.describe_topics(list(wanted))}
    differences = []
    for name, topic in wanted.items():
        partitions = found[name]["partitions"] if name in found and not found[name].get("error_code") else []
        if not partitions:
            differences.append(f"topic {name} is missing")
            continue
        if len(partitions) != topic.num_partitions:
            differences.append(f"topic {name} has {len(partitions)} partitions instead of {topic.num_partitions}")
        copies = min(len(partition["replica_nodes"]) for partition in partitions)
        if copies != topic.replication_factor:
            differences.append(f"topic {name} is kept on {copies} brokers instead of {topic.replication_factor}")
    return tuple(differences)


def topic_id(access: KafkaAccess, topic: str) -> str:
    """The topic id. A topic that was deleted and created again has another one."""
    with _admin(access) as admin:
        described = admin.describe_topics([topic])
    if not described or not described[0].get("topic_id") or described[0].get("error_code"):
        raise CannotRun("the broker has no such topic", where="kafka.topics", value=topic, remedy=CREATE)
    return str(described[0]["topic_id"])


def check_broker(access: KafkaAccess, *, topics: Collection[str], session_timeout_seconds: float) -> None:
    """Raises BrokerAway where the broker does not answer, else CannotRun where it lacks one of ``topics`` or would refuse the session
    time-out of consumers."""
    if (why := broker_answers(access)) is not None:
        raise BrokerAway(why.rstrip("."), where="kafka.bootstrap", value=access.bootstrap, remedy="Start the broker.")
    with _admin(access) as admin:
        missing = [one["name"] for one in admin.describe_topics(list(topics)) if one.get("error_code")]
        limits = _session_limits(admin)
    if missing:
        raise CannotRun(f"the broker has no topic {', '.join(sorted(missing))}", where="kafka.topics", remedy=CREATE)
    if limits is not None and not limits[0] <= session_timeout_seconds * 1000 <= limits[1]:
        raise session_timeout_refused(session_timeout_seconds, f"the broker allows {limits[0] / 1000:g} to {limits[1] / 1000:g} s")


class WaitsForBroker(Protocol):
    """Returns when the broker answers and can be used, or, with False, when the process was asked to stop. ``told``: why it waits, and
    None when that is over. Raises CannotRun as ``check_broker`` does for a broker that answers."""

    async def __call__(self, *, stop: asyncio.Event, told: Callable[[str | None], None]) -> bool: ...


def waits_for_broker(access: KafkaAccess, *, topics: Collection[str], session_timeout_seconds: float) -> WaitsForBroker:
    """For a consumer's start: a broker that comes later than the daemon must not end it."""

    async def waits(*, stop: asyncio.Event, told: Callable[[str | None], None]) -> bool:
        while not stop.is_set():
            try:
                await asyncio.to_thread(check_broker, access, topics=topics, session_timeout_seconds=session_timeout_seconds)
            except BrokerAway as error:
                told(f"waiting for the broker: {error}")
                with suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), LOOK_SECONDS)
                continue
            told(None)
            return True
        return False

    return waits


def session_timeout_refused(seconds: float, why: str) -> CannotRun:
    """For whoever joins a group."""
    limits = "group.min.session.timeout.ms and group.max.session.timeout.ms"
    return CannotRun(
        f"the broker refuses this session time-out: {why}",
        where="kafka.session_timeout_seconds",
        value=seconds,
        remedy=f"Set a time between the broker's {limits}.",
    )


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


def _wanted(names: Mapping[str, str], spec: Mapping[str, Any], replication: int) -> list[NewTopic]:
    letters = spec["dead_letters"]
    return [
        *(_new(name, spec["topics"][key], replication) for key, name in names.items()),
        *(_new(name + letters["suffix"], letters, replication) for name in names.values()),
    ]


def _session_limits(admin: Any) -> tuple[float, float] | None:
    """Shortest and longest session time-out in milliseconds; None where the broker does not say, or not to us."""
    try:
        node = str(admin.describe_cluster()["controller_id"])
        resource = ConfigResource(ConfigResourceType.BROKER, node)
        said = admin.describe_configs([resource], config_filter="all")["broker"][node]
        return float(said[SHORTEST_SESSION]["value"]), float(said[LONGEST_SESSION]["value"])
    except (KafkaError, KeyError, TypeError, ValueError):
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
    except KafkaError as error:
        raise CannotRun(
            f"the broker refuses: {type(error).__name__}: {error}"[:300],
            where="kafka.bootstrap",
            value=access.bootstrap,
            remedy="See its log; the daemon's user there needs the rights to read, write and describe its topics.",
        ) from error
    finally:
        admin.close()
