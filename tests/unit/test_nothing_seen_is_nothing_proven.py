"""Policies that would let a verdict pass without data, or on numbers that are none, are refused where they are made."""

from datetime import UTC, datetime

import numpy as np
import pytest

from flywheel.drift.evidence import verdicts
from flywheel.drift.judge import judge_window, prepare_reference
from flywheel.drift.reference import pin
from flywheel.drift.thresholds import SHARE_COLUMN, DriftPolicy
from flywheel.drift.verdict import DriftStatus
from flywheel.errors import FlywheelError
from flywheel.ids import BASE, WorkloadId
from flywheel.rollout.guards import GuardAlphas, GuardPolicy
from flywheel.rollout.next_action import RolloutPolicy
from flywheel.windows.counts import CountMatrix, WindowCounts


@pytest.mark.parametrize("wrong", [0, -1])
def test_guards_want_sessions(wrong: int) -> None:
    with pytest.raises(FlywheelError):
        GuardPolicy(minimum_sessions=wrong)
    with pytest.raises(FlywheelError):
        RolloutPolicy(canary_sessions=wrong)
    with pytest.raises(FlywheelError):
        RolloutPolicy(shadow_requests=wrong)


def test_a_budget_that_is_no_number_allows_nothing() -> None:
    with pytest.raises(FlywheelError):
        GuardPolicy(budget=float("nan"), alphas=GuardAlphas(errors=0.99))


def test_the_share_of_a_slice_is_judged_at_any_volume() -> None:
    many = 4 * 10**10
    start, end = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 3, tzinfo=UTC)

    def counted(share: float) -> WindowCounts:
        rows = np.array([many, int(many * share)])
        matrix = CountMatrix(slices=("all", "t=a"), bins=(), counts=np.zeros((2, 0), dtype=np.int64), rows=rows)
        return WindowCounts(workload=WorkloadId("w"), start=start, end=end, matrix=matrix)

    reference = pin(counts=counted(0.1), adapter=BASE, by="maria", now=end, whole_day=end - start)  # type: ignore[arg-type]
    columns = (SHARE_COLUMN,)
    judged = judge_window(window=counted(0.5), reference=prepare_reference(reference, columns), columns=columns, policy=DriftPolicy())
    (verdict,) = verdicts(judged, now=end)
    assert verdict.status is DriftStatus.DRIFTING
    assert verdict.effect == pytest.approx(0.4, abs=1e-6)
