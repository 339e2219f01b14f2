"""Very many items, very small margins, the edges of a gate's settings."""

import math
from collections.abc import Callable
from typing import Any

import pytest

from flywheel.errors import InvalidInput
from flywheel.gate import entities
from flywheel.gate import exact_not_worse as exact
from flywheel.gate import paired_tests as paired
from flywheel.gate.axes import AxisPolicy, GateVerdict, PairedCounts, Role
from flywheel.gate.axis_order import GatePolicy
from flywheel.gate.axis_verdict import judge_counts
from flywheel.gate.power import Discordance, chance_to_pass
from flywheel.gate.weight_parity import WeightParity, check_weight_parity

NOT_WORSE = AxisPolicy(name="general", role=Role.NON_INFERIORITY, margin=0.05, alpha=0.01)
BETTER = AxisPolicy(name="golden", role=Role.SUPERIORITY, margin=0.05, alpha=0.025)
BIG = 10**12

SETTINGS: list[Callable[[Any], object]] = [
    lambda alpha: GatePolicy(superiority_alpha=alpha),
    lambda alpha: GatePolicy(non_inferiority_alpha=alpha),
    lambda margin: GatePolicy(margins={"general": (margin, "small")}),
]


@pytest.mark.parametrize("value", [0, 0.0, -0.1, 1, 1.5, math.nan, math.inf, 1e-320])
@pytest.mark.parametrize("make", SETTINGS)
def test_an_alpha_or_a_margin_outside_its_range_is_refused(make: Callable[[Any], object], value: float) -> None:
    if value == 1e-320 and make is SETTINGS[0]:
        return  # a superiority alpha may be tiny: it is divided over attempts
    with pytest.raises(InvalidInput) as error:
        make(value)
    assert error.value.where.startswith("gate.")
    assert error.value.remedy


@pytest.mark.parametrize("wrong", [{"few_shot": -1}, {"recurrence_at_most": -1}, {"held_out_at_most": -1}, {"planned_challengers": 0}])
def test_a_count_outside_its_range_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(InvalidInput, match="or more"):
        GatePolicy(**wrong)  # type: ignore[arg-type]


def test_an_alpha_below_what_the_exact_test_can_reach_is_refused() -> None:
    with pytest.raises(InvalidInput, match="non_inferiority_alpha"):
        GatePolicy(non_inferiority_alpha=1e-5)


def test_two_entities_that_differ_by_a_nul_are_two() -> None:
    assert entities.measure(differences=[1, 0, 1, 0], entities=["a", "a\0", "b", "b"]).entities == 3


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("arm", ["served", "base", "replay"])
def test_a_log_probability_that_is_not_finite_is_refused(arm: str, value: Any) -> None:
    probe: dict[str, Any] = {"served": [[-1.0]], "base": [[-2.0]], "replay": [[-1.0]]}
    with pytest.raises(InvalidInput, match="NaN or infinite"):
        check_weight_parity(**{**probe, arm: [[value]]})
    assert check_weight_parity(**{**probe, "replay": [[-1e308]]}).verdict is WeightParity.OTHER


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
    assert all(math.isfinite(value) for value in (found.test.p, found.test.low, found.test.high) if value is not None)


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


def test_the_bound_for_many_items_never_improves_with_a_worse_answer() -> None:
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
