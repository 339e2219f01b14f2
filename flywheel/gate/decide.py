"""May this adapter go on to shadow and canary?

In: the verdicts of the axes so far. Out: the gate's decision. Asking goes axis by axis and ends where this says so.
"""

from collections.abc import Sequence

from flywheel.gate.axes import AxisVerdict, GateDecision, GateVerdict, Role


def decide(*, axes: Sequence[AxisVerdict]) -> GateDecision:
    """Pass only when an axis shows improvement and none refuses or cannot tell. No axis, no pass."""
    deciding = [axis for axis in axes if axis.role is not Role.REPORTED]
    for axis in deciding:
        if axis.verdict is GateVerdict.REFUSE:
            return GateDecision(verdict=GateVerdict.REFUSE, reason=f"{axis.name}: {axis.reason}", axes=tuple(axes))
    for axis in deciding:
        if axis.verdict is GateVerdict.CANNOT_TELL:
            return GateDecision(verdict=GateVerdict.CANNOT_TELL, reason=f"{axis.name}: {axis.reason}", axes=tuple(axes))
    proven = [axis for axis in deciding if axis.role is Role.SUPERIORITY]
    if not proven:
        return GateDecision(verdict=GateVerdict.CANNOT_TELL, reason="no axis was asked that could show improvement", axes=tuple(axes))
    better = proven[0]
    reason = f"better on {better.name} ({better.challenger:.0%} against {better.baseline:.0%} of {better.baseline_arm}) and worse nowhere"
    return GateDecision(verdict=GateVerdict.PASS, reason=reason, axes=tuple(axes))


def stopped(axes: Sequence[AxisVerdict]) -> bool:
    """True once an axis has refused: nothing that is asked afterwards could change the decision."""
    return any(axis.role is not Role.REPORTED and axis.verdict is GateVerdict.REFUSE for axis in axes)
