"""The recorder's parts, from the settings."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

from flywheel.ids import WorkloadId
from flywheel.traffic.inference import Inference
from services.integrations.kafka import batches as kafka_batches
from services.integrations.kafka import event_codec, topics
from services.integrations.kafka.batches import KafkaBatches
from services.integrations.kafka.faust_access import broker_credentials, broker_url
from services.integrations.kafka.topics import KafkaAccess
from services.ports.journal import Journal
from services.ports.redaction import Redactor
from services.ports.traffic import TrafficRecorder
from services.settings import Settings
from services.settings.pane_shapes import pane_shapes
from services.settings.secrets import broker_fields, configured_redaction_key
from services.stores.database import DATABASE_FAILURES, open_ledger, open_traffic
from services.stores.disk_reserve import DiskReserve
from services.stores.ledger.journal import LedgerJournal
from services.stores.ledger.subject_keys import LedgerSubjectKeys, open_subject_keys
from services.stores.tokens import redaction_key
from services.stores.traffic.contents import ContentSealer
from services.stores.traffic.dead_letters import DeadLetterStore
from services.stores.traffic.recording_store import RecordingStore
from services.stores.work_notes import WorkNotes

GROUP = "flywheel.traffic-windower"
OutOfRange = kafka_batches.OutOfRange


@dataclass(frozen=True, kw_only=True)
class WindowerParts:
    """Everything the recorder works with."""

    broker_is_back: topics.WaitsForBroker
    batches: KafkaBatches
    topic_id: Callable[[str], str]
    recorder: TrafficRecorder
    journal: Journal
    decode: Callable[[bytes], Inference]
    claimed_ids: Callable[[bytes], tuple[str, str]]
    redactor: Callable[[], Redactor]  # made for the first event that its producer has not redacted
    formats: Mapping[WorkloadId, dict[str, object] | None]  # of every configured workload
    of_machine: tuple[type[Exception], ...]
    notes: WorkNotes
    faust_broker: str
    faust_credentials: Any
    faust_dir: str


def windower_parts(settings: Settings) -> WindowerParts:
    """Opens both databases and the sealing key; raises CannotRun when one of them cannot be used."""
    broker = KafkaAccess(**broker_fields(settings))
    survives = settings.records_survive_power_cuts  # what is recorded is deleted from the gateway's spool
    ledger = open_ledger(settings.ledger_url, survives_power_cuts=survives)
    traffic = open_traffic(settings.traffic_url, survives_power_cuts=survives)
    keys = open_subject_keys(ledger, data_dir=settings.data_dir, configured=settings.sealing_key_file)
    DeadLetterStore(traffic, key=keys.sealing).seal_older()
    room = DiskReserve(settings.data_dir).require_room
    return WindowerParts(
        broker_is_back=topics.waits_for_broker(
            broker, topics=(settings.kafka.topics.traffic,), session_timeout_seconds=settings.kafka.session_timeout_seconds
        ),
        batches=KafkaBatches(
            broker,
            topic=settings.kafka.topics.traffic,
            group=GROUP,
            session_timeout_seconds=settings.kafka.session_timeout_seconds,
        ),
        topic_id=partial(topics.topic_id, broker),
        recorder=RecordingStore(traffic, shapes=pane_shapes(settings), sealer=_sealer(settings, keys), require_room=room),
        journal=LedgerJournal(ledger),
        decode=event_codec.decode_traffic,
        claimed_ids=event_codec.claimed_ids,
        redactor=cache(
            partial(
                _redactor,
                redaction_key(settings.data_dir, configured=configured_redaction_key(settings), in_use=keys.in_use()),
                **settings.redaction.model_dump(),
            )
        ),
        formats={WorkloadId(name): workload.format.json_schema for name, workload in settings.workloads.items()},
        of_machine=DATABASE_FAILURES,
        notes=WorkNotes(settings.data_dir / "in_work"),
        faust_broker=broker_url(broker),
        faust_credentials=broker_credentials(broker),
        faust_dir=str(settings.data_dir / "faust" / "traffic_windower"),
    )


def _sealer(settings: Settings, keys: LedgerSubjectKeys) -> ContentSealer:
    return ContentSealer(keys, subjects={WorkloadId(name): workload.recording.subject for name, workload in settings.workloads.items()})


def _redactor(key: bytes, **names: Any) -> Redactor:
    """Imported at first use: the gateway redacts most events, and the import takes seconds."""
    from services.integrations.presidio.redactor import PresidioRedactor

    return PresidioRedactor(key=key, **names)
