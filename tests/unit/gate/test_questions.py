"""Which arms and cases an axis has, and what needs no asking."""

import pytest

from flywheel.gate.axes import GateVerdict
from flywheel.gate.axis_order import FORMAT, GENERAL, GOLDEN, RECURRENCE, SAFETY, slice_axis
from flywheel.gate.decide import without_asking
from flywheel.gate.questions import LONGEST_NAME, NAMED_ANSWERS, NAMED_ARGUMENTS, Baselines, GateArm, incorrect_answers
from flywheel.regression_suite.grade import Grade

CHAMPION, FEW_SHOT, BASE = GateArm.CHAMPION, GateArm.FEW_SHOT, GateArm.BASE


@pytest.mark.parametrize(
    ("axis", "beside_a_champion", "beside_the_base"),
    [
        (GOLDEN, (CHAMPION, FEW_SHOT, BASE), (FEW_SHOT, BASE)),
        (FORMAT, (CHAMPION,), (FEW_SHOT, BASE)),
        (GENERAL, (CHAMPION, BASE), (BASE,)),
        (SAFETY, (CHAMPION, BASE), (BASE,)),
        (RECURRENCE, (CHAMPION,), (BASE,)),
        (slice_axis("tenant=acme"), (CHAMPION,), (BASE,)),
    ],
)
def test_each_axis_meets_its_baselines(axis: str, beside_a_champion: tuple[GateArm, ...], beside_the_base: tuple[GateArm, ...]) -> None:
    assert Baselines(champion=True, few_shot=True).of(axis) == beside_a_champion
    assert Baselines(champion=False, few_shot=True).of(axis) == beside_the_base


def test_without_shots_no_axis_meets_the_few_shot_baseline() -> None:
    for axis in (GOLDEN, FORMAT):
        assert Baselines(champion=False, few_shot=False).of(axis) == (BASE,)


def test_a_gate_that_asks_nothing_never_passes() -> None:
    changed = without_asking(trained_on="a", served="b", has_golden_set=True)
    empty = without_asking(trained_on="a", served="a", has_golden_set=False)
    assert changed is not None
    assert empty is not None
    assert (changed.verdict, empty.verdict) == (GateVerdict.REFUSE, GateVerdict.CANNOT_TELL)
    assert without_asking(trained_on="a", served=None, has_golden_set=True) is None


def test_incorrect_answers_are_named_with_their_worst_arguments_within_bounds() -> None:
    scores = {f"{n:03d}" + "x" * 1_000: n / 100 for n in reversed(range(50))}
    grades = {f"case-{n}": Grade(correct=n % 2 == 0, valid_format=True, reason="wrong", arguments=scores) for n in range(200)}
    found = incorrect_answers(grades)
    assert [one.case for one in found] == [f"case-{2 * n + 1}" for n in range(NAMED_ANSWERS)]
    assert list(found[0].arguments.values()) == [n / 100 for n in range(NAMED_ARGUMENTS)]
    assert {len(name) for name in found[0].arguments} == {LONGEST_NAME}
