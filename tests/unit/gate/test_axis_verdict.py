"""One axis: pass, refuse, cannot tell."""

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flywheel.gate.axes import AxisPolicy, AxisVerdict, GateVerdict, PairedCounts, Role
from flywheel.gate.axis_verdict import judge
from flywheel.gate.decide import decide, decide_in_order
from flywheel.gate.entities import Agreement, effective
from flywheel.gate.paired_tests import difference_bounds

BETTER = AxisPolicy(name="golden", role=Role.SUPERIORITY, margin=0.05, alpha=0.025)
NOT_WORSE = AxisPolicy(name="general", role=Role.NON_INFERIORITY, margin=0.05, alpha=0.01)


def arms(*, both: int = 0, wins: int = 0, losses: int = 0, neither: int = 0) -> tuple[Sequence[bool], Sequence[bool]]:
    baseline = [True] * both + [False] * wins + [True] * losses + [False] * neither
    challenger = [True] * both + [True] * wins + [False] * losses + [False] * neither
    return baseline, challenger


def verdict(policy: AxisPolicy, **counts: int) -> AxisVerdict:
    baseline, challenger = arms(**counts)
    return judge(policy=policy, baselines={"champion": baseline}, challenger=challenger)


def test_many_wins_and_few_losses_are_better() -> None:
    axis = verdict(BETTER, both=10, wins=13, losses=1, neither=36)
    assert axis.verdict is GateVerdict.PASS
    assert axis.test.p is not None
    assert axis.test.p < 0.001


def test_the_same_answers_are_not_better() -> None:
    assert verdict(BETTER, both=30, neither=30).verdict is GateVerdict.REFUSE


def test_too_few_items_to_win_say_how_many_are_needed() -> None:
    axis = verdict(BETTER, both=17, wins=3)
    assert axis.verdict is GateVerdict.CANNOT_TELL
    assert axis.required.at_these_shares == 40


def test_a_perfect_baseline_leaves_nothing_to_win() -> None:
    assert verdict(BETTER, both=60).verdict is GateVerdict.REFUSE


def test_the_better_baseline_is_the_one_to_beat() -> None:
    strong, challenger = arms(both=30, wins=0, losses=0, neither=10)
    axis = judge(policy=BETTER, baselines={"base": [False] * 40, "few_shot": strong}, challenger=challenger)
    assert axis.baseline_arm == "few_shot"
    assert axis.verdict is GateVerdict.REFUSE


def test_the_counts_of_weaker_baselines_are_kept() -> None:
    strong, challenger = arms(both=30, wins=5, losses=1, neither=4)
    axis = judge(policy=BETTER, baselines={"base": [False] * 39 + [True], "few_shot": strong}, challenger=challenger)
    assert axis.others == {"base": PairedCounts(both=0, wins=35, losses=1, neither=4)}
    assert verdict(BETTER, both=10, wins=6).others == {}


def test_no_loss_on_enough_items_is_not_worse() -> None:
    assert verdict(NOT_WORSE, both=103).verdict is GateVerdict.PASS


def test_no_loss_on_too_few_items_cannot_tell() -> None:
    axis = verdict(NOT_WORSE, both=60)
    assert axis.verdict is GateVerdict.CANNOT_TELL
    assert axis.required.at_these_shares == 103


def test_a_collapse_on_few_items_is_refused() -> None:
    assert verdict(NOT_WORSE, both=2, losses=18).verdict is GateVerdict.REFUSE


def test_more_losses_than_the_margin_on_many_items_are_refused() -> None:
    assert verdict(NOT_WORSE, both=180, losses=20).verdict is GateVerdict.REFUSE


def test_a_wider_margin_lets_a_small_axis_pass() -> None:
    wide = AxisPolicy(name="safety", role=Role.NON_INFERIORITY, margin=0.15, alpha=0.01, reason="40 items")
    assert verdict(wide, both=40).verdict is GateVerdict.PASS


def test_an_empty_axis_never_passes() -> None:
    for policy in (BETTER, NOT_WORSE):
        assert judge(policy=policy, baselines={"base": ()}, challenger=()).verdict is GateVerdict.CANNOT_TELL


def test_one_more_loss_never_makes_a_verdict_better() -> None:
    order = [GateVerdict.PASS, GateVerdict.CANNOT_TELL, GateVerdict.REFUSE]
    for policy in (BETTER, NOT_WORSE):
        for wins in (0, 4, 12):
            passes = [verdict(policy, both=120 - losses, wins=wins, losses=losses).verdict is GateVerdict.PASS for losses in range(60)]
            assert passes == sorted(passes, reverse=True)
            assert all(verdict(policy, both=120, wins=wins).verdict in order for _ in (0,))


def test_a_gate_passes_only_when_something_improved_and_nothing_fell() -> None:
    better, equal = verdict(BETTER, wins=20, neither=40), verdict(NOT_WORSE, both=200)
    assert decide(axes=[better, equal]).verdict is GateVerdict.PASS
    assert decide(axes=[equal]).verdict is GateVerdict.CANNOT_TELL
    assert decide(axes=[]).verdict is GateVerdict.CANNOT_TELL


def test_one_axis_that_cannot_tell_holds_the_gate() -> None:
    decision = decide(axes=[verdict(BETTER, wins=20, neither=40), verdict(NOT_WORSE, both=10)])
    assert decision.verdict is GateVerdict.CANNOT_TELL
    assert "general" in decision.reason


def test_a_refusal_outweighs_cannot_tell_and_ends_the_gate() -> None:
    axes = [verdict(NOT_WORSE, both=10), verdict(NOT_WORSE, losses=50)]
    assert decide(axes=axes).verdict is GateVerdict.REFUSE
    in_order = iter(axes)
    policies = [NOT_WORSE, NOT_WORSE, BETTER]
    found = decide_in_order(axes=policies, judge=lambda policy: next(in_order), has_items=lambda policy: policy is BETTER)
    assert (len(found.axes), found.not_judged) == (2, ("golden",))


def test_a_reported_axis_decides_nothing() -> None:
    shown = verdict(AxisPolicy(name="held_out", role=Role.REPORTED, margin=0.05, alpha=0.01), losses=50)
    assert decide(axes=[shown, verdict(BETTER, wins=20)]).verdict is GateVerdict.PASS


# -- what must always hold ---------------------------------------------------------------------------------------------------------

RANK = {GateVerdict.REFUSE: 0, GateVerdict.CANNOT_TELL: 1, GateVerdict.PASS: 2}
pairs = st.lists(st.tuples(st.booleans(), st.booleans()), max_size=140)
policies = st.sampled_from((BETTER, NOT_WORSE, AxisPolicy(name="wide", role=Role.NON_INFERIORITY, margin=0.3, alpha=0.01, reason="small")))


@settings(deadline=None)
@given(pairs, policies, st.data())
def test_a_verdict_never_improves_when_an_answer_gets_worse(
    answers: list[tuple[bool, bool]], policy: AxisPolicy, data: st.DataObject
) -> None:
    if not answers:
        return
    at = data.draw(st.integers(0, len(answers) - 1))
    baseline, challenger = [old for old, _ in answers], [new for _, new in answers]
    worse = [new and each != at for each, new in enumerate(challenger)]
    before = judge(policy=policy, baselines={"champion": baseline}, challenger=challenger)
    after = judge(policy=policy, baselines={"champion": baseline}, challenger=worse)
    assert RANK[after.verdict] <= RANK[before.verdict]


@settings(deadline=None)
@given(pairs, policies, st.data())
def test_by_entity_a_worse_answer_never_improves_at_a_given_icc(
    answers: list[tuple[bool, bool]], policy: AxisPolicy, data: st.DataObject
) -> None:
    if not answers:
        return
    at = data.draw(st.integers(0, len(answers) - 1))
    entities = [str(each // 3) for each in range(len(answers))]
    agreement = Agreement(items=500, entities=100, icc=0.2, high=data.draw(st.floats(0, 1)))
    baseline, challenger = [old for old, _ in answers], [new for _, new in answers]
    worse = [new and each != at for each, new in enumerate(challenger)]
    before = judge(policy=policy, baselines={"c": baseline}, challenger=challenger, entities=entities, agreement=agreement)
    after = judge(policy=policy, baselines={"c": baseline}, challenger=worse, entities=entities, agreement=agreement)
    assert RANK[after.verdict] <= RANK[before.verdict]


@settings(deadline=None)
@given(pairs, policies, st.booleans())
def test_every_verdict_has_a_reason_and_none_passes_without_items(
    answers: list[tuple[bool, bool]], policy: AxisPolicy, repeated: bool
) -> None:
    entities = [str(each // 4 if repeated else each) for each in range(len(answers))]
    axis = judge(policy=policy, baselines={"c": [old for old, _ in answers]}, challenger=[new for _, new in answers], entities=entities)
    assert axis.reason
    assert all(
        math.isfinite(value) for value in (axis.test.p, axis.test.low, axis.test.high, axis.baseline, axis.challenger) if value is not None
    )
    assert answers or axis.verdict is GateVerdict.CANNOT_TELL
    if axis.verdict is GateVerdict.CANNOT_TELL:
        assert axis.required.at_these_shares is not None
        assert axis.required.at_these_shares > axis.n or policy.role is Role.SUPERIORITY


def test_five_answers_of_an_entity_count_less_than_five_items() -> None:
    baseline, challenger = arms(both=110)
    entities = [str(at // 5) for at in range(110)]
    assert judge(policy=NOT_WORSE, baselines={"c": baseline}, challenger=challenger).verdict is GateVerdict.PASS
    axis = judge(policy=NOT_WORSE, baselines={"c": baseline}, challenger=challenger, entities=entities)
    assert axis.clusters is not None
    assert (axis.verdict, axis.clusters.entities, axis.clusters.effective_n, axis.required.at_these_shares) == (
        GateVerdict.CANNOT_TELL,
        22,
        22,
        515,
    )
    assert "of 22 entities (effectively 0 and 0 on 22 independent ones)" in axis.reason


def test_effective_counts_follow_from_the_stored_design_effect() -> None:
    entities = ["big"] * 50 + ["small"] * 10 + [str(at) for at in range(40)]
    baseline, challenger = arms(both=80, wins=12, losses=3, neither=5)
    likeness = Agreement(items=100, entities=42, icc=0.2, high=0.3)
    axis = judge(policy=NOT_WORSE, baselines={"c": baseline}, challenger=challenger, entities=entities, agreement=likeness)
    assert axis.clusters is not None
    assert axis.clusters.entity_size == (50 * 50 + 10 * 10 + 40) / 100
    assert (axis.clusters.icc, axis.clusters.icc_is) == (0.3, "measured on the larger set that these items are from")
    assert axis.clusters.icc is not None
    assert axis.clusters.design_effect is not None
    assert axis.clusters.design_effect == pytest.approx(1 + (axis.clusters.entity_size - 1) * axis.clusters.icc)
    worth = (
        math.floor(axis.n / axis.clusters.design_effect),
        math.floor(axis.wins / axis.clusters.design_effect),
        math.ceil(axis.losses / axis.clusters.design_effect),
    )
    assert (axis.clusters.effective_n, axis.clusters.effective_wins, axis.clusters.effective_losses) == worth


def test_an_icc_of_one_says_whether_it_was_measured_or_assumed() -> None:
    entities = [str(at // 5) for at in range(110)]
    said = {}
    for name, lost in (("nothing differs", 0), ("whole entities differ", 20)):
        baseline, challenger = arms(both=110 - lost, losses=lost)
        axis = judge(policy=NOT_WORSE, baselines={"c": baseline}, challenger=challenger, entities=entities)
        assert axis.clusters is not None
        assert axis.clusters.icc == pytest.approx(1.0)
        said[name] = axis.clusters.icc_is
    assert said == {"nothing differs": "assumed: it could not be measured", "whole entities differ": "measured on these items"}
    assert verdict(NOT_WORSE, both=110).clusters is None


def test_required_numbers_are_items_for_not_worse_and_wins_for_better() -> None:
    for policy, numbers in ((NOT_WORSE, (103, None)), (BETTER, (None, 6))):
        axis = verdict(policy, both=110)
        assert (axis.required.smallest, axis.required.least_wins) == numbers


def test_entities_that_do_not_repeat_change_nothing() -> None:
    baseline, challenger = arms(both=100, wins=8, losses=2)
    plain = judge(policy=NOT_WORSE, baselines={"c": baseline}, challenger=challenger)
    assert judge(policy=NOT_WORSE, baselines={"c": baseline}, challenger=challenger, entities=[str(at) for at in range(110)]) == plain


def test_one_more_attempt_can_turn_a_pass_into_a_refusal() -> None:
    third = replace(BETTER, alpha=0.025 / 3, divided_by=3)
    assert verdict(BETTER, wins=6, neither=54).verdict is GateVerdict.PASS
    again = verdict(third, wins=6, neither=54)
    assert (again.verdict, again.test.divided_by) == (GateVerdict.REFUSE, 3)
    assert "divided over 3 attempts" in again.reason


def test_the_required_number_does_not_follow_from_rounded_counts() -> None:
    """Two wins and ten losses of sixty that are worth nothing and five of twenty-six are still two and ten of sixty."""
    answers = [True] * 10 + [False] * 2 + [True] * 48
    baseline = [*answers[:12], *([True] * 48)]
    challenger = [False] * 10 + [True] * 2 + [True] * 48
    entities = [f"function-{at % 26}" for at in range(60)]
    policy = AxisPolicy(name="format", role=Role.NON_INFERIORITY, margin=0.2, alpha=0.01, reason="a small set")
    axis = judge(policy=policy, baselines={"champion": baseline}, challenger=challenger, entities=entities)
    assert axis.verdict is GateVerdict.CANNOT_TELL
    assert axis.required.at_these_shares is not None
    assert 60 < axis.required.at_these_shares < 2_000
    assert axis.test.margin_reason == "a small set"


def test_the_required_number_suffices_where_entities_repeat() -> None:
    """What they are worth is rounded against the challenger: 6 wins and 4 losses in 103 are not 4 and 2 in 60."""
    baseline, challenger = arms(both=40, wins=4, losses=2, neither=14)
    pairs = [f"e{item // 2}" for item in range(60)]
    axis = judge(
        policy=NOT_WORSE,
        baselines={"champion": baseline},
        challenger=challenger,
        entities=pairs,
        agreement=Agreement(items=60, entities=30, icc=0.6, high=0.733),
    )
    assert axis.verdict is GateVerdict.CANNOT_TELL
    assert axis.required.at_these_shares is not None
    assert axis.clusters is not None
    assert axis.clusters.design_effect is not None
    items = axis.required.at_these_shares
    worth = effective(n=items, wins=4 * items // 60, losses=-(-2 * items // 60), design_effect=axis.clusters.design_effect)
    low, _ = difference_bounds(n=worth.n, wins=worth.wins, losses=worth.losses, alpha=NOT_WORSE.alpha)
    assert low > -NOT_WORSE.margin
