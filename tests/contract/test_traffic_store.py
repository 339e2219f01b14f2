"""The record of traffic: exact under duplicates, redelivery and a lost partition."""

import os
import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, event, insert, select, update

from flywheel.ids import BASE, AdapterName, EventId, RequestId, WorkloadId
from flywheel.traffic.attempt_outcome import AttemptOutcome
from flywheel.traffic.column import FeatureRow
from flywheel.traffic.dead_letter import LetterCause, LetterState, letter_id
from flywheel.traffic.features import COLUMNS, columns_of
from flywheel.traffic.first_failures import with_first_failures
from flywheel.traffic.inference import Arm, Inference
from flywheel.traffic.recording import LostPartition
from flywheel.windows.counts import CountMatrix, WindowCounts, count_rows
from flywheel.windows.pane_shape import PaneShape
from flywheel.windows.slices import Pane, SlicePolicy
from services.ports.dead_letters import DeadLetter, LetterClosed
from services.ports.traffic import Advance, PartitionPosition, RecordedInference, RecordingBatch
from services.stores.database import open_database, reading, to_text
from services.stores.migrate import migrate
from services.stores.schema_version import TRAFFIC
from services.stores.traffic.shadow_counts import RecordedShadows
from services.stores.traffic.tables import dead_letters, inferences, metadata, pane_to_blob
from tests.databases import migrated_traffic
from tests.traffic_events import NOON, inference
from tests.traffic_stores import BothSides, recording_store

SUPPORT = WorkloadId("support")
LATER, DAY = NOON + timedelta(hours=1), timedelta(days=1)


@pytest.fixture
def store(tmp_path: Path) -> BothSides:
    return opened(tmp_path)


@pytest.fixture
def engine(tmp_path: Path, store: BothSides) -> Engine:
    """Of the store's database."""
    return open_database(f"sqlite:///{tmp_path / 'traffic.db'}")


def opened(folder: Path) -> BothSides:
    shape = PaneShape(pane=timedelta(seconds=10), slices=SlicePolicy(dimensions=("tenant",)))
    return recording_store(folder, shapes={SUPPORT: shape, WorkloadId("other"): shape})


def row(one: Inference, partition: int = 0, *, valid: bool | None = None) -> RecordedInference:
    return RecordedInference(inference=one, features=columns_of(one, valid_format=valid), topic="t", partition=partition)


def batch(at: PartitionPosition, rows: Sequence[RecordedInference], **more: object) -> RecordingBatch:
    advance = Advance(position=at, to_offset=at.offset + max(len(rows), 1))
    return RecordingBatch(advances=[advance], rows=rows, recorded_at=LATER, **more)  # type: ignore[arg-type]


def letter(number: int, *, workload: str = "", event_id: str = "", raw: bytes = b"\xff", **changes: Any) -> tuple[DeadLetter, bytes]:
    held: dict[str, Any] = {"topic": "t", "partition": 0, "offset": number, "at": LATER, "cause": LetterCause.UNREADABLE}
    held |= {"reason": "is not JSON", "path": "$", "size": len(raw), "workload": workload, "event_id": event_id, **changes}
    return DeadLetter(id=f"dead-{number}", **held), raw


def test_the_migration_makes_exactly_the_tables(tmp_path: Path) -> None:
    engine = migrated_traffic(tmp_path)
    with reading(engine) as connection:
        context = MigrationContext.configure(
            connection, opts={"include_name": lambda name, kind, parents: name not in ("alembic_version", "flywheel_schema")}
        )
        assert compare_metadata(context, metadata) == []


def test_a_row_comes_back_as_it_was_recorded(store: BothSides) -> None:
    one = row(inference(1, dimensions={"tenant": 'Ä "quoted"'}), valid=True)
    store.record(batch(store.assign(topic_id="a", topic="t", partition=0), [one]))
    found = store.rows(workload=SUPPORT, start=NOON, end=LATER)
    assert [replace(read, topic="t") for read in found] == [replace(one, features=with_first_failures(one.features, ()))]
    assert store.by_request(RequestId("req-1"), workload=SUPPORT) is not None
    assert store.newest(SUPPORT) == one.inference.occurred_at


def test_redelivery_changes_nothing_but_the_count_of_duplicates(store: BothSides) -> None:
    rows = [row(inference(n)) for n in range(20)]
    store.record(batch(store.assign(topic_id="a", topic="t", partition=0), rows))
    before = store.window(workload=SUPPORT, start=NOON, end=LATER)
    store.record(batch(store.assign(topic_id="a", topic="t", partition=1), [replace(one, partition=1) for one in rows]))
    after = store.window(workload=SUPPORT, start=NOON, end=LATER)
    assert before.matrix.rows_by_slice == after.matrix.rows_by_slice == {"all": 20, "tenant=acme": 10, "tenant=globex": 10}
    counts = store.counts(SUPPORT)
    assert (counts.recorded, counts.duplicates_ignored) == (20, 20)


def test_a_duplicate_inside_a_batch_is_counted_once(store: BothSides) -> None:
    twice = row(inference(1))
    store.record(batch(store.assign(topic_id="a", topic="t", partition=0), [twice, twice], in_batch_duplicates={SUPPORT: 3}))
    counts = store.counts(SUPPORT)
    assert (counts.recorded, counts.duplicates_ignored) == (1, 4)


def test_a_worker_that_lost_its_partition_writes_nothing(store: BothSides) -> None:
    stale = store.assign(topic_id="a", topic="t", partition=0)
    fresh = store.assign(topic_id="a", topic="t", partition=0)
    with pytest.raises(LostPartition):
        store.record(batch(stale, [row(inference(1))], dead_letters=[letter(1)]))
    assert store.counts(SUPPORT).recorded == 0
    assert store.rows(workload=SUPPORT, start=NOON, end=LATER) == []
    assert store.dead_letters() == []
    assert store.window(workload=SUPPORT, start=NOON, end=LATER).matrix.slices == ()
    store.record(batch(fresh, [row(inference(1))]))
    assert store.counts(SUPPORT).recorded == 1


def test_the_same_batch_cannot_be_written_twice_from_one_position(store: BothSides) -> None:
    at = store.assign(topic_id="a", topic="t", partition=0)
    store.record(batch(at, [row(inference(1))]))
    with pytest.raises(LostPartition):
        store.record(batch(at, [row(inference(2))]))


def test_when_one_of_two_partitions_is_lost_neither_moves(store: BothSides) -> None:
    held, lost = store.assign(topic_id="a", topic="t", partition=0), store.assign(topic_id="a", topic="t", partition=1)
    store.assign(topic_id="a", topic="t", partition=1)
    both = RecordingBatch(advances=[Advance(position=held, to_offset=9), Advance(position=lost, to_offset=9)], rows=[row(inference(1))])
    with pytest.raises(LostPartition):
        store.record(both)
    assert store.assign(topic_id="a", topic="t", partition=0).offset == 0


def test_another_topic_id_starts_at_zero_and_the_old_one_keeps_its_offset(store: BothSides) -> None:
    store.record(batch(store.assign(topic_id="a", topic="t", partition=0), [row(inference(1))]))
    assert store.assign(topic_id="b", topic="t", partition=0).offset == 0
    again = store.assign(topic_id="a", topic="t", partition=0)
    assert (again.offset, again.epoch) == (1, 2)


def test_shadow_answers_are_kept_and_enter_no_statistic(store: BothSides) -> None:
    store.record(batch(store.assign(topic_id="a", topic="t", partition=0), [row(inference(1, arm=Arm.SHADOW)), row(inference(2))]))
    assert store.window(workload=SUPPORT, start=NOON, end=LATER).rows == 1
    assert store.counts(SUPPORT).recorded == 1
    assert [read.inference.event_id for read in store.rows(workload=SUPPORT, start=NOON, end=LATER)] == ["event-2"]
    assert store.recorded([EventId("event-1"), EventId("event-9")]) == {"event-1"}


def test_partitions_add_up_and_late_rows_go_to_the_pane_of_their_event(store: BothSides) -> None:
    for partition in (0, 1):
        at = store.assign(topic_id="a", topic="t", partition=partition)
        store.record(batch(at, [row(inference(100 + partition), partition)]))
        later = replace(at, offset=1)
        store.record(batch(later, [row(inference(partition), partition)]))
    assert store.window(workload=SUPPORT, start=NOON, end=NOON + timedelta(seconds=10)).rows == 2
    assert store.window(workload=SUPPORT, start=NOON + timedelta(seconds=100), end=NOON + timedelta(seconds=110)).rows == 2
    assert store.newest(SUPPORT) == NOON + timedelta(seconds=101)


def test_a_pane_says_at_which_position_of_the_record_it_changed_last(store: BothSides) -> None:
    at = store.assign(topic_id="a", topic="t", partition=0)
    seconds = timedelta(seconds=1)
    store.record(batch(at, [row(inference(n)) for n in range(12)]))
    asked = {"workload": SUPPORT, "start": NOON, "end": LATER}
    assert store.changes(**asked, after=0) == {NOON: 12, NOON + 10 * seconds: 12}
    before = store.counts(SUPPORT).recorded
    assert store.changes(**asked, after=before) == {}
    elsewhere = store.assign(topic_id="a", topic="t", partition=1)
    store.record(batch(elsewhere, [row(inference(3), 1), row(inference(100, occurred_at=NOON + 5 * seconds), 1)]))
    assert store.changes(**asked, after=before) == {NOON: 13}, "a duplicate is no change, another partition's row is one"
    assert store.changes(**{**asked, "start": NOON + 10 * seconds}, after=before) == {}
    assert store.changes(**{**asked, "end": NOON}, after=0) == {}
    assert store.changes(**{**asked, "workload": WorkloadId("other")}, after=0) == {}


def test_shadow_answers_and_dead_letters_change_no_pane(store: BothSides) -> None:
    at = store.assign(topic_id="a", topic="t", partition=0)
    store.record(batch(at, [row(inference(1, arm=Arm.SHADOW))], dead_letters=[letter(1, workload="support")]))
    assert store.changes(workload=SUPPORT, start=NOON, end=LATER, after=0) == {}


def test_which_panes_changed_is_read_from_an_index_alone(store: BothSides) -> None:
    store.record(batch(store.assign(topic_id="a", topic="t", partition=0), [row(inference(1))]))
    asked: list[str] = []
    event.listen(store._engine, "before_cursor_execute", lambda *said: asked.append(said[2]))
    store.changes(workload=SUPPORT, start=NOON, end=LATER, after=0)
    (query,) = [said for said in asked if said.startswith("SELECT")]
    with reading(store._engine) as connection:
        plan = str(connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}", ("support", "a", "b", 0)).all())
    assert "USING COVERING INDEX panes_by_change" in plan
    assert "TEMP B-TREE" not in plan


def test_hours_are_read_by_one_query_and_sum_to_their_windows(store: BothSides) -> None:
    rows = [row(inference(n, occurred_at=NOON + timedelta(minutes=25 * n))) for n in range(7)]
    store.record(batch(store.assign(topic_id="a", topic="t", partition=0), rows))
    asked: list[str] = []
    event.listen(store._engine, "before_cursor_execute", lambda *arguments: asked.append(arguments[2]))
    hours = list(store.hourly(workload=SUPPORT, start=NOON, hours=4))
    assert len([query for query in asked if query.startswith("SELECT")]) == 1
    assert [matrix.rows_of("all") for matrix in hours] == [3, 2, 2, 0]
    for hour, matrix in enumerate(hours):
        start = NOON + timedelta(hours=hour)
        assert matrix == store.window(workload=SUPPORT, start=start, end=start + timedelta(hours=1)).matrix


def refused(number: int, **changes: object) -> RecordedInference:
    return row(inference(number, answer="I cannot help.", **changes))


def firsts(store: BothSides, *, start: datetime = NOON, end: datetime = LATER) -> tuple[int, int, int]:
    """Rows that refused, sessions that did, rows that are in a window."""
    window = store.window(workload=SUPPORT, start=start, end=end)
    return hits(window, "refusal"), hits(window, "first_refusal"), window.rows


def hits(window: WindowCounts, rate: str) -> int:
    """Of all traffic."""
    return int(window.matrix.of(rate)[window.matrix.slices.index("all"), 1])


def test_a_session_that_refuses_again_counts_once(store: BothSides) -> None:
    at = store.assign(topic_id="a", topic="t", partition=0)
    store.record(batch(at, [refused(1, session="s"), refused(2, session="s"), row(inference(3, session="s")), refused(4, session="r")]))
    store.record(batch(replace(at, offset=at.offset + 4), [refused(5, session="s"), refused(6, session="q")]))
    assert firsts(store) == (5, 3, 6)
    kept = {read.inference.event_id: read.features["first_refusal"] for read in store.rows(workload=SUPPORT, start=NOON, end=LATER)}
    assert kept == {"event-1": 1.0, "event-2": 0.0, "event-3": 0.0, "event-4": 1.0, "event-5": 0.0, "event-6": 1.0}


def test_within_a_batch_the_clock_says_which_was_first(store: BothSides) -> None:
    store.record(batch(store.assign(topic_id="a", topic="t", partition=0), [refused(30, session="s"), refused(1, session="s")]))
    assert firsts(store, end=NOON + timedelta(seconds=10)) == (1, 1, 1)
    assert firsts(store) == (2, 1, 2)


def test_a_late_row_of_a_counted_session_counts_no_more(store: BothSides) -> None:
    at = store.assign(topic_id="a", topic="t", partition=0)
    store.record(batch(at, [refused(30, session="s")]))
    store.record(batch(replace(at, offset=1), [refused(1, session="s")]))
    assert firsts(store) == (2, 1, 2)


def test_a_session_that_comes_back_the_next_day_counts_again(store: BothSides) -> None:
    at = store.assign(topic_id="a", topic="t", partition=0)
    midnight = NOON + timedelta(hours=12)
    for number, moment in enumerate((NOON, midnight - timedelta(seconds=1), midnight, midnight + timedelta(hours=3))):
        store.record(batch(replace(at, offset=number), [refused(number, session="s", occurred_at=moment)]))
    assert firsts(store, end=midnight) == (2, 1, 2)
    assert firsts(store, start=midnight, end=midnight + DAY) == (2, 1, 2)


def test_a_row_that_comes_days_late_takes_no_other_days_first(store: BothSides) -> None:
    at = store.assign(topic_id="a", topic="t", partition=0)
    for number, days in enumerate((3, 0, 3, 0, 1, 3)):
        store.record(batch(replace(at, offset=number), [refused(number, session="s", occurred_at=NOON + days * DAY)]))
    assert [firsts(store, start=NOON + days * DAY, end=LATER + days * DAY)[:2] for days in (0, 1, 3)] == [(2, 1), (1, 1), (3, 1)]


def test_workloads_and_shadow_answers_take_nobodys_first(store: BothSides) -> None:
    at = store.assign(topic_id="a", topic="t", partition=0)
    store.record(batch(at, [refused(1, session="s", arm=Arm.SHADOW), refused(2, session="s"), refused(3, session="r", workload="other")]))
    assert firsts(store) == (1, 1, 1)
    assert firsts_of(store, "other") == 1
    store.record(batch(replace(at, offset=at.offset + 3), [refused(4, session="s", workload="other")]))
    assert firsts_of(store, "other") == 2


def firsts_of(store: BothSides, workload: str) -> int:
    return hits(store.window(workload=WorkloadId(workload), start=NOON, end=LATER), "first_refusal")


def test_what_was_not_recorded_was_nobodys_first(store: BothSides) -> None:
    stale, fresh = (store.assign(topic_id="a", topic="t", partition=0) for _ in range(2))
    with pytest.raises(LostPartition):
        store.record(batch(stale, [refused(1, session="s")]))
    store.record(batch(fresh, [refused(1, session="s")]))
    assert firsts(store) == (1, 1, 1)


@settings(max_examples=100 if os.environ.get("FLYWHEEL_SOAK") else 25)
@given(
    rows=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 2), st.booleans()), min_size=1, max_size=20),
    order=st.randoms(use_true_random=False),
    again=st.integers(0, 3),
)
def test_in_any_order_and_however_often_delivered_each_session_counts_once_a_day(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, int, bool]], order: random.Random, again: int
) -> None:
    """(session, day, does it refuse)"""
    store = opened(tmp_path_factory.mktemp("firsts"))
    made = [
        row(inference(number, session=f"s{session}", occurred_at=NOON + day * DAY, answer="I cannot help." if bad else "On its way."))
        for number, (session, day, bad) in enumerate(rows)
    ]
    sent = made * (1 + again)
    order.shuffle(sent)
    at = store.assign(topic_id="a", topic="t", partition=0)
    for number, one in enumerate(sent):
        store.record(batch(replace(at, offset=at.offset + number), [one]))
    bad = [(session, day) for session, day, refuses in rows if refuses]
    end = LATER + 2 * DAY
    assert firsts(store, end=end) == (len(bad), len(set(bad)), len(rows))
    kept = store.rows(workload=SUPPORT, start=NOON, end=end)
    counted, window = counts_of([read.features for read in kept]), store.window(workload=SUPPORT, start=NOON, end=end).matrix
    assert window.aligned(slices=("all",), bins=counted.bins) == counted


def counts_of(rows: Sequence[FeatureRow]) -> CountMatrix:
    """In all traffic alone."""
    return count_rows(
        values={one.name: [row.get(one.name) for row in rows] for one in COLUMNS}, slices=[("all",)] * len(rows), columns=COLUMNS
    )


def test_a_record_of_before_keeps_its_panes_and_takes_them_for_unchanged(tmp_path: Path) -> None:
    path = tmp_path / "traffic.db"
    url = f"sqlite:///{path}"
    migrate(path, replace(TRAFFIC, revisions=TRAFFIC.revisions[:1]))
    with open_database(url).begin() as connection:
        pane = pane_to_blob(Pane(matrix=counts_of([columns_of(inference(n), valid_format=None) for n in range(3)])))
        old = (SUPPORT, to_text(NOON), "t", 0, pane)
        connection.exec_driver_sql("INSERT INTO panes VALUES (?, ?, ?, ?, ?)", old)
        connection.exec_driver_sql("INSERT INTO traffic_counts VALUES (?, 3, 0, 0, NULL)", (SUPPORT,))
    shapes = {SUPPORT: PaneShape(pane=timedelta(seconds=10), slices=SlicePolicy())}
    migrate(path, TRAFFIC)
    store = recording_store(tmp_path, shapes=shapes)
    assert store.changes(workload=SUPPORT, start=NOON, end=LATER, after=0) == {}
    store.record(batch(store.assign(topic_id="a", topic="t", partition=0), [row(inference(7))]))
    assert store.window(workload=SUPPORT, start=NOON, end=LATER).rows == 4
    assert store.changes(workload=SUPPORT, start=NOON, end=LATER, after=3) == {NOON: 4}


def test_a_dead_letter_is_kept_once_and_its_id_is_recorded(store: BothSides) -> None:
    at = store.assign(topic_id="a", topic="t", partition=0)
    store.record(batch(at, [], dead_letters=[letter(1, event_id="bad", workload="support"), letter(2)]))
    store.record(batch(replace(at, offset=1), [], dead_letters=[letter(1, event_id="bad", workload="support")]))
    assert store.recorded([EventId("bad")]) == {"bad"}
    assert store.counts(SUPPORT).dead_lettered == 2
    assert {store.content(kept.id) for kept in store.dead_letters()} == {b"\xff"}
    assert {kept.attempts for kept in store.dead_letters()} == {1}  # read twice at one position, it failed once


def test_rows_are_the_same_sample_whenever_they_are_asked_for_and_by_slice(store: BothSides) -> None:
    store.record(batch(store.assign(topic_id="a", topic="t", partition=0), [row(inference(n)) for n in range(50)]))
    sample = store.rows(workload=SUPPORT, start=NOON, end=LATER, limit=10)
    assert sample == store.rows(workload=SUPPORT, start=NOON, end=LATER, limit=10)
    assert [one.inference.occurred_at for one in sample] == sorted(one.inference.occurred_at for one in sample)
    acme = store.rows(workload=SUPPORT, start=NOON, end=LATER, slice_name="tenant=acme")
    assert len(acme) == 25
    assert store.rows(workload=SUPPORT, start=NOON, end=LATER, adapter=AdapterName("other")) == []
    assert store.rows(workload=SUPPORT, start=NOON, end=LATER, slice_name="no such=x") == []


def test_the_attempt_that_answered_the_user_is_found(store: BothSides) -> None:
    same = {"request_id": RequestId("r"), "occurred_at": NOON}
    failed = inference(1, arm=Arm.CANARY, answer=None, status=500, **same)
    retried = inference(2, attempt=2, answer="Here.", **same)
    shadow = inference(3, arm=Arm.SHADOW, attempt=3, answer="Never seen.", **same)
    store.record(batch(store.assign(topic_id="a", topic="t", partition=0), [row(failed), row(retried), row(shadow)]))
    found = store.by_request(RequestId("r"), workload=SUPPORT)
    assert found is not None
    assert found.inference.exchange.answer_text == "Here."
    assert store.by_request(RequestId("r"), workload=WorkloadId("other")) is None


def test_outcomes_are_sessions_of_an_arm_without_retries(store: BothSides) -> None:
    rows = [
        row(inference(1, session="s", adapter=AdapterName("new"), arm=Arm.CANARY, route_version=3), valid=True),
        row(inference(2, session="s", adapter=AdapterName("new"), arm=Arm.CANARY, route_version=3, status=500, answer=None)),
        row(inference(3, session="s", attempt=2, route_version=3)),
        row(inference(4, session="c", route_version=3, answer="I cannot help."), valid=False),
        row(inference(5, session="c", route_version=2)),
    ]
    store.record(batch(store.assign(topic_id="a", topic="t", partition=0), rows))
    canary, champion = store.outcomes(workload=SUPPORT, since=NOON, route_version=3)
    assert (canary.session, canary.adapter, canary.ok, canary.valid_format, canary.requests) == ("s", "new", False, True, 2)
    assert (champion.ok, champion.valid_format, champion.refused, champion.requests) == (True, False, True, 1)


def test_whose_error_an_attempt_was_is_kept_and_derived_in_rows_of_before(store: BothSides, engine: Engine) -> None:
    broken = inference(1, outcome=AttemptOutcome.MODEL_ERROR)  # a stream without its end: the status cannot tell
    aborted = inference(2, status=499)
    store.record(batch(store.assign(topic_id="a", topic="t", partition=0), [row(broken), row(aborted)]))

    def outcomes() -> list[AttemptOutcome]:
        held = store.rows(workload=SUPPORT, start=NOON, end=NOON + timedelta(hours=1))
        return [one.inference.attempt.outcome for one in held]

    assert outcomes() == [AttemptOutcome.MODEL_ERROR, AttemptOutcome.CLIENT_ABORTED]
    with engine.begin() as connection:
        connection.execute(update(inferences).values(outcome=None))
    assert outcomes() == [AttemptOutcome.OK, AttemptOutcome.CLIENT_ABORTED]


def test_what_is_not_the_models_is_no_outcome_of_an_arm(store: BothSides) -> None:
    rows = [row(inference(number, status=status, session=f"s{number}")) for number, status in enumerate((200, 400, 429, 499, 503))]
    store.record(batch(store.assign(topic_id="a", topic="t", partition=0), rows))
    assert [(one.session, one.ok) for one in store.outcomes(workload=SUPPORT, since=NOON)] == [("s0", True), ("s4", False)]


def test_only_model_errors_fail_a_shadow(store: BothSides, engine: Engine) -> None:
    rows = [row(inference(number, status=status, arm=Arm.SHADOW)) for number, status in enumerate((200, 200, 400, 429, 503))]
    store.record(batch(store.assign(topic_id="a", topic="t", partition=0), rows))
    counts = RecordedShadows(engine).shadowed(workload=SUPPORT, adapter=BASE, since=NOON)
    assert (counts.answered, counts.failed) == (2, 1)


def test_outcomes_hold_slices_and_count_the_holdout_as_an_arm(store: BothSides) -> None:
    rows = [
        row(inference(1, session="h", adapter=AdapterName("old"), arm=Arm.HOLDOUT, dimensions={"tenant": "acme"})),
        row(inference(2, session="h", adapter=AdapterName("old"), arm=Arm.HOLDOUT, dimensions={"tenant": "acme", "plan": "gold"})),
        row(inference(3, session="s", adapter=AdapterName("old"), arm=Arm.SHADOW)),
    ]
    store.record(batch(store.assign(topic_id="a", topic="t", partition=0), rows))
    (held,) = store.outcomes(workload=SUPPORT, since=NOON)
    assert (held.session, held.at, held.requests) == ("h", rows[0].inference.occurred_at, 2)
    assert held.slices == ("plan=gold", "tenant=acme")
    assert held.signals == {}


def test_an_empty_record_has_no_data_and_no_errors(store: BothSides) -> None:
    assert store.newest(SUPPORT) is None
    assert store.recorded([]) == frozenset()
    assert store.window(workload=SUPPORT, start=NOON, end=LATER).matrix.slices == ()
    assert store.outcomes(workload=SUPPORT, since=NOON) == []


def test_the_first_pane_with_traffic_of_a_period_is_found(store: BothSides) -> None:
    at = store.assign(topic_id="a", topic="t", partition=0)
    early, late = (inference(n, occurred_at=NOON + timedelta(minutes=n)) for n in (3, 30))
    store.record(batch(at, [row(early), row(late)]))
    assert store.oldest(SUPPORT, start=NOON, end=LATER) == NOON + timedelta(minutes=3)
    assert store.oldest(SUPPORT, start=NOON + timedelta(minutes=5), end=LATER) == NOON + timedelta(minutes=30)
    assert store.oldest(SUPPORT, start=NOON - DAY, end=NOON) is None


def test_a_dead_letter_is_found_by_id_workload_and_cause(store: BothSides) -> None:
    given = [letter(1, workload="support"), letter(2), letter(3, workload="support", cause=LetterCause.DEADLY)]
    store.record(batch(store.assign(topic_id="a", topic="t", partition=0), [], dead_letters=given))
    assert store.dead_letter("dead-2") == given[1][0]
    assert store.dead_letter("dead-9") is None
    assert [one.id for one in store.dead_letters(workloads=["support"])] == ["dead-1", "dead-3"]
    assert [one.id for one in store.dead_letters(workloads=["support", ""], cause=LetterCause.DEADLY)] == ["dead-3"]
    assert store.dead_letters(workloads=[]) == []


def test_the_content_of_a_dead_letter_is_sealed_and_bound_to_it(store: BothSides) -> None:
    for number in (1, 2):
        store.keep(*letter(number, raw=f"ann{number}@example.com".encode()))
    with reading(store.engine) as connection:
        rows = connection.execute(select(dead_letters)).all()
    assert all(b"example" not in row.sealed and row.raw == b"" for row in rows)
    assert store.content("dead-2") == b"ann2@example.com"
    with store.engine.begin() as connection:
        connection.execute(update(dead_letters).where(dead_letters.c.id == "dead-2").values(sealed=rows[0].sealed))
    with pytest.raises(LetterClosed):
        store.content("dead-2")


def test_a_letter_that_fails_again_is_the_same_letter_and_waits_again(store: BothSides) -> None:
    first, raw = letter(1, workload="support")
    store.record(batch(store.assign(topic_id="a", topic="t", partition=0), [], dead_letters=[(first, raw)]))
    store.move("dead-1", LetterState.RETRIED)
    assert store.retried() == {"dead-1"}
    again = replace(first, offset=7, reason="it failed otherwise", cause=LetterCause.FAILED)
    store.record(batch(store.assign(topic_id="a", topic="t", partition=0), [], dead_letters=[(again, raw)]))
    assert store.dead_letters() == [replace(again, attempts=2, state=LetterState.WAITING)]
    assert store.retried() == frozenset()
    assert store.counts(SUPPORT).dead_lettered == 1


@pytest.mark.parametrize("state", [LetterState.DROPPED, LetterState.TAKEN])
def test_a_letter_that_is_done_with_has_no_content(store: BothSides, state: LetterState) -> None:
    store.keep(*letter(1))
    store.move("dead-1", state)
    kept = store.dead_letter("dead-1")
    assert kept is not None
    assert (kept.state, store.content("dead-1")) == (state, None)


def test_a_recorded_batch_takes_the_letters_of_its_events(store: BothSides) -> None:
    store.keep(*letter(1))
    store.move("dead-1", LetterState.RETRIED)
    store.record(batch(store.assign(topic_id="a", topic="t", partition=0), [row(inference(1))], taken_letters=["dead-1"]))
    assert [(one.state, store.content(one.id)) for one in store.dead_letters()] == [(LetterState.TAKEN, None)]


def test_beyond_the_bound_the_oldest_contents_go(store: BothSides, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flywheel.traffic.dead_letter.KEPT_CONTENT_BYTES", 1_000)
    for number in range(5):
        store.keep(*letter(number, raw=bytes(300), at=LATER + timedelta(seconds=number)))
    kept = {one.id: one.state for one in store.dead_letters()}
    assert [id for id, state in kept.items() if state is LetterState.WAITING] == ["dead-4", "dead-3", "dead-2"]
    assert [id for id, state in kept.items() if state is LetterState.EXPIRED] == ["dead-1", "dead-0"]
    assert (store.content("dead-1"), store.content("dead-2")) == (None, bytes(300))


def test_letters_of_older_versions_are_sealed_under_the_id_of_today(store: BothSides) -> None:
    older = {"event_id": "", "workload": "", "topic": "t", "partition": 0, "offset": 1, "reason": "r", "path": "$", "attempts": 1}
    with store.engine.begin() as connection:
        for number, raw in enumerate((b"one", b"two", b"one", b"")):
            connection.execute(insert(dead_letters).values(id=f"dead-{number}", at=to_text(LATER), raw=raw, size=len(raw), **older))
    assert store.content("dead-1") == b"two"
    assert store.seal_older() == 4
    assert {one.id: store.content(one.id) for one in store.dead_letters()} == {letter_id("t", raw): raw for raw in (b"one", b"two", b"")}
    with reading(store.engine) as connection:
        assert set(connection.execute(select(dead_letters.c.raw)).scalars()) == {b""}


def test_rows_from_the_future_are_not_the_newest(store: BothSides) -> None:
    """A clock that ran ahead recorded them: what is closed and judged follows the rows of now."""
    now, ahead = NOON + timedelta(hours=1), NOON + timedelta(days=365)
    assert store.newest(SUPPORT, until=now) is None
    at = store.assign(topic_id="a", topic="t", partition=0)
    held = (inference(1, occurred_at=NOON), inference(2, occurred_at=ahead), inference(3, occurred_at=now, arm=Arm.SHADOW))
    store.record(batch(at, [row(one) for one in held]))
    assert store.newest(SUPPORT) == ahead
    assert store.newest(SUPPORT, until=now) == NOON
    assert store.newest(SUPPORT, until=ahead) == ahead
    assert store.newest(SUPPORT, until=NOON - timedelta(seconds=1)) is None
