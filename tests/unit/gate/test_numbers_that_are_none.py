"""What is no number, no count and no text is refused by name before anything is decided by it; what is only large is decided."""

import math
from collections.abc import Callable
from typing import Any

import pytest

from flywheel.errors import InvalidInput
from flywheel.gate import entities, exact, paired
from flywheel.gate.applied import Applied
from flywheel.gate.applied import judge as judge_applied
from flywheel.gate.attempts import Attempts
from flywheel.gate.axes import AxisPolicy, GateVerdict, PairedCounts, Role
from flywheel.gate.axis_order import GatePolicy
from flywheel.gate.few_shot import choose
from flywheel.gate.judge_axis import judge, judge_counts
from flywheel.gate.outcomes import Outcome
from flywheel.gate.power import Assumed, Discordance, chance_to_pass

NOT_WORSE = AxisPolicy(name="general", role=Role.NON_INFERIORITY, margin=0.05, alpha=0.01)
BETTER = AxisPolicy(name="golden", role=Role.SUPERIORITY, margin=0.05, alpha=0.025)
NO_SHARE = [0, 0.0, -0.1, 1, 1.5, math.nan, math.inf, 10**400, True, None, "0.05"]
NO_COUNT = [-1, 1.5, 2.0, math.nan, math.inf, 10**400, -(10**5000), True, None, "3"]
BIG = 10**12

TAKES_ALPHA: list[Callable[[Any], object]] = [
    lambda alpha: AxisPolicy(name="a", role=Role.SUPERIORITY, margin=0.05, alpha=alpha),
    lambda alpha: GatePolicy(superiority_alpha=alpha),
    lambda alpha: GatePolicy(non_inferiority_alpha=alpha),
    lambda alpha: paired.wins_needed(alpha=alpha),
    lambda alpha: paired.difference_bounds(n=20, wins=3, losses=1, alpha=alpha),
    lambda alpha: paired.needed_without_loss(margin=0.05, alpha=alpha),
    lambda alpha: paired.needed_at_this_rate(n=20, wins=3, losses=1, margin=0.05, alpha=alpha),
    lambda alpha: exact.shown_not_worse(n=20, wins=3, losses=1, margin=0.05, alpha=alpha),
    lambda alpha: exact.least_items(margin=0.05, alpha=alpha),
]
TAKES_MARGIN: list[Callable[[Any], object]] = [
    lambda margin: AxisPolicy(name="a", role=Role.SUPERIORITY, margin=margin, alpha=0.01, reason="small"),
    lambda margin: AxisPolicy(name="a", role=Role.SUPERIORITY, margin=0.05, alpha=0.01, standard_margin=margin),
    lambda margin: GatePolicy(margins={"general": (margin, "small")}),
    lambda margin: paired.needed_without_loss(margin=margin, alpha=0.01),
    lambda margin: exact.p_worse(n=20, wins=3, losses=1, margin=margin),
    lambda margin: exact.least_items(margin=margin, alpha=0.01),
]
TAKES_COUNT: list[Callable[[Any], object]] = [
    lambda count: PairedCounts(both=count, wins=0, losses=0, neither=0),
    lambda count: paired.p_better(wins=3, losses=count),
    lambda count: paired.score_z(n=count, wins=0, losses=0, difference=-0.05),
    lambda count: paired.difference_bounds(n=20, wins=count, losses=0, alpha=0.01),
    lambda count: exact.p_worse(n=count, wins=0, losses=0, margin=0.05),
    lambda count: entities.effective(n=20, wins=count, losses=0, design_effect=1.0),
    lambda count: entities.Agreement(items=count, entities=1, icc=0.1, high=0.2),
    lambda count: Attempts(challengers=count),
    lambda count: GatePolicy(few_shot=count),
    lambda count: choose(examples=(), count=count),
    lambda count: chance_to_pass(policy=BETTER, n=count, discordance=Discordance(losses=0.0, wins=0.1)),
]


def refused(call: Callable[[Any], object], value: object) -> None:
    with pytest.raises(InvalidInput) as error:
        call(value)
    assert error.value.where
    assert error.value.remedy
    assert str(error.value)


@pytest.mark.parametrize("value", NO_SHARE, ids=lambda value: repr(value)[:8])
@pytest.mark.parametrize("call", TAKES_ALPHA)
def test_what_is_no_alpha_is_refused(call: Callable[[Any], object], value: object) -> None:
    refused(call, value)


@pytest.mark.parametrize("value", [*NO_SHARE, 1e-9], ids=lambda value: repr(value)[:8])
@pytest.mark.parametrize("call", TAKES_MARGIN)
def test_what_is_no_margin_is_refused(call: Callable[[Any], object], value: object) -> None:
    refused(call, value)


@pytest.mark.parametrize("value", NO_COUNT, ids=lambda value: "digits" if isinstance(value, int) and value < -9 else repr(value)[:8])
@pytest.mark.parametrize("call", TAKES_COUNT)
def test_what_is_no_count_is_refused(call: Callable[[Any], object], value: object) -> None:
    refused(call, value)


@pytest.mark.parametrize("high", [-0.1, 1.1, 7.0, math.nan, math.inf])
def test_a_likeness_is_a_share(high: float) -> None:
    refused(lambda value: entities.Agreement(items=3, entities=2, icc=0.1, high=value), high)
    refused(lambda value: entities.design_effect(entities=["a"], likeness=value), high)
    refused(lambda value: Assumed(likeness=value), high)


@pytest.mark.parametrize(("losses", "wins"), [(0.0, 1.1), (-0.1, 0.5), (math.nan, 0.1), (0.6, 0.6), (math.inf, 0.0)])
def test_no_challenger_gains_more_than_everything(losses: float, wins: float) -> None:
    with pytest.raises(InvalidInput, match="share"):
        Discordance(losses=losses, wins=wins)


@pytest.mark.parametrize("answer", [2, math.nan, None, "yes", []])
def test_an_answer_is_right_or_wrong(answer: Any) -> None:
    for arms in ({"baselines": {"c": [True, answer]}, "challenger": [True, True]}, {"baselines": {"c": [True]}, "challenger": [answer]}):
        with pytest.raises(InvalidInput, match=r"right or wrong|different items"):
            judge(policy=BETTER, **arms)
    with pytest.raises(InvalidInput, match="right or wrong"):
        Outcome(item="1", entity="a", right=answer)


def test_every_baseline_was_asked_the_same_items_also_the_weaker_one() -> None:
    with pytest.raises(InvalidInput, match="different items"):
        judge(policy=BETTER, baselines={"champion": [True, True], "base": [False]}, challenger=[True, True])


@pytest.mark.parametrize("bad", ["\ud800", "a\udfff", None, 3])
def test_half_a_letter_is_no_name(bad: Any) -> None:
    with pytest.raises(InvalidInput, match=r"item"):
        Outcome(item=bad, entity="a", right=True)
    with pytest.raises(InvalidInput, match="entity"):
        judge(policy=NOT_WORSE, baselines={"c": [True, True]}, challenger=[True, True], entities=[bad, bad])
    with pytest.raises(InvalidInput, match=r"gate\.axis"):
        AxisPolicy(name=bad, role=Role.SUPERIORITY, margin=0.05, alpha=0.01)


def test_two_entities_that_differ_by_a_nul_are_two() -> None:
    assert entities.measure(differences=[1, 0, 1, 0], entities=["a", "a\0", "b", "b"]).entities == 3


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, None, "x", 10**400])
@pytest.mark.parametrize("arm", ["served", "base", "replay"])
def test_what_is_no_log_probability_is_refused_and_a_huge_one_is_another_adapter(arm: str, value: Any) -> None:
    probe: dict[str, Any] = {"served": [[-1.0]], "base": [[-2.0]], "replay": [[-1.0]]}
    with pytest.raises(InvalidInput, match="not a number"):
        judge_applied(**{**probe, arm: [[value]]})
    assert judge_applied(**{**probe, "replay": [[-1e308]]}).verdict is Applied.DIFFERS


# -- what is only large ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "wins", "losses", "expected"),
    [
        (BETTER, BIG, BIG // 2, GateVerdict.PASS),
        (BETTER, BIG, BIG, GateVerdict.REFUSE),
        (NOT_WORSE, 0, 0, GateVerdict.PASS),
        (NOT_WORSE, 0, BIG, GateVerdict.REFUSE),
    ],
)
def test_a_million_millions_of_items_are_judged(policy: AxisPolicy, wins: int, losses: int, expected: GateVerdict) -> None:
    found = judge_counts(policy=policy, arm="c", counts=PairedCounts(both=BIG, wins=wins, losses=losses, neither=0))
    assert found.verdict is expected
    assert all(math.isfinite(value) for value in (found.p, found.low, found.high) if value is not None)


@pytest.mark.parametrize(("wins", "losses"), [(2_100, 1_899), (2_100, 1_900), (2_050, 1_949), (2_000, 1_999)])
def test_beyond_the_exact_sum_the_chance_of_wins_goes_on_as_before(wins: int, losses: int) -> None:
    exactly, beyond = paired.p_better(wins=wins, losses=losses), paired.p_better(wins=wins, losses=losses + 1)
    assert exactly < beyond < 1.3 * exactly
    assert paired.p_better(wins=wins + 4_000, losses=0) >= 0


def test_beyond_the_exact_search_a_bound_stands_above_the_chance() -> None:
    at, above = (exact.p_worse(n=n, wins=0, losses=n // 25, margin=0.05) for n in (50_000, 50_001))
    assert at <= above < 0.1
    assert [exact.p_worse(n=60_000, wins=0, losses=lost, margin=0.05) for lost in (0, 2_000, 4_000)] == sorted(
        exact.p_worse(n=60_000, wins=0, losses=lost, margin=0.05) for lost in (0, 2_000, 4_000)
    )


@pytest.mark.parametrize(("margin", "alpha"), [(1e-6, 0.01), (1e-4, 0.01), (0.05, 1.0000001e-4), (1e-4, 1.0000001e-4)])
def test_the_fewest_items_are_known_for_the_smallest_margins_and_alphas(margin: float, alpha: float) -> None:
    assert exact.least_items(margin=margin, alpha=alpha) >= math.log(alpha) / math.log1p(-margin)


def test_many_items_of_few_entities_are_bounded_and_a_worse_one_never_shows_more() -> None:
    who = [str(at // 2) for at in range(24_000)]
    chances = [
        entities.p_better_by_entity(differences=[1] * won + [-1] * lost + [0] * (24_000 - won - lost), entities=who)
        for won, lost in ((600, 0), (600, 1), (500, 100), (0, 0), (0, 600))
    ]
    assert chances == sorted(chances)
    assert chances[-1] == 1.0
    assert entities.p_better_by_entity(differences=[1] * 24_000, entities=who) < 1e-9


def test_the_chance_of_a_gate_on_very_many_items_is_certain() -> None:
    better = Discordance(losses=0.03, wins=0.13)
    assert chance_to_pass(policy=BETTER, n=10**9, discordance=better) == pytest.approx(1.0)
    assert chance_to_pass(policy=NOT_WORSE, n=10**9, discordance=Discordance(losses=0.2, wins=0.1)) == pytest.approx(0.0)
    assert chance_to_pass(policy=BETTER, n=10**9, discordance=Discordance(losses=0.0, wins=1.0)) == 1.0
