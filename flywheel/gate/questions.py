"""What a gate asks: the cases of each axis, the arms that answer them, and the verdict that follows from the grades.

In: an axis, the cases, and a function that returns an arm's grades of cases. Out: one AxisVerdict. Asking the models is not done here.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from flywheel.gate.axes import AxisPolicy, AxisVerdict, IncorrectAnswer, Role
from flywheel.gate.axis_order import FORMAT, GENERAL, GOLDEN, HELD_OUT, RECURRENCE, SAFETY, GatePolicy, is_slice, slice_axis
from flywheel.gate.axis_verdict import judge
from flywheel.gate.entities import Agreement, measure
from flywheel.ids import CaseId, derive
from flywheel.regression_suite.case import Case, Tier
from flywheel.regression_suite.grade import Grade


class GateArm(StrEnum):
    """Who answers the items of a gate."""

    CHALLENGER = "challenger"
    CHAMPION = "champion"  # who serves now; it is no arm of its own while the base serves
    FEW_SHOT = "few_shot"  # the base with a few correct answers in the prompt
    BASE = "base"


NAMED_ANSWERS, NAMED_ARGUMENTS, LONGEST_NAME = 20, 20, 60
"""A gate names so many incorrect answers, with so many arguments each: enough to see what the challenger gets wrong, in a short line.
Argument names come from models and may have any length."""

GradesOf = Callable[[GateArm, Sequence[Case]], Sequence[Grade]]
"""An arm's grades of these cases, in their order."""

_TIER_OF = {RECURRENCE: Tier.RECURRENCE, HELD_OUT: Tier.HELD_OUT, GENERAL: Tier.GENERAL, SAFETY: Tier.SAFETY}


@dataclass(frozen=True, kw_only=True)
class Baselines:
    """Which baselines there are beside the base. ``few_shot`` is False where the training set holds nothing to show."""

    champion: bool
    few_shot: bool

    def of(self, axis: str) -> tuple[GateArm, ...]:
        """The baselines of an axis; the challenger must do well against the best of them.

        Improvement is measured against the best cheap alternative. Captured failures, slices and formats are compared with who serves
        now. What must not be forgotten is compared with the better of base and champion, so that small losses do not add up.
        """
        serving = GateArm.CHAMPION if self.champion else GateArm.BASE
        wanted: tuple[GateArm, ...] = (serving,)
        if axis == GOLDEN or (axis == FORMAT and not self.champion):
            wanted = (serving, GateArm.FEW_SHOT, GateArm.BASE) if self.champion else (GateArm.FEW_SHOT, GateArm.BASE)
        elif axis in (GENERAL, SAFETY):
            wanted = (serving, GateArm.BASE) if self.champion else (GateArm.BASE,)
        return tuple(arm for arm in wanted if arm is not GateArm.FEW_SHOT or self.few_shot)


def cases_of(axis: str, *, golden: Sequence[Case], of_tier: Callable[[Tier], Sequence[Case]], policy: GatePolicy) -> Sequence[Case]:
    """Captured cases grow without end, so at most so many of them are asked."""
    if axis in (GOLDEN, FORMAT):
        return golden
    if axis in _TIER_OF:
        cases = of_tier(_TIER_OF[axis])
        at_most = {RECURRENCE: policy.recurrence_at_most, HELD_OUT: policy.held_out_at_most}.get(axis)
        return cases if at_most is None else _some(cases, at_most)
    return [case for case in golden if slice_axis(case.slice) == axis]


def entities_of(axis: str, cases: Sequence[Case]) -> Sequence[str]:
    """The entity of each item, as far as it is known before the arms are asked. Whether a case asks for a format is known only from its
    grade; before, it is taken to be every case that a tool call answers."""
    return [case.entity for case in cases if axis != FORMAT or case.grader.kind == "tool_call"]


def unanswerable(axis: str, *, cases: Sequence[Case], baselines: Baselines, grades_of: GradesOf) -> frozenset[CaseId]:
    """The cases whose request every arm of the axis was refused as the client's error, such as one beyond the context length.

    The request is at fault then, and no arm wins or loses by it. Where another arm answers the same request, it is not: the refusal is
    the refused arm's own failure, whichever arm that is, and its answer is incorrect. Otherwise an adapter could escape the items that it
    fails on. A refusal of the few-shot arm may come from the shots; it is then graded by its answer without them.
    """
    grades = [grades_of(arm, cases) for arm in (GateArm.CHALLENGER, *baselines.of(axis))]
    return frozenset(case.id for case, *of_arms in zip(cases, *grades, strict=True) if all(one.refused for one in of_arms))


def judge_cases(
    *, policy: AxisPolicy, cases: Sequence[Case], golden: Sequence[Case], baselines: Baselines, grades_of: GradesOf
) -> AxisVerdict | None:
    """The verdict of one axis; None for an axis without cases. Without golden cases the golden axis cannot tell, nor can an axis that has
    only unanswerable cases."""
    left_out = unanswerable(policy.name, cases=cases, baselines=baselines, grades_of=grades_of)
    all_left_out = bool(cases) and len(left_out) == len({case.id for case in cases})
    cases = [case for case in cases if case.id not in left_out]
    if policy.name == FORMAT and cases:
        return _format(policy, cases, baselines, grades_of)
    if not cases:
        return judge(policy=policy, baselines={GateArm.BASE.value: ()}, challenger=()) if policy.name == GOLDEN or all_left_out else None
    arms = baselines.of(policy.name)
    agreement = _agreement(golden, arms[0], grades_of) if is_slice(policy.name) else None
    correct = {arm.value: [one.correct for one in grades_of(arm, cases)] for arm in arms}
    challenger = [one.correct for one in grades_of(GateArm.CHALLENGER, cases)]
    entities = [case.entity for case in cases]
    return judge(policy=policy, baselines=correct, challenger=challenger, entities=entities, agreement=agreement)


def incorrect_answers(grades: Mapping[str, Grade]) -> tuple[IncorrectAnswer, ...]:
    """The first incorrect ones of ``grades``, which are the challenger's: case -> grade."""
    wrong = [(case, one) for case, one in grades.items() if not one.correct][:NAMED_ANSWERS]
    return tuple(IncorrectAnswer(case=case, reason=one.reason, arguments=_short_names(one.arguments)) for case, one in wrong)


def _short_names(arguments: Mapping[str, float]) -> Mapping[str, float]:
    """The worst first."""
    worst_first = sorted(arguments.items(), key=lambda argument: argument[1])[:NAMED_ARGUMENTS]
    return {name[:LONGEST_NAME]: round(score, 4) for name, score in worst_first}


def _format(policy: AxisPolicy, cases: Sequence[Case], baselines: Baselines, grades_of: GradesOf) -> AxisVerdict:
    """On the cases that ask for a format. Without any there is nothing to lose: the axis is reported, with n = 0."""
    challenger = [one.valid_format for one in grades_of(GateArm.CHALLENGER, cases)]
    asked = [at for at, valid in enumerate(challenger) if valid is not None]
    if not asked:
        return judge(policy=replace(policy, role=Role.REPORTED), baselines={GateArm.BASE.value: ()}, challenger=())
    valid = {}
    for arm in baselines.of(FORMAT):
        grades = grades_of(arm, cases)
        valid[arm.value] = [bool(grades[at].valid_format) for at in asked]
    return judge(
        policy=policy,
        baselines=valid,
        challenger=[bool(challenger[at]) for at in asked],
        entities=[cases[at].entity for at in asked],
    )


def _agreement(golden: Sequence[Case], arm: GateArm, grades_of: GradesOf) -> Agreement:
    """A slice alone has too few differing items to show how correlated one entity's items are: all golden items show it."""
    pairs = zip(grades_of(GateArm.CHALLENGER, golden), grades_of(arm, golden), strict=True)
    return measure(differences=[int(new.correct) - int(old.correct) for new, old in pairs], entities=[case.entity for case in golden])


def _some(cases: Sequence[Case], at_most: int) -> Sequence[Case]:
    """The same ones each time, whatever their age: the smallest hashes of their ids."""
    return sorted(cases, key=lambda case: derive("asked", case.id))[:at_most]
