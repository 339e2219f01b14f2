"""The predicted power of a gate, compared with listing every outcome and with gates that were judged."""

import math

import numpy as np
import pytest

from flywheel.gate.axes import AxisPolicy, GateVerdict, PairedCounts, Role
from flywheel.gate.axis_order import GatePolicy, axes_in_order
from flywheel.gate.axis_verdict import judge_counts
from flywheel.gate.power import Discordance, chance_to_pass, predict

BETTER = AxisPolicy(name="golden", role=Role.SUPERIORITY, margin=0.05, alpha=0.025)
NOT_WORSE = AxisPolicy(name="general", role=Role.NON_INFERIORITY, margin=0.25, alpha=0.01, reason="40 items")


def one_each(items: int) -> list[str]:
    return [str(at) for at in range(items)]


@pytest.mark.parametrize("policy", [BETTER, NOT_WORSE])
@pytest.mark.parametrize("rates", [(0.03, 0.13), (0.1, 0.1), (0.0, 0.2), (0.3, 0.05)])
def test_the_chance_is_the_sum_over_all_outcomes_that_pass(policy: AxisPolicy, rates: tuple[float, float]) -> None:
    n, (lost, won), total = 40, rates, 0.0
    for wins in range(n + 1):
        for losses in range(n + 1 - wins):
            counts = PairedCounts(both=n - wins - losses, wins=wins, losses=losses, neither=0)
            if judge_counts(policy=policy, arm="champion", counts=counts).verdict is GateVerdict.PASS:
                ways = math.comb(n, wins) * math.comb(n - wins, losses)
                total += ways * won**wins * lost**losses * (1 - won - lost) ** (n - wins - losses)
    assert chance_to_pass(policy=policy, n=n, discordance=Discordance(losses=lost, wins=won)) == pytest.approx(total, abs=1e-9)


def test_the_likely_number_of_items_gives_a_power_of_four_in_five() -> None:
    axes = axes_in_order(policy=GatePolicy(), protected=["a"])
    small = predict(axes=axes, entities={"golden": one_each(300), "golden[a]": one_each(102)})
    assert {axis.name: (axis.smallest_n, axis.chance > 0) for axis in small.axes}["golden[a]"] == (103, True)  # wins help
    equal = Discordance(losses=0.0, wins=0.0)
    slice_axis = next(axis for axis in axes if axis.name == "golden[a]")
    assert [chance_to_pass(policy=slice_axis, n=n, discordance=equal) for n in (102, 103)] == [0.0, pytest.approx(1.0)]
    for axis in predict(axes=axes, entities={"golden": one_each(300), "general": one_each(300)}).axes:
        assert axis.likely_n is not None
        policy = next(each for each in axes if each.name == axis.name)
        assumed = Discordance(losses=0.03, wins=0.13 if axis.name == "golden" else 0.03)
        assert chance_to_pass(policy=policy, n=axis.likely_n, discordance=assumed) >= 0.8


def test_the_gates_chance_is_the_product_and_the_weakest_axis_is_named() -> None:
    axes = axes_in_order(policy=GatePolicy(), protected=["a", "b", "c"])
    items = {"golden": 300, "golden[a]": 150, "golden[b]": 150, "golden[c]": 150, "format": 300, "general": 300, "safety": 300}
    found = predict(axes=axes, entities={name: one_each(count) for name, count in items.items()})
    assert found.chance == pytest.approx(math.prod(axis.chance for axis in found.axes))
    assert 0.74 < found.chance < 0.80
    assert "weakest axis is general" in found.reason


def test_repeated_entities_lower_the_chance_and_raise_the_smallest_number() -> None:
    axes = axes_in_order(policy=GatePolicy(), protected=["a"])
    unique = predict(axes=axes, entities={"golden[a]": one_each(200)}).axes[0]
    five_each = predict(axes=axes, entities={"golden[a]": [str(at // 5) for at in range(200)]}).axes[0]
    assert five_each.independent_n == math.floor(200 / 2.2)
    assert five_each.chance < unique.chance
    assert five_each.smallest_n == math.ceil(103 * 2.2)
    assert unique.smallest_n == 103
    golden = predict(axes=axes, entities={"golden": [str(at // 5) for at in range(200)]}).axes[0]
    assert (golden.smallest_n, golden.least_wins) == (None, 6)  # six entities with a win each
    assert golden.reason.endswith("it needs 6 wins at least")


def test_no_items_have_no_chance_and_reported_axes_do_not_count() -> None:
    axes = axes_in_order(policy=GatePolicy(), protected=())
    assert predict(axes=axes, entities={}).chance == 0.0
    assert predict(axes=axes, entities={"held_out": one_each(50)}).axes == ()


def test_no_items_have_no_chance() -> None:
    assert chance_to_pass(policy=BETTER, n=0, discordance=Discordance(losses=0.1, wins=0.2)) == 0.0


def test_the_predicted_power_is_the_share_of_gates_that_pass() -> None:
    rng = np.random.default_rng(11)
    policy = AxisPolicy(name="slice", role=Role.NON_INFERIORITY, margin=0.05, alpha=0.01)
    predicted = chance_to_pass(policy=policy, n=100, discordance=Discordance(losses=0.03, wins=0.13))
    passes = 0
    for losses, wins, same in rng.multinomial(100, [0.03, 0.13, 0.84], size=1_000).tolist():
        counts = PairedCounts(both=same, wins=wins, losses=losses, neither=0)
        passes += judge_counts(policy=policy, arm="champion", counts=counts).verdict is GateVerdict.PASS
    assert passes / 1_000 == pytest.approx(predicted, abs=4 * math.sqrt(predicted * (1 - predicted) / 1_000))
