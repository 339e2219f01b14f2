"""The broker, from settings: access, publisher, topics."""

from pathlib import Path
from typing import Any

import yaml

from flywheel.errors import InvalidSettings
from services.adapters import kafka_topics
from services.adapters.kafka_events import KafkaEventPublisher
from services.adapters.kafka_topics import KafkaAccess
from services.settings import Settings
from services.wiring import deploy_dir


def access(settings: Settings) -> KafkaAccess:
    """Bootstrap and security of the broker in use."""
    kafka = settings.kafka
    return KafkaAccess(
        bootstrap=settings.bootstrap,
        security_protocol=kafka.security_protocol,
        ssl_cafile=str(kafka.ssl_cafile) if kafka.ssl_cafile else None,
        sasl_mechanism=kafka.sasl_mechanism,
        sasl_username=kafka.sasl_username,
        sasl_password=_secret(kafka.sasl_password_file) if kafka.sasl_password_file else None,
    )


def publisher(settings: Settings) -> KafkaEventPublisher:
    """Connects at the first message."""
    return KafkaEventPublisher(access(settings))


def topic_spec() -> dict[str, Any]:
    """deploy/kafka/topics.yaml."""
    return dict(yaml.safe_load((deploy_dir() / "kafka" / "topics.yaml").read_text()))


def create_topics(settings: Settings) -> tuple[str, ...]:
    """Every topic the daemon needs; returns the names of the new ones."""
    return kafka_topics.create_topics(access(settings), names=settings.kafka.topics.model_dump(), spec=topic_spec())


def _secret(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError as error:
        raise InvalidSettings(
            "cannot be read", where="kafka.sasl_password_file", value=str(path), remedy="Name a file that this user can read."
        ) from error
