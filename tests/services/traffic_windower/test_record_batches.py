"""One batch through the real steps on the real store."""

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from flywheel.errors import CannotRun
from flywheel.ids import WorkloadId
from flywheel.traffic.dead_letter import LetterState, letter_id
from flywheel.traffic.inference import Inference
from flywheel.traffic.recording import RawRecord
from flywheel.traffic.redaction import CUT_MARK
from flywheel.windows.pane_shape import PaneShape
from flywheel.windows.slices import SlicePolicy
from services.integrations.kafka.event_codec import claimed_ids, decode_traffic
from services.ports.cloud_events import GATEWAY
from services.stores.database import DATABASE_FAILURES
from services.stores.ledger.subject_keys import open_subject_keys
from services.traffic_windower.record_batches import Recorded, Recording, record_batch
from tests.databases import migrated_ledger
from tests.traffic_events import NOON, traffic_event
from tests.traffic_stores import BothSides, recording_store

SUPPORT = WorkloadId("support")
NOW = NOON + timedelta(hours=1)


class Masks:
    """A redactor that hides every @."""

    def redact(self, text: str, names: tuple[str, ...] = ()) -> tuple[str, int]:
        return text.replace("@", "<EMAIL_ADDRESS:3f2a9c01>"), text.count("@")


class Cuts(Masks):
    """Cannot search what holds "poison"."""

    def redact(self, text: str, names: tuple[str, ...] = ()) -> tuple[str, int]:
        return (CUT_MARK, 1) if "poison" in text else super().redact(text)


def no_redactor() -> Masks:
    raise CannotRun("presidio is missing", remedy="Install it.")


@pytest.fixture
def store(tmp_path: Path) -> BothSides:
    return recording_store(tmp_path, shapes={SUPPORT: PaneShape(pane=timedelta(seconds=10), slices=SlicePolicy())})


def run(
    store: BothSides,
    values: list[bytes],
    *,
    first: int = 0,
    beside: Sequence[bytes] = (),
    redactor: object = Masks,
    decode: Callable[[bytes], Inference] = decode_traffic,
) -> Recorded:
    """One batch: ``values`` of partition 0 from offset ``first``, and ``beside`` of partition 1, which nobody has read before."""
    positions = {("t", number): store.assign(topic_id="a", topic="t", partition=number) for number in range(2 if beside else 1)}
    return record_batch(
        records=[
            *(RawRecord(topic="t", partition=0, offset=first + n, value=value) for n, value in enumerate(values)),
            *(RawRecord(topic="t", partition=1, offset=n, value=value) for n, value in enumerate(beside)),
        ],
        positions=positions,
        reading_at={partition: position.offset for partition, position in positions.items()},
        parts=Recording(
            recorder=store,
            decode=decode,
            claimed_ids=claimed_ids,
            redactor=redactor,  # type: ignore[arg-type]
            formats={SUPPORT: {"type": "object"}},
            of_machine=DATABASE_FAILURES,
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


def test_what_its_producer_wrote_beside_the_texts_is_redacted_too(store: BothSides) -> None:
    who = "ann@x"
    value = traffic_event(
        1, redacted=False, session_id=who, dimensions={who: who, "tenant": "acme"}, client_request_id=who, error=f"no {who}"
    )
    run(store, [value, traffic_event(2, redacted=False, client_request_id="req-2")])
    first, second = (row.inference for row in store.rows(workload=SUPPORT, start=NOON, end=NOW))
    clean = "ann<EMAIL_ADDRESS:3f2a9c01>x"
    assert (first.session, first.client_request_id, first.attempt.error) == (clean, clean, f"no {clean}")
    assert first.dimensions == {clean: clean, "tenant": "acme"}
    assert (second.client_request_id, second.exchange.left_out) == ("req-2", ())
    assert who.encode() not in b"".join(path.read_bytes() for path in stored_files(store))


def test_a_text_that_cannot_be_searched_is_cut_and_marked(store: BothSides) -> None:
    messages = [{"role": "user", "content": "poison of ann@x"}]
    run(store, [traffic_event(1, redacted=False, request={"messages": messages}, dimensions={"tenant": "poison"})], redactor=Cuts)
    (row,) = (row.inference for row in store.rows(workload=SUPPORT, start=NOON, end=NOW))
    assert (row.exchange.prompt.messages[0].text, row.exchange.left_out) == (CUT_MARK, ("request.messages[0].content",))
    assert row.dimensions == {"tenant": CUT_MARK}


def test_a_dead_letter_repeats_no_personal_data_of_a_key(store: BothSides) -> None:
    run(store, [traffic_event(1, dimensions={"ann@x": 7}), traffic_event(2, **{"ann@y": 7})])
    told = [(letter.path, letter.reason) for letter in store.dead_letters()]
    assert "@" not in str(told)
    assert str(told).count("<EMAIL_ADDRESS:") == 2


def stored_files(store: BothSides) -> list[Path]:
    return [path for path in Path(str(store.engine.url.database)).parent.iterdir() if path.is_file()]


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


def damaged(store: BothSides, name: str, statement: str, *values: object) -> None:
    """Changes a row as a fault of the disk or another program would."""
    with closing(sqlite3.connect(Path(str(store.engine.url.database)).with_name(f"{name}.db"))) as connection:
        assert connection.execute(statement, values).rowcount == 1
        connection.commit()


@pytest.mark.parametrize("damage", [bytes(60), b"", "text", 7])
def test_a_damaged_subject_key_stops_no_other_subject(store: BothSides, damage: object) -> None:
    run(store, [traffic_event(n, session_id=f"s-{n}") for n in range(3)])
    subject = store.keys.digest(SUPPORT, ("session", "s-1"))
    damaged(store, "ledger", "UPDATE subject_keys SET sealed_key = ? WHERE subject = ?", damage, subject)
    done = run(store, [traffic_event(10 + n, session_id=f"s-{n % 3}") for n in range(6)], first=3)
    assert (done.moved_to, done.dead_letters) == ({("t", 0): 9}, 2)
    counts = store.counts(SUPPORT)
    assert (counts.recorded, counts.dead_lettered) == (7, 2)
    for letter in store.dead_letters():
        assert letter.event_id in ("event-11", "event-14")
        assert letter.path.startswith("ledger: subject_keys, id ")
        assert letter.reason.startswith("the key of this exchange's subject cannot be opened with the sealing key. Restore the row")


def test_a_damaged_key_does_not_make_the_sealing_key_another_one(store: BothSides, tmp_path: Path) -> None:
    run(store, [traffic_event(n, session_id=f"s-{n}") for n in range(3)])
    for session in ("s-0", "s-2"):
        subject = store.keys.digest(SUPPORT, ("session", session))
        damaged(store, "ledger", "UPDATE subject_keys SET sealed_key = zeroblob(60) WHERE subject = ?", subject)
    open_subject_keys(migrated_ledger(tmp_path), data_dir=tmp_path, configured=None)
    subject = store.keys.digest(SUPPORT, ("session", "s-1"))
    damaged(store, "ledger", "UPDATE subject_keys SET sealed_key = zeroblob(60) WHERE subject = ?", subject)
    with pytest.raises(CannotRun, match="is not the sealing key"):
        open_subject_keys(migrated_ledger(tmp_path), data_dir=tmp_path, configured=None)


@pytest.mark.parametrize("damage", [b"", b"\xff" * 40, b"\x02\x00\x00\x00{}", "text", 7])
def test_a_damaged_pane_is_counted_again_from_its_rows(store: BothSides, damage: object) -> None:
    run(store, [traffic_event(n) for n in range(6)])
    before = store.window(workload=SUPPORT, start=NOON, end=NOW)
    damaged(store, "traffic", "UPDATE panes SET counts = ?", damage)
    run(store, [traffic_event(6), traffic_event(7, arm="shadow")], first=6)
    after = store.window(workload=SUPPORT, start=NOON, end=NOW)
    assert (before.rows, after.rows) == (6, 7)
    refused = store.window(workload=SUPPORT, start=NOON, end=NOW).matrix
    assert all((refused.of(column).sum(axis=1) == refused.rows).all() for column, _ in refused.bins)


def test_a_damaged_pane_counts_the_rows_of_other_partitions_once(store: BothSides) -> None:
    run(store, [traffic_event(n) for n in range(3)])
    damaged(store, "traffic", "UPDATE panes SET counts = ?", b"")
    run(store, [traffic_event(3)], first=3, beside=[traffic_event(4), traffic_event(5)])
    assert store.window(workload=SUPPORT, start=NOON, end=NOW).rows == 6


@pytest.mark.parametrize("damage", ["text", -4, b"\x00"])
def test_a_damaged_position_is_read_from_the_beginning(store: BothSides, damage: object) -> None:
    run(store, [traffic_event(1), traffic_event(2)])
    damaged(store, "traffic", "UPDATE positions SET next_offset = ?", damage)
    run(store, [traffic_event(1), traffic_event(2), traffic_event(3)])
    assert store.counts(SUPPORT).recorded == 3


def test_an_event_that_fails_twice_is_a_dead_letter_with_a_redacted_message(store: BothSides) -> None:
    failed: list[bytes] = []

    def fails(raw: bytes) -> Inference:
        if b'"session_id":"bad"' in raw:
            failed.append(raw)
            raise KeyError("ann@example.com")
        return decode_traffic(raw)

    bad = {17, 40, 41}
    done = run(store, [traffic_event(n, **({"session_id": "bad"} if n in bad else {})) for n in range(60)], decode=fails)
    assert (done.moved_to, done.dead_letters, store.counts(SUPPORT).recorded) == ({("t", 0): 60}, 3, 57)
    assert {letter.event_id for letter in store.dead_letters()} == {f"event-{n}" for n in bad}
    assert all(failed.count(raw) >= 2 for raw in failed)
    for letter in store.dead_letters():
        assert "KeyError at services.traffic_windower.record_batches:" in letter.reason
        assert letter.reason.endswith("'ann<EMAIL_ADDRESS:3f2a9c01>example.com'")


def test_a_retried_letter_waits_again_when_it_fails_and_is_taken_when_it_does_not(store: BothSides) -> None:
    def fails(_raw: bytes) -> Inference:
        raise KeyError

    run(store, [traffic_event(1), traffic_event(2)], decode=fails)
    failed, other = (letter_id("t", traffic_event(number)) for number in (1, 2))
    store.move(failed, LetterState.RETRIED)
    run(store, [traffic_event(1)], first=2, decode=fails)
    again = store.dead_letter(failed)
    assert again is not None
    assert (again.state, again.attempts, again.offset) == (LetterState.WAITING, 2, 2)
    store.move(failed, LetterState.RETRIED)
    run(store, [traffic_event(1), traffic_event(1), traffic_event(3)], first=3)
    assert {one.id: one.state for one in store.dead_letters()} == {failed: LetterState.TAKEN, other: LetterState.WAITING}
    assert store.counts(SUPPORT).recorded == 2


@pytest.mark.parametrize(
    "error", [OSError("the disk is gone"), MemoryError(), CannotRun("no", remedy="x"), OperationalError("", {}, Exception())]
)
def test_a_failure_of_the_machine_is_no_fault_of_an_event(store: BothSides, error: Exception) -> None:
    def fails(raw: bytes) -> Inference:
        raise error

    with pytest.raises(type(error)):
        run(store, [traffic_event(1), traffic_event(2)], decode=fails)
    assert store.dead_letters() == []


@pytest.mark.parametrize("ahead", [timedelta(hours=1), timedelta(days=1), timedelta(days=365)])
def test_what_our_gateway_captured_in_the_future_is_recorded_at_its_receipt_and_marked(store: BothSides, ahead: timedelta) -> None:
    """Its exchange has taken place: the event is never lost for its time. A producer's own is a dead letter."""
    stated = NOW + ahead
    near = NOW + timedelta(minutes=4)
    ours = traffic_event(1, source=GATEWAY, at=stated), traffic_event(2, source=GATEWAY, at=near)
    done = run(store, [*ours, traffic_event(3, at=stated), traffic_event(4)])
    assert (done.timed_anew, done.dead_letters) == (1, 1)
    counts = store.counts(SUPPORT)
    assert (counts.recorded, counts.dead_lettered) == (3, 1)
    rows = {row.inference.event_id: row for row in store.rows(workload=SUPPORT, start=NOON, end=NOW + ahead)}
    assert (rows["event-1"].inference.occurred_at, rows["event-1"].stated_at) == (NOW, stated)
    assert (rows["event-2"].inference.occurred_at, rows["event-2"].stated_at) == (near, None)
    assert store.newest(SUPPORT, until=NOW) == NOW
    assert run(store, [ours[0]], first=4).counts[SUPPORT].duplicates_ignored == 1, "sent again, it is the same event"
