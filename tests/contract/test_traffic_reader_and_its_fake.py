"""Traffic is read from the database as from the fake on which other tests run."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import event

from flywheel.ids import AdapterName, EventId, RequestId, WorkloadId
from flywheel.traffic.features import columns_of
from flywheel.traffic.first_failures import with_first_failures
from flywheel.traffic.inference import Arm, Inference
from flywheel.windows.pane_shape import PaneShape
from flywheel.windows.slices import SlicePolicy
from services.ports.traffic import RecordedInference, RecordingBatch, TrafficReader
from services.stores.database import reading
from tests.fakes.watching import TrafficInMemory
from tests.traffic_events import NOON, inference
from tests.traffic_stores import BothSides, recording_store

SUPPORT, OTHER, LATER = WorkloadId("support"), WorkloadId("other"), NOON + timedelta(hours=1)


@dataclass
class Traffic:
    """A reader, and how rows get into it."""

    reader: TrafficReader
    memory: TrafficInMemory | None = None
    store: BothSides | None = None

    def record(self, *inferences: Inference) -> Sequence[RecordedInference]:
        rows = [RecordedInference(inference=one, features=columns_of(one, valid_format=None)) for one in inferences]
        kept = [replace(row, features=with_first_failures(row.features, ())) for row in rows]
        if self.memory is not None:
            self.memory.held += kept
        if self.store is not None:
            self.store.record(RecordingBatch(advances=[], rows=rows, recorded_at=LATER))
        return kept

    def found(self, id: str, *, workload: WorkloadId = SUPPORT) -> str | None:
        """The event that is found under an id."""
        row = self.reader.by_request(id, workload=workload)
        return row.inference.event_id if row is not None else None


@pytest.fixture(params=["sql", "memory"])
def traffic(request: pytest.FixtureRequest, tmp_path: Path) -> Traffic:
    if request.param == "memory":
        memory = TrafficInMemory()
        return Traffic(reader=memory, memory=memory)  # type: ignore[arg-type]
    shape = PaneShape(pane=timedelta(seconds=10), slices=SlicePolicy(dimensions=("tenant",)))
    store = recording_store(tmp_path, shapes={SUPPORT: shape, OTHER: shape})
    return Traffic(reader=store, store=store)


def answered(number: int, *, completion: str = "", client: str = "", **changes: object) -> Inference:
    one = inference(number, client_request_id=client, **changes)
    return replace(one, exchange=replace(one.exchange, completion_id=completion))


def test_rows_come_back_as_they_were_recorded_by_time(traffic: Traffic) -> None:
    first, second = traffic.record(inference(1, client_request_id="c-1"), answered(2, completion="chatcmpl-2"))
    traffic.record(inference(3, workload=OTHER), inference(4, arm=Arm.SHADOW), inference(5, occurred_at=LATER))
    assert traffic.reader.rows(workload=SUPPORT, start=NOON, end=LATER) == [first, second]
    assert traffic.reader.window(workload=SUPPORT, start=NOON, end=LATER).rows == 2
    assert (traffic.reader.counts(SUPPORT).recorded, traffic.reader.newest(SUPPORT)) == (3, LATER)
    assert traffic.reader.recorded([EventId("event-3"), EventId("event-4"), EventId("event-9")]) == {"event-3", "event-4"}


def test_which_ids_are_known_is_asked_of_many_at_once(traffic: Traffic) -> None:
    traffic.record(*(answered(n, completion=f"chatcmpl-{n}", client=f"client-{n}") for n in range(3)), inference(4, arm=Arm.SHADOW))
    traffic.record(inference(5, workload=OTHER))
    ids = ["req-1", "chatcmpl-2", "client-0", "req-4", "req-5", "", *(f"none-{n}" for n in range(1_200))]
    found = traffic.reader.named(ids, workload=SUPPORT)
    assert found == {"req-1", "chatcmpl-2", "client-0"}
    assert found == {id for id in ids[:6] if traffic.found(id) is not None}
    assert traffic.reader.named([], workload=SUPPORT) == frozenset()


def test_rows_are_a_sample_by_slice_and_adapter(traffic: Traffic) -> None:
    traffic.record(*(inference(n, adapter=AdapterName("even" if n % 2 == 0 else "odd")) for n in range(40)))
    asked = {"workload": SUPPORT, "start": NOON, "end": LATER}
    names = [row.inference.event_id for row in traffic.reader.rows(**asked, limit=5)]
    # the five with the smallest ranks, whoever asks
    assert names == ["event-0", "event-3", "event-8", "event-11", "event-25"]
    assert len(traffic.reader.rows(**asked, slice_name="tenant=acme")) == 20
    assert {row.inference.adapter for row in traffic.reader.rows(**asked, adapter=AdapterName("odd"))} == {"odd"}
    assert traffic.reader.rows(**asked, slice_name="tenant=nobody") == []


def test_our_id_wins_over_the_completions_and_that_over_the_clients(traffic: Traffic) -> None:
    one, two, three = (
        answered(1, completion="b", client="c", request_id=RequestId("a")),
        answered(2, completion="a", client="b", request_id=RequestId("x")),
        answered(3, completion="d", client="a", request_id=RequestId("y")),
    )
    traffic.record(three, two, one)
    assert [traffic.found(id) for id in ("a", "b", "c", "d", "x", "")] == ["event-1", "event-1", "event-1", "event-3", "event-2", None]


def test_of_a_clients_own_id_the_newest_attempt_is_found(traffic: Traffic) -> None:
    same = {"client": "1", "request_id": RequestId("newest"), "occurred_at": NOON + timedelta(minutes=9)}
    failed = answered(5, answer=None, status=500, arm=Arm.CANARY, **same)
    retried = answered(6, attempt=2, **same)
    traffic.record(answered(1, client="1"), failed, retried, answered(3, client="1"), answered(7, client="1", workload=OTHER))
    assert traffic.found("1") == "event-6"
    assert traffic.found("1", workload=OTHER) == "event-7"


def test_the_attempt_that_answered_is_found_by_each_id(traffic: Traffic) -> None:
    ids = {"request_id": RequestId("r"), "client": "c", "occurred_at": NOON}
    traffic.record(
        answered(1, answer=None, status=500, arm=Arm.CANARY, completion="", **ids),
        answered(2, attempt=2, completion="chatcmpl-2", **ids),
        answered(3, attempt=3, completion="chatcmpl-3", arm=Arm.SHADOW, **ids),
        answered(4, attempt=3, answer=None, status=500, completion="", **ids),
    )
    assert [traffic.found(id) for id in ("r", "chatcmpl-2", "c", "chatcmpl-3")] == ["event-2", "event-2", "event-2", None]


def test_when_all_attempts_failed_the_last_is_found(traffic: Traffic) -> None:
    traffic.record(*(inference(n, request_id=RequestId("r"), attempt=n, answer=None, status=500) for n in (1, 2)))
    assert traffic.found("r") == "event-2"


@pytest.mark.parametrize("workload", [OTHER, WorkloadId("unheard-of")])
def test_another_workloads_exchange_is_not_found(traffic: Traffic, workload: WorkloadId) -> None:
    traffic.record(answered(1, completion="chatcmpl-1", client="c"))
    assert [traffic.found(id, workload=workload) for id in ("req-1", "chatcmpl-1", "c")] == [None] * 3
    assert traffic.reader.rows(workload=workload, start=NOON, end=LATER) == []


def test_each_id_is_found_by_an_index(tmp_path: Path) -> None:
    shape = PaneShape(pane=timedelta(seconds=10), slices=SlicePolicy())
    store = recording_store(tmp_path, shapes={SUPPORT: shape})
    asked: list[tuple[str, tuple[object, ...]]] = []
    event.listen(store.engine, "before_cursor_execute", lambda *said: asked.append((said[2], said[3])))
    assert store.by_request("absent", workload=SUPPORT) is None
    queries = [one for one in asked if one[0].startswith("SELECT")]
    with reading(store.engine) as connection:
        plans = [str(connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}", values).all()) for query, values in queries]
    wanted = ("inferences_by_request", "inferences_by_completion", "inferences_by_client_request")
    assert [name in plan for name, plan in zip(wanted, plans, strict=True)] == [True] * 3
