"""May this adapter go on to shadow and canary?

In: the verdicts of the axes so far, and which were left out. Out: the gate's decision. Asking goes axis by axis and ends where
this says so.
"""

from collections.abc import Sequence

from flywheel.gate.axes import AxisVerdict, GateDecision, GateVerdict, Role


def decide(*, axes: Sequence[AxisVerdict], not_judged: Sequence[str] = ()) -> GateDecision:
    """Pass only when an axis shows improvement and none refuses or cannot tell. No axis, no pass."""
    verdict, reason = _decided([axis for axis in axes if axis.role is not Role.REPORTED])
    return GateDecision(verdict=verdict, reason=reason, axes=tuple(axes), not_judged=tuple(not_judged))


def stopped(axes: Sequence[AxisVerdict]) -> bool:
    """True once an axis has refused: nothing that is asked afterwards could change the decision."""
    return any(axis.role is not Role.REPORTED and axis.verdict is GateVerdict.REFUSE for axis in axes)


def _decided(deciding: Sequence[AxisVerdict]) -> tuple[GateVerdict, str]:
    for verdict in (GateVerdict.REFUSE, GateVerdict.CANNOT_TELL):
        for axis in deciding:
            if axis.verdict is verdict:
                return verdict, f"{axis.name}: {axis.reason}"
    proven = [axis for axis in deciding if axis.role is Role.SUPERIORITY]
    if not proven:
        return GateVerdict.CANNOT_TELL, "no axis was asked that could show improvement"
    better = proven[0]
    shares = f"{better.challenger:.0%} against {better.baseline:.0%} of {better.baseline_arm}"
    return GateVerdict.PASS, f"better on {better.name} ({shares}) and worse nowhere"
