"""Old records of traffic.db: what is deleted, what stays, and that an event is never recorded twice because of it."""

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from flywheel.ids import EventId, RequestId, WorkloadId
from flywheel.retention import OldPeriod, RecordKind
from flywheel.traffic.features import columns_of
from flywheel.traffic.inference import Arm
from flywheel.windows.pane_shape import PaneShape
from flywheel.windows.sample import rank
from flywheel.windows.slices import SlicePolicy
from services.ports.dead_letters import DeadLetter
from services.ports.old_records import OldRecords
from services.ports.traffic import RecordedInference, RecordingBatch
from services.stores import free_pages
from services.stores.database import reading, to_text, writing
from services.stores.free_pages import give_pages_back, gives_pages_back
from services.stores.ledger import subject_keys as subject_keys_module
from services.stores.ledger.old_ledger import OldLedger
from services.stores.ledger.subject_keys import subject_keys
from services.stores.traffic.old_traffic import OldTraffic
from services.stores.traffic.tables import dead_letters, exchange_contents, inferences, panes, seen_ids, session_firsts
from tests.benchmarks.bytes_on_disk import year_on_disk
from tests.contract.test_traffic_store import letter
from tests.traffic_events import NOON, inference
from tests.traffic_stores import BothSides, recording_store

SUPPORT, OTHER = WorkloadId("support"), WorkloadId("other")
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
EVER = OldPeriod(start=None, end=NOON)


@pytest.fixture
def store(tmp_path: Path) -> BothSides:
    shape = PaneShape(pane=timedelta(minutes=5), slices=SlicePolicy())
    return recording_store(tmp_path, shapes={SUPPORT: shape, OTHER: shape})


@pytest.fixture
def old(store: BothSides) -> OldTraffic:
    return OldTraffic(store.engine, now=lambda: NOON + DAY)


def record(store: BothSides, numbers: range, *, at: datetime, recorded_at: datetime | None = None, **changes: object) -> None:
    rows = []
    for number in numbers:
        one = replace(inference(number, **changes), occurred_at=at + timedelta(seconds=number - numbers.start))
        rows.append(RecordedInference(inference=one, features=columns_of(one, valid_format=False), topic="t"))
    store.record(RecordingBatch(advances=[], rows=rows, recorded_at=recorded_at or at))


def emptied(old: OldRecords, kind: RecordKind, workload: WorkloadId | None = SUPPORT, period: OldPeriod = EVER, at_most: int = 7) -> int:
    """All steps, each of at most so many."""
    total = 0
    while deleted := old.delete_some(kind, workload, period, at_most=at_most):
        assert deleted <= at_most
        total += deleted
    return total


def ids(store: BothSides, table: object = inferences) -> set[str]:
    with reading(store.engine) as connection:
        return set(connection.execute(select(table.c.event_id)).scalars())  # type: ignore[attr-defined]


def test_rows_go_with_their_contents_and_counts_stay(store: BothSides, old: OldTraffic) -> None:
    record(store, range(20), at=NOON - HOUR)
    record(store, range(20, 30), at=NOON)
    record(store, range(30, 40), at=NOON - HOUR, workload=OTHER)
    assert emptied(old, RecordKind.ROWS) == 20
    kept = {f"event-{number}" for number in range(20, 40)}
    assert ids(store) == ids(store, exchange_contents) == kept
    assert store.window(workload=SUPPORT, start=NOON - HOUR, end=NOON).rows == 20
    assert store.counts(SUPPORT).recorded == 30
    assert old.workloads() == {SUPPORT, OTHER, ""}


def test_a_content_may_go_before_its_row(store: BothSides, old: OldTraffic) -> None:
    record(store, range(3), at=NOON - HOUR)
    assert emptied(old, RecordKind.CONTENTS) == 3
    found = store.by_request(RequestId("req-1"), workload=SUPPORT)
    assert found is not None
    assert found.inference.exchange.unreadable == "its content is no longer kept"
    assert found.features == {**found.features}
    assert emptied(old, RecordKind.CONTENTS) == 0


def test_text_of_rows_from_before_the_contents_goes_too(store: BothSides, old: OldTraffic) -> None:
    record(store, range(2), at=NOON - HOUR)
    with writing(store.engine) as connection:
        connection.execute(exchange_contents.delete())
        old_form = {"messages": '[{"role":"user","content":"secret"}]', "answer": "secret", "error": "secret", "answered": None}
        connection.execute(update(inferences).values(**old_form))
    assert emptied(old, RecordKind.CONTENTS) == 2
    with reading(store.engine) as connection:
        rows = connection.execute(select(inferences.c.messages, inferences.c.answer, inferences.c.error, inferences.c.answered)).all()
    assert [tuple(row) for row in rows] == [("", None, None, True)] * 2


def test_of_a_sampled_hour_the_rows_with_the_smallest_hash_stay_without_content(store: BothSides, old: OldTraffic) -> None:
    record(store, range(50), at=NOON - HOUR)
    record(store, range(50, 60), at=NOON - HOUR, arm=Arm.SHADOW)
    wanted = sorted((f"event-{number}" for number in range(50)), key=lambda id: rank(EventId(id)))[:20]
    hour = OldPeriod(start=NOON - HOUR, end=NOON, sample=20)
    before = store.rows(workload=SUPPORT, start=NOON - HOUR, end=NOON, limit=20)
    emptied(old, RecordKind.ROWS, period=hour)
    assert ids(store) == set(wanted)
    assert ids(store, exchange_contents) == set()
    after = store.rows(workload=SUPPORT, start=NOON - HOUR, end=NOON, limit=20)
    assert [one.features for one in after] == [one.features for one in before]
    assert old.delete_some(RecordKind.ROWS, SUPPORT, hour, at_most=100) == 0


def test_ids_go_in_the_order_of_recording_but_never_before_their_row(store: BothSides, old: OldTraffic) -> None:
    record(store, range(10), at=NOON - 2 * HOUR)
    record(store, range(10, 20), at=NOON - HOUR)
    record(store, range(20, 30), at=NOON)
    emptied(old, RecordKind.ROWS, period=OldPeriod(start=NOON - HOUR, end=NOON))  # the first ten stay, as for an alert
    emptied(old, RecordKind.IDS, None)
    assert ids(store, seen_ids) == ids(store) == {f"event-{number}" for number in (*range(10), *range(20, 30))}
    record(store, range(10), at=NOON - 2 * HOUR)  # delivered again: no duplicate key, nothing counted twice
    assert store.counts(SUPPORT).duplicates_ignored == 10
    emptied(old, RecordKind.ROWS)
    old.start_anew()
    emptied(old, RecordKind.IDS, None)
    assert ids(store, seen_ids) == {f"event-{number}" for number in range(20, 30)}


def test_ids_of_a_clock_that_ran_ahead_go_with_their_neighbours(store: BothSides, old: OldTraffic) -> None:
    record(store, range(5), at=NOON - 3 * HOUR, recorded_at=NOON + 400 * DAY)
    record(store, range(5, 10), at=NOON - 2 * HOUR)
    record(store, range(10, 15), at=NOON - HOUR, recorded_at=NOON + 1 * HOUR)
    emptied(old, RecordKind.ROWS)
    emptied(old, RecordKind.IDS, None)
    assert ids(store, seen_ids) == {f"event-{number}" for number in range(10, 15)}


def test_sessions_that_were_counted_on_an_old_day_are_forgotten(store: BothSides, old: OldTraffic) -> None:
    record(store, range(7), at=NOON - 2 * DAY)
    record(store, range(7, 14), at=NOON)
    with reading(store.engine) as connection:
        assert set(connection.execute(select(session_firsts.c.day)).scalars()) == {"2026-01-03", "2026-01-05"}
    emptied(old, RecordKind.IDS, None)
    with reading(store.engine) as connection:
        assert set(connection.execute(select(session_firsts.c.day)).scalars()) == {"2026-01-05"}


def test_panes_and_dead_letters_have_times_of_their_own(store: BothSides, old: OldTraffic) -> None:
    record(store, range(3), at=NOON - HOUR)
    record(store, range(3, 6), at=NOON)
    letters: list[tuple[DeadLetter, bytes]] = [letter(1, workload="support", at=NOON - HOUR), letter(2, at=NOON - HOUR), letter(3, at=NOON)]
    store.record(RecordingBatch(advances=[], dead_letters=letters))
    emptied(old, RecordKind.PANES)
    emptied(old, RecordKind.DEAD_LETTERS)
    emptied(old, RecordKind.DEAD_LETTERS, WorkloadId(""))
    with reading(store.engine) as connection:
        assert set(connection.execute(select(panes.c.pane_start)).scalars()) == {to_text(NOON)}
        assert set(connection.execute(select(dead_letters.c.id)).scalars()) == {"dead-3"}
    assert store.counts(SUPPORT).dead_lettered == 3
    assert len(ids(store)) == 6


def test_a_look_for_old_records_waits_for_no_writer(store: BothSides, old: OldTraffic) -> None:
    """Where nothing is old, no write lock is taken: it would wait for the writer here, and for the recorder's batches in the daemon."""
    record(store, range(3), at=NOON)
    with writing(store.engine):
        for kind in (RecordKind.ROWS, RecordKind.CONTENTS, RecordKind.PANES, RecordKind.DEAD_LETTERS):
            assert old.delete_some(kind, SUPPORT, EVER, at_most=10) == 0
        assert old.delete_some(RecordKind.IDS, None, EVER, at_most=10) == 0
        assert not old.give_back()


def test_the_space_of_deleted_rows_is_given_back(
    store: BothSides, old: OldTraffic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(free_pages, "FREE_PAGES", 16)  # a mebibyte stays free otherwise
    path = tmp_path / "traffic.db"
    assert gives_pages_back(path)
    for start in range(0, 1_500, 500):
        record(store, range(start, start + 500), at=NOON - HOUR)

    def size() -> int:
        with writing(store.engine) as connection:
            pages, each = (connection.exec_driver_sql(f"PRAGMA {name}").scalar_one() for name in ("page_count", "page_size"))
        return int(pages) * int(each)

    full = size()
    emptied(old, RecordKind.ROWS, at_most=500)
    emptied(old, RecordKind.IDS, None, at_most=500)
    assert size() == full
    while old.give_back():
        pass
    assert size() < full / 2
    assert not give_pages_back(store.engine)


def test_a_key_that_is_used_says_so_once_a_day_and_goes_when_it_is_not(store: BothSides) -> None:
    def used() -> list[str]:
        with reading(store.keys._engine) as connection:
            return [row.used_at[:10] for row in connection.execute(select(subject_keys.c.used_at).order_by(subject_keys.c.id))]

    keys = OldLedger(store.keys._engine)
    record(store, range(7), at=NOON - 40 * DAY)
    record(store, range(7, 8), at=NOON - 10 * DAY)  # one session comes back
    assert sorted(used()) == ["2025-11-26"] * 6 + ["2025-12-26"]
    assert emptied(keys, RecordKind.KEYS, SUPPORT, OldPeriod(start=None, end=NOON - 20 * DAY), at_most=4) == 6
    assert emptied(keys, RecordKind.KEYS, SUPPORT, OldPeriod(start=NOON - 60 * DAY, end=NOON), at_most=4) == 1


def test_a_key_that_is_deleted_while_it_is_read_is_made_anew(store: BothSides, monkeypatch: pytest.MonkeyPatch) -> None:
    record(store, range(1), at=NOON - 40 * DAY)
    read, keys = subject_keys_module._rows, OldLedger(store.keys._engine)

    def rows_then_gone(*args: Any) -> Any:
        found = read(*args)
        monkeypatch.setattr(subject_keys_module, "_rows", read)
        assert emptied(keys, RecordKind.KEYS, SUPPORT) == 1
        return found

    monkeypatch.setattr(subject_keys_module, "_rows", rows_then_gone)
    record(store, range(7, 8), at=NOON)
    found = store.by_request(RequestId("req-7"), workload=SUPPORT)
    assert found is not None
    assert found.inference.exchange.unreadable == ""


def test_a_year_at_ten_events_a_second_fits_50_gb() -> None:
    """Rows for 30 days, counts for the year; exchanges of 1 kB. Pages are as full as days of recording and deleting leave them."""
    predicted = year_on_disk(a_second=10, days=3, rows_a_day=500)
    assert predicted.total < 50e9
    assert predicted.rows > 20e9  # most of it: the days of rows decide
