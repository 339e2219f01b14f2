"""Parts of the recorder, from settings."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING

from flywheel.ids import WorkloadId
from flywheel.traffic.inference import Inference
from services.adapters import event_codec, kafka_batches, kafka_topics
from services.adapters.kafka_batches import KafkaBatches
from services.ports.traffic import TrafficRecorder
from services.settings import Settings
from services.wiring.events import access
from services.wiring.traffic import traffic_store

if TYPE_CHECKING:  # the port stands beside types whose import costs seconds
    from services.ports.learn import Redactor

GROUP = "flywheel.traffic-windower"
OutOfRange = kafka_batches.OutOfRange


@dataclass(frozen=True, kw_only=True)
class WindowerParts:
    """What the recorder is made of."""

    broker_answers: Callable[[], str | None]  # None, or why not
    batches: KafkaBatches
    topic_id: Callable[[str], str]
    recorder: TrafficRecorder
    decode: Callable[[bytes], Inference]
    claimed_ids: Callable[[bytes], tuple[str, str]]
    redactor: "Callable[[], Redactor]"  # made when the first event comes that its producer has not redacted
    formats: Mapping[WorkloadId, dict[str, object] | None]  # also: the workloads there are
    faust_broker: str
    faust_dir: str


def windower_parts(settings: Settings) -> WindowerParts:
    """One straight line."""
    broker = access(settings)
    return WindowerParts(
        broker_answers=partial(kafka_topics.broker_answers, broker),
        batches=KafkaBatches(
            broker,
            topic=settings.kafka.topics.traffic,
            group=GROUP,
            session_timeout_seconds=settings.kafka.session_timeout_seconds,
        ),
        topic_id=partial(kafka_topics.topic_id, broker),
        recorder=traffic_store(settings),
        decode=event_codec.decode_traffic,
        claimed_ids=event_codec.claimed_ids,
        redactor=cache(partial(_redactor, settings)),
        formats={WorkloadId(name): workload.format.json_schema for name, workload in settings.workloads.items()},
        faust_broker=f"kafka://{settings.bootstrap}",
        faust_dir=str(settings.data_dir / "faust" / "traffic_windower"),
    )


def _redactor(settings: Settings) -> "Redactor":
    """Imported here: most events come redacted by the gateway, and the import alone costs seconds."""
    from services.wiring.redaction import redactor

    return redactor(settings)
