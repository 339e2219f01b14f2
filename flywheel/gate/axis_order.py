"""Which axes a gate has, in the order they are asked: the cheapest that can refuse comes first.

In: alphas, margins other than the standard with the reason for each, protected slices, how often this was tried before.
Out: the axes' policies. Judging is not done here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from flywheel.errors import InvalidInput
from flywheel.gate.attempts import Attempts
from flywheel.gate.axes import AxisPolicy, Role
from flywheel.gate.stated import chance_of_error, share_lost
from flywheel.plausible import check_text, check_whole, check_wholes

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
    planned_challengers: int = 1

    def __post_init__(self) -> None:
        chance_of_error(self.superiority_alpha, where="gate.superiority_alpha", below=0.5)
        chance_of_error(self.non_inferiority_alpha, where="gate.non_inferiority_alpha", below=0.5)
        check_wholes(
            where="gate", recurrence_at_most=self.recurrence_at_most, held_out_at_most=self.held_out_at_most, few_shot=self.few_shot
        )
        check_whole(self.planned_challengers, where="gate.planned_challengers", least=1)
        for name, stated in self.margins.items():
            if not isinstance(stated, tuple) or len(stated) != 2:
                raise InvalidInput("a margin stands with its reason", where=f"gate.margins.{name}", value=stated, remedy="(0.1, 'why').")
            share_lost(stated[0], where=f"gate.margins.{name}")
            check_text(stated[1], where=f"gate.margins.{name}.reason", empty=True)


def slice_axis(slice_name: str) -> str:
    """The golden cases of one protected slice."""
    return f"golden[{slice_name}]"


def is_slice(axis: str) -> bool:
    """Is it the axis of a protected slice?"""
    return axis.startswith(f"{GOLDEN}[")


def axes_in_order(*, policy: GatePolicy, protected: Sequence[str], attempts: Attempts | None = None) -> tuple[AxisPolicy, ...]:
    """Held-out failures are reported unless a margin is named for them: they are selected for the champion's errors.

    Only the superiority alpha is divided over attempts: the others must all pass, where dividing would only destroy power.
    Raises InvalidInput for a margin of no axis, and for one that is wider than the standard and says not why.
    """
    not_worse = [FORMAT, GOLDEN, *(slice_axis(name) for name in protected), RECURRENCE, HELD_OUT, GENERAL, SAFETY]
    for name, (margin, reason) in policy.margins.items():
        if name not in not_worse:
            known = ", ".join(not_worse)
            raise InvalidInput("there is no such axis", where="gate.margins", value=name, remedy=f"Name one of {known}, or protect it.")
        if margin > STANDARD_MARGIN and not reason.strip():
            raise InvalidInput(
                f"wider than the standard {STANDARD_MARGIN:g}, and no reason is given",
                where=f"gate.margins.{name}",
                value=margin,
                remedy="Say why: the reason stands in every gate's evidence.",
            )
    divisor = (attempts or Attempts(planned_challengers=policy.planned_challengers)).divisor()
    return tuple(_axis(name, policy, divisor) for name in not_worse)


def _axis(name: str, policy: GatePolicy, divisor: int) -> AxisPolicy:
    margin, reason = policy.margins.get(name, (STANDARD_MARGIN, ""))
    if name == GOLDEN:
        alpha = policy.superiority_alpha / divisor
        return AxisPolicy(name=name, role=Role.SUPERIORITY, margin=margin, alpha=alpha, reason=reason, divided_by=divisor)
    role = Role.REPORTED if name == HELD_OUT and name not in policy.margins else Role.NON_INFERIORITY
    return AxisPolicy(name=name, role=role, margin=margin, alpha=policy.non_inferiority_alpha, reason=reason)
