"""Which axes a gate has, in the order they are asked: the cheapest that can refuse comes first.

In: alphas, margins other than the standard with the reason for each, protected slices, how often this was tried before.
Out: the axes' policies. Judging is not done here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from flywheel.errors import InvalidInput
from flywheel.gate.attempts import Attempts
from flywheel.gate.axes import AxisPolicy, Role
from flywheel.gate.exact_not_worse import LEAST_MARGIN, NUISANCE_CHANCE

STANDARD_MARGIN = AxisPolicy.standard_margin
FORMAT, GOLDEN, RECURRENCE, HELD_OUT, GENERAL, SAFETY = "format", "golden", "recurrence", "held_out", "general", "safety"


@dataclass(frozen=True, kw_only=True)
class GatePolicy:
    """``margins``: axis name -> (margin, why it is not the standard one). Raises InvalidInput for a value outside its range."""

    superiority_alpha: float = 0.025
    non_inferiority_alpha: float = 0.01
    margins: Mapping[str, tuple[float, str]] = field(default_factory=dict)
    recurrence_at_most: int = 200
    held_out_at_most: int = 200
    few_shot: int = 3
    planned_challengers: int = 1

    def __post_init__(self) -> None:
        _check_range("superiority_alpha", self.superiority_alpha, above=0, below=0.5, remedy="The standard is 0.025.")
        # No p-value of the exact test is smaller than NUISANCE_CHANCE.
        _check_range("non_inferiority_alpha", self.non_inferiority_alpha, above=NUISANCE_CHANCE, below=0.5, remedy="The standard is 0.01.")
        for name, (margin, _) in self.margins.items():  # below LEAST_MARGIN no number of items shows anything
            _check_range(f"margins.{name}", margin, above=LEAST_MARGIN, below=1, remedy="A margin is a share: 5 points are 0.05.")
        for name, least in (("recurrence_at_most", 0), ("held_out_at_most", 0), ("few_shot", 0), ("planned_challengers", 1)):
            value = getattr(self, name)
            if value < least:
                raise InvalidInput(f"must be {least} or more", where=f"gate.{name}", value=value, remedy=f"Give {least} or more.")


def _check_range(name: str, value: float, *, above: float, below: float, remedy: str) -> None:
    if not above < value < below:
        raise InvalidInput(f"must be above {above:g} and below {below:g}", where=f"gate.{name}", value=value, remedy=remedy)


def slice_axis(slice_name: str) -> str:
    """The name of the axis of one protected slice's golden cases."""
    return f"golden[{slice_name}]"


def is_slice(axis: str) -> bool:
    """Is it the axis of a protected slice?"""
    return axis.startswith(f"{GOLDEN}[")


def axes_in_order(*, policy: GatePolicy, protected: Sequence[str], attempts: Attempts | None = None) -> tuple[AxisPolicy, ...]:
    """Held-out failures are only reported unless a margin is named for them, because they were selected for the champion's errors.

    Only the superiority alpha is divided over attempts. The other axes must all pass, so dividing theirs would only cost power.
    Raises InvalidInput for a margin of no axis, and for one that is wider than the standard and gives no reason.
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
                remedy="Give the reason; it is shown in every gate's evidence.",
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
