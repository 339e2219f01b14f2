"""A flow that has work and does not move for its time stands; nothing else does."""

from dataclasses import replace

from flywheel.progress import Flow, FlowReading, Movement, ProgressVerdict, decide

FLOW = Flow(name="topic to record", pace_seconds=60.0, remedy="Start the broker.", restart_after_seconds=300.0)


def judged(*, waiting: int | None, still: float, cause: str = "") -> ProgressVerdict:
    return decide(flow=FLOW, reading=FlowReading(waiting=waiting, moved_at=1_000.0, cause=cause), now=1_000.0 + still)


def test_nothing_waits_so_nothing_stands() -> None:
    assert judged(waiting=0, still=1e6).movement is Movement.IDLE


def test_work_may_wait_for_its_pace() -> None:
    assert judged(waiting=5, still=60.0).movement is Movement.MOVES
    verdict = judged(waiting=5, still=61.0, cause="the broker does not answer.")
    assert verdict.movement is Movement.STANDS
    assert verdict.reason == "5 wait, and nothing has moved for 61 s: the broker does not answer"


def test_work_that_cannot_be_seen_counts_as_work() -> None:
    assert judged(waiting=None, still=10.0).movement is Movement.MOVES
    assert judged(waiting=None, still=61.0, cause="no broker").reason == "it cannot be seen what waits, since 61 s: no broker"


def test_a_restart_is_asked_for_only_where_no_cause_is_known() -> None:
    assert not judged(waiting=1, still=300.0).restart
    assert judged(waiting=1, still=301.0).restart
    assert not judged(waiting=1, still=301.0, cause="the disk is full").restart
    no_restart = replace(FLOW, restart_after_seconds=None)
    assert not decide(flow=no_restart, reading=FlowReading(waiting=1, moved_at=0.0), now=1e9).restart


def test_a_clock_that_goes_back_counts_no_negative_time() -> None:
    assert judged(waiting=1, still=-5.0).still_seconds == 0.0
