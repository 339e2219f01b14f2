"""One batch through the real steps on the real store."""

from datetime import timedelta
from pathlib import Path

import pytest

from flywheel.errors import CannotRun
from flywheel.ids import WorkloadId
from flywheel.traffic.recording import RawRecord
from flywheel.windows.pane_shape import PaneShape
from flywheel.windows.slices import SlicePolicy
from services.integrations.kafka.event_codec import claimed_ids, decode_traffic
from services.traffic_windower.record_batches import Recorded, Recording, record_batch
from tests.traffic_events import NOON, traffic_event
from tests.traffic_stores import BothSides, recording_store

SUPPORT = WorkloadId("support")
NOW = NOON + timedelta(hours=1)


class Masks:
    """A redactor that hides every @."""

    def redact(self, text: str) -> tuple[str, int]:
        return text.replace("@", "<EMAIL_ADDRESS:3f2a9c01>"), text.count("@")


def no_redactor() -> Masks:
    raise CannotRun("presidio is missing", remedy="Install it.")


@pytest.fixture
def store(tmp_path: Path) -> BothSides:
    return recording_store(tmp_path, shapes={SUPPORT: PaneShape(pane=timedelta(seconds=10), slices=SlicePolicy())})


def run(store: BothSides, values: list[bytes], *, first: int = 0, redactor: object = Masks) -> Recorded:
    position = store.assign(topic_id="a", topic="t", partition=0)
    return record_batch(
        records=[RawRecord(topic="t", partition=0, offset=first + n, value=value) for n, value in enumerate(values)],
        positions={("t", 0): position},
        reading_at={("t", 0): position.offset},
        parts=Recording(
            recorder=store,
            decode=decode_traffic,
            claimed_ids=claimed_ids,
            redactor=redactor,  # type: ignore[arg-type]
            formats={SUPPORT: {"type": "object"}},
        ),
        now=NOW,
    )


def test_rubbish_between_good_events_disturbs_nothing(store: BothSides) -> None:
    done = run(store, [traffic_event(1), b"\xff", b"", traffic_event(2, status="x"), traffic_event(3)])
    assert done.moved_to == {("t", 0): 5}
    counts = store.counts(SUPPORT)
    assert (counts.recorded, counts.dead_lettered) == (2, 3)
    assert {(letter.path, letter.workload) for letter in store.dead_letters()} == {("$", ""), ("$.data.status", "support")}


def test_a_redelivered_dead_letter_is_the_same_letter(store: BothSides) -> None:
    run(store, [traffic_event(2, status="x")])
    run(store, [traffic_event(2, status="x")], first=1)
    assert len(store.dead_letters()) == 1


def test_text_that_the_producer_did_not_redact_is_redacted_first(store: BothSides) -> None:
    run(store, [traffic_event(1, redacted=False, request={"messages": [{"role": "user", "content": "ann@x"}]}), traffic_event(2)])
    first, second = store.rows(workload=SUPPORT, start=NOON, end=NOW)
    assert first.inference.exchange.prompt.messages[0].text == "ann<EMAIL_ADDRESS:3f2a9c01>x"
    assert (first.features["personal_data"], second.features["personal_data"]) == (1.0, 0.0)


def test_without_a_redactor_nothing_unredacted_is_stored(store: BothSides) -> None:
    with pytest.raises(CannotRun):
        run(store, [traffic_event(1, redacted=False)], redactor=no_redactor)
    assert store.counts(SUPPORT).recorded == 0
    run(store, [traffic_event(2)], redactor=no_redactor)
    assert store.counts(SUPPORT).recorded == 1


def test_an_offset_that_goes_backward_is_reported_and_records_nothing(store: BothSides) -> None:
    run(store, [traffic_event(1), traffic_event(2)])
    done = run(store, [traffic_event(3)], first=0)
    assert done.went_backward == (("t", 0),)
    assert store.counts(SUPPORT).recorded == 2
