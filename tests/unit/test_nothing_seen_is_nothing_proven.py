"""Policies that would let a verdict pass without data, or on numbers that are none, are refused where they are made."""

from datetime import UTC, datetime

import pytest

from flywheel.drift.stated import DriftPolicy
from flywheel.drift.verdict import DriftStatus, judge_shares
from flywheel.errors import FlywheelError
from flywheel.ids import BASE, WorkloadId
from flywheel.rollout.guards import GuardAlphas, GuardPolicy
from flywheel.rollout.next_action import RolloutPolicy


@pytest.mark.parametrize("wrong", [{"p_below": float("nan")}, {"rate_floor": float("nan")}, {"ks_floor": -0.1}, {"minimum_rows": 0}])
def test_drift_limits_are_numbers_and_at_least_one_row_is_wanted(wrong: dict[str, float]) -> None:
    with pytest.raises(FlywheelError):
        DriftPolicy(**wrong)  # type: ignore[arg-type]


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
    from flywheel.drift.reference import pin
    from flywheel.windows.pane import WindowCounts

    many = 4 * 10**10
    start, end = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 3, tzinfo=UTC)

    def counted(share: float) -> WindowCounts:
        rows = {"all": many, "t=a": int(many * share)}
        return WindowCounts(workload=WorkloadId("w"), start=start, end=end, counts={name: {} for name in rows}, rows=rows)

    reference = pin(counts=counted(0.1), adapter=BASE, by="maria", now=end, whole_day=end - start)  # type: ignore[arg-type]
    (verdict,) = judge_shares(window=counted(0.5), reference=reference, policy=DriftPolicy(), now=end)
    assert verdict.status is DriftStatus.DRIFTING
    assert verdict.effect == pytest.approx(0.4, abs=1e-6)
