import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaConsumer

from flywheel.ids import WorkloadId
from flywheel.journal import JournalEntry, JournalKind
from flywheel.traffic.dead_letter import letter_id
from services.api.accept_submissions import MESSAGE_PREFIX
from services.api.relay_outbox import Relay
from services.ports.outbox import OutboxMessage
from tests.told_flows import journalled, watched


@pytest.fixture
def relay(api: Any) -> Relay:
    return relay_of(api)


def relay_of(api: Any, **changes: Any) -> Relay:
    wanted = {
        "outbox": api.parts.ledger.outbox,
        "corrections": api.parts.ledger.corrections,
        "journal": api.parts.ledger.journal,
        "open_publisher": api.parts.open_publisher,
        "corrections_topic": api.parts.corrections_topic,
    }
    return Relay(**{**wanted, **changes})


def submit(api: Any, name: str = "c-1") -> None:
    body = {
        "correction_id": name,
        "workload_id": "tool-router",
        "source": "desk",
        "kind": "comment",
        "request_id": "r-1",
        "author": {"name": "Mia"},
        "created_at": "2026-05-01T07:00:00Z",
    }
    assert api.ask("POST", "/v1/corrections", json=body).status_code == 202


def alert_event(api: Any, name: str = "a-1") -> OutboxMessage:
    return OutboxMessage(id=name, topic="flywheel.alerts.v1", key="k", value=b"{}", created_at=api.now)


def left(api: Any) -> list[str]:
    return [message.id for message in api.parts.ledger.outbox.due(now=api.now + timedelta(days=1), resend_after=timedelta(0))]


def test_an_event_is_sent_once_and_deleted_when_acknowledged(api: Any, relay: Relay) -> None:
    api.parts.ledger.outbox.put(alert_event(api))
    assert relay.step(api.now) == 1
    assert relay.step(api.now) == 0
    assert [message.id for message in api.publisher.arrived] == ["a-1"]
    assert left(api) == []


def test_a_correction_is_sent_again_until_it_is_saved(api: Any, relay: Relay) -> None:
    submit(api)
    relay.step(api.now)
    api.later(seconds=10)
    assert relay.step(api.now) == 0  # acknowledged a moment ago: not again yet
    api.later(seconds=10)
    relay.step(api.now)
    assert [message.id for message in api.publisher.arrived] == ["correction:tool-router/desk:c-1"] * 2
    assert left(api) == ["correction:tool-router/desk:c-1"]


def test_a_dead_lettered_correction_is_deleted(api: Any, relay: Relay) -> None:
    submit(api)
    relay.step(api.now)
    api.parts.ledger.journal.append(
        JournalEntry(
            at=api.now,
            workload=WorkloadId("tool-router"),
            kind="dead_letter",
            subject=letter_id(api.parts.corrections_topic, api.publisher.arrived[0].value),
            state="dead_lettered",
            reason="unreadable",
        )
    )
    api.later(seconds=20)
    relay.step(api.now)
    assert left(api) == []
    assert len(api.publisher.arrived) == 1


def test_an_event_that_is_refused_for_good_delays_no_other(api: Any, relay: Relay) -> None:
    large = replace(alert_event(api, "large"), value=b"x" * 2_000_000)
    api.parts.ledger.outbox.put(large, alert_event(api, "a-1"), alert_event(api, "a-2"))
    assert relay.step(api.now) == 3
    assert relay.trouble is None
    assert {message.id for message in api.publisher.arrived} == {"a-1", "a-2"}
    assert left(api) == []
    (line,) = api.parts.ledger.journal.entries(kind=JournalKind.DEAD_LETTER, subject="large", limit=9)
    assert (line.state, line.reason) == ("refused", "the broker refuses it for good: MessageSizeTooLargeError")
    submit(api)
    assert relay.step(api.now) == 1


def test_a_damaged_correction_in_the_outbox_delays_no_other(api: Any, relay: Relay) -> None:
    damaged = OutboxMessage(id=f"{MESSAGE_PREFIX}x", topic=api.parts.corrections_topic, key="k", value=b"{", created_at=api.now)
    api.parts.ledger.outbox.put(damaged, alert_event(api))
    assert relay.step(api.now) == 2


def test_messages_wait_while_the_broker_is_down(api: Any, relay: Relay) -> None:
    submit(api)
    api.parts.ledger.outbox.put(alert_event(api))
    api.publisher.down = True
    assert relay.step(api.now) == 0
    assert relay.trouble is not None
    assert "the broker is down" in relay.trouble
    assert api.publisher.closed == 1
    api.publisher.down = False
    assert relay.step(api.now) == 2
    assert relay.trouble is None


def test_an_unacknowledged_message_is_sent_again(api: Any, relay: Relay) -> None:
    api.parts.ledger.outbox.put(alert_event(api))
    api.publisher.losing = True
    assert relay.step(api.now) == 0
    assert relay.trouble is not None
    api.publisher.losing = False
    assert relay.step(api.now) == 1
    assert left(api) == []


def test_a_submission_cannot_replace_another_message(api: Any, relay: Relay) -> None:
    api.parts.ledger.outbox.put(alert_event(api, "a-1"))
    submit(api, "a-1")
    relay.step(api.now)
    assert sorted(message.id for message in api.publisher.arrived) == ["a-1", "correction:tool-router/desk:a-1"]


@pytest.mark.broker
def test_events_arrive_on_a_real_broker(api: Any, broker: str) -> None:
    from services.integrations.kafka.publisher import KafkaEventPublisher
    from services.integrations.kafka.topics import KafkaAccess

    relay = relay_of(api, open_publisher=lambda: KafkaEventPublisher(KafkaAccess(bootstrap=broker)))
    submit(api)
    from kafka import KafkaAdminClient
    from kafka.admin import NewTopic

    admin = KafkaAdminClient(bootstrap_servers=broker)
    admin.create_topics([NewTopic(name=api.parts.corrections_topic, num_partitions=1, replication_factor=1)])
    assert relay.step(api.now) == 1
    consumer = KafkaConsumer(
        api.parts.corrections_topic, bootstrap_servers=broker, auto_offset_reset="earliest", consumer_timeout_ms=10_000
    )
    record = next(iter(consumer))
    consumer.close()
    admin.close()
    assert json.loads(record.value)["data"]["correction_id"] == "c-1"


@pytest.mark.parametrize("ahead", [timedelta(hours=1), timedelta(days=1), timedelta(days=365)])
def test_a_correction_that_a_clock_ahead_has_sent_is_sent_again(api: Any, relay: Relay, ahead: timedelta) -> None:
    submit(api)
    assert relay.step(api.now + ahead) == 1
    assert relay.step(api.now) == 1
    assert relay.step(api.now) == 0


def test_events_that_no_broker_takes_are_told_to_stand(api: Any, relay: Relay, tmp_path: Path) -> None:
    with watched(tmp_path / "told", "api", relay.flow) as seen:
        relay.tick(api.now)
        seen.is_told_to_move("outbox")
        assert journalled(seen.settings, "outbox") == []  # nothing waits: that is no standing
        api.parts.ledger.outbox.put(alert_event(api))
        api.publisher.down = True
        relay.tick(api.now)
        seen.is_told_to_stand("outbox")
        assert "the broker is down" in seen.watch.standing()["outbox"]
        api.publisher.down = False
        relay.tick(api.now)
        seen.is_told_to_move("outbox")
        assert journalled(seen.settings, "outbox") == ["stands", "moves"]
