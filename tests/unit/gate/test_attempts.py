"""Who tries often is judged more strictly."""

import pytest

from flywheel.errors import InvalidInput
from flywheel.gate.attempts import Attempts
from flywheel.gate.axes import Role
from flywheel.gate.axis_order import GatePolicy, axes_in_order


@pytest.mark.parametrize(
    ("attempts", "divisor"),
    [
        (Attempts(), 1),
        (Attempts(challengers=3), 3),
        (Attempts(gates=2), 2),
        (Attempts(challengers=3, gates=2), 6),
        (Attempts(challengers=1, planned_challengers=4), 4),
        (Attempts(challengers=5, planned_challengers=4), 5),
    ],
)
def test_alpha_is_divided_over_challengers_and_repeated_gates(attempts: Attempts, divisor: int) -> None:
    assert attempts.divisor() == divisor
    for axis in axes_in_order(policy=GatePolicy(), protected=["tenant=globex"], attempts=attempts):
        expected = 0.025 / divisor if axis.role is Role.SUPERIORITY else 0.01
        assert axis.alpha == pytest.approx(expected), axis.name
        assert axis.divided_by == (divisor if axis.role is Role.SUPERIORITY else 1)


def test_what_is_planned_counts_when_nothing_else_is_known() -> None:
    assert axes_in_order(policy=GatePolicy(planned_challengers=5), protected=())[1].alpha == pytest.approx(0.005)


def test_a_wider_margin_needs_a_known_axis_and_a_reason() -> None:
    with pytest.raises(InvalidInput, match=r"golden\[tenant=acme\]"):
        axes_in_order(policy=GatePolicy(margins={"golden[tenant=acme]": (0.1, "small")}), protected=["tenant=globex"])
    with pytest.raises(InvalidInput, match=r"general.*no reason"):
        axes_in_order(policy=GatePolicy(margins={"general": (0.1, "  ")}), protected=())
    narrower = axes_in_order(policy=GatePolicy(margins={"general": (0.02, "")}), protected=())
    assert {axis.name: axis.margin for axis in narrower}["general"] == 0.02
