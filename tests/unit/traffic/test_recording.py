"""What becomes of a batch."""

from datetime import timedelta

from flywheel.ids import EventId, WorkloadId
from flywheel.traffic.inference import Arm, Inference
from flywheel.traffic.recording import RawRecord, ReadRecord, Unreadable, decide
from tests.traffic_events import NOON, inference

SUPPORT = frozenset({WorkloadId("support")})
NOW = NOON + timedelta(hours=1)


def read(offset: int, outcome: Inference | Unreadable, partition: int = 0) -> ReadRecord:
    return ReadRecord(record=RawRecord(topic="t", partition=partition, offset=offset, value=b""), outcome=outcome)


def test_rows_are_kept_and_the_position_moves_behind_the_last() -> None:
    decision = decide(records=[read(5, inference(1)), read(6, inference(2))], expected={("t", 0): 5}, workloads=SUPPORT, now=NOW)
    assert [kept.inference.event_id for kept in decision.keep] == ["event-1", "event-2"]
    assert decision.advances == {("t", 0): 7}
    assert decision.went_backward == ()


def test_the_same_id_twice_in_a_batch_is_one_row_and_one_duplicate() -> None:
    decision = decide(records=[read(0, inference(1)), read(1, inference(1))], expected={("t", 0): 0}, workloads=SUPPORT, now=NOW)
    assert len(decision.keep) == 1
    assert decision.duplicates == {"support": 1}


def test_a_shadow_duplicate_reaches_no_statistic() -> None:
    shadow = inference(1, arm=Arm.SHADOW)
    assert decide(records=[read(0, shadow), read(1, shadow)], expected={("t", 0): 0}, workloads=SUPPORT, now=NOW).duplicates == {}


def test_an_unreadable_record_is_put_aside_and_passed() -> None:
    decision = decide(
        records=[read(0, Unreadable(reason="is not JSON", path="$")), read(1, inference(1))],
        expected={("t", 0): 0},
        workloads=SUPPORT,
        now=NOW,
    )
    assert [aside.why.reason for aside in decision.dead] == ["is not JSON"]
    assert len(decision.keep) == 1
    assert decision.advances == {("t", 0): 2}


def test_unknown_workloads_and_events_from_the_future_are_put_aside() -> None:
    decision = decide(
        records=[read(0, inference(1, workload=WorkloadId("who"))), read(1, inference(2, occurred_at=NOW + timedelta(minutes=6)))],
        expected={("t", 0): 0},
        workloads=SUPPORT,
        now=NOW,
    )
    assert [aside.why.path for aside in decision.dead] == ["$.data.workload_id", "$.data.timestamp"]
    assert [aside.why.event_id for aside in decision.dead] == ["event-1", "event-2"]


def test_offsets_that_go_backward_take_nothing_from_that_partition() -> None:
    decision = decide(
        records=[read(3, inference(1)), read(9, inference(2)), read(0, inference(3), partition=1)],
        expected={("t", 0): 9, ("t", 1): 0},
        workloads=SUPPORT,
        now=NOW,
    )
    assert decision.went_backward == (("t", 0),)
    assert [kept.inference.event_id for kept in decision.keep] == [EventId("event-3")]
    assert decision.advances == {("t", 1): 1}


def test_records_of_a_partition_that_is_not_held_are_left_to_its_owner() -> None:
    decision = decide(records=[read(0, inference(1), partition=2)], expected={("t", 0): 0}, workloads=SUPPORT, now=NOW)
    assert decision.keep == ()
    assert decision.advances == {}


def test_an_empty_batch_changes_nothing() -> None:
    decision = decide(records=[], expected={("t", 0): 0}, workloads=SUPPORT, now=NOW)
    assert (decision.keep, decision.dead, decision.advances) == ((), (), {})
