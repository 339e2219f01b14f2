"""Which axes a gate has, in the order they are asked: the cheapest that can refuse comes first.

In: alphas, margins other than the standard, protected slices. Out: the axes' policies. Judging is not done here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from flywheel.gate.axes import AxisPolicy, Role

STANDARD_MARGIN = 0.05
FORMAT, GOLDEN, RECURRENCE, HELD_OUT, GENERAL, SAFETY = "format", "golden", "recurrence", "held_out", "general", "safety"


@dataclass(frozen=True, kw_only=True)
class GatePolicy:
    """``margins``: axis name -> (margin, why it is not the standard one)."""

    superiority_alpha: float = 0.025
    non_inferiority_alpha: float = 0.01
    margins: Mapping[str, tuple[float, str]] = field(default_factory=dict)
    recurrence_at_most: int = 200
    held_out_at_most: int = 200
    few_shot: int = 3


def slice_axis(slice_name: str) -> str:
    """The golden cases of one protected slice."""
    return f"golden[{slice_name}]"


def axes_in_order(*, policy: GatePolicy, protected: Sequence[str]) -> tuple[AxisPolicy, ...]:
    """Held-out failures are reported unless a margin is named for them: they are selected for the champion's errors."""
    not_worse = [FORMAT, GOLDEN, *(slice_axis(name) for name in protected), RECURRENCE, HELD_OUT, GENERAL, SAFETY]
    return tuple(_axis(name, policy) for name in not_worse)


def _axis(name: str, policy: GatePolicy) -> AxisPolicy:
    margin, reason = policy.margins.get(name, (STANDARD_MARGIN, ""))
    if name == GOLDEN:
        return AxisPolicy(name=name, role=Role.SUPERIORITY, margin=margin, alpha=policy.superiority_alpha, reason=reason)
    role = Role.REPORTED if name == HELD_OUT and name not in policy.margins else Role.NON_INFERIORITY
    return AxisPolicy(name=name, role=role, margin=margin, alpha=policy.non_inferiority_alpha, reason=reason)
