"""May this adapter go on to shadow and canary?

In: the axes' policies and a function that judges one axis. Out: the gate's decision, with the verdicts it rests on.
Axes are judged in order, and judging ends at the first one that refuses.
"""

from collections.abc import Callable, Sequence

from flywheel.gate.axes import AxisPolicy, AxisVerdict, GateDecision, GateVerdict, Role


def without_asking(*, trained_on: str, served: str | None, has_golden_set: bool) -> GateDecision | None:
    """The decision that needs no answers; None when the arms must be asked. ``served`` is None where the served base is not known."""
    if served is not None and served != trained_on:
        return GateDecision(verdict=GateVerdict.REFUSE, reason="it was trained on another base model than the one that is served", axes=())
    if not has_golden_set:
        return GateDecision(
            verdict=GateVerdict.CANNOT_TELL, reason="there is no golden set: freeze one with `flywheel golden freeze`", axes=()
        )
    return None


def decide_in_order(
    *, axes: Sequence[AxisPolicy], judge: Callable[[AxisPolicy], AxisVerdict | None], has_items: Callable[[AxisPolicy], bool]
) -> GateDecision:
    """``judge`` returns None for an axis that is left out. A refusal ends the gate: nothing asked afterwards could change the decision."""
    verdicts: list[AxisVerdict] = []
    for at, policy in enumerate(axes):
        verdict = judge(policy)
        if verdict is not None:
            verdicts.append(verdict)
            if verdict.role is not Role.REPORTED and verdict.verdict is GateVerdict.REFUSE:
                return decide(axes=verdicts, not_judged=[left.name for left in axes[at + 1 :] if has_items(left)])
    return decide(axes=verdicts)


def decide(*, axes: Sequence[AxisVerdict], not_judged: Sequence[str] = ()) -> GateDecision:
    """Pass only when an axis shows improvement and none refuses or cannot tell. No axis, no pass."""
    verdict, reason = _decided([axis for axis in axes if axis.role is not Role.REPORTED])
    return GateDecision(verdict=verdict, reason=reason, axes=tuple(axes), not_judged=tuple(not_judged))


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
