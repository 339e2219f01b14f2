"""The published canary figures come from the production decision: a change of the decision moves them, in a direction said here first."""

from dataclasses import replace

import numpy as np
import pytest

from flywheel.rollout import guards, next_action
from flywheel.rollout.guards import GuardAlphas, GuardStatus, GuardVerdict
from tests.benchmarks.bench_canary import Found, falsely_aborted_at, rolled_back_at
from tests.benchmarks.canary_simulation import GUARDS, Quality

WORSE = Found(what="format 98 -> 93 %", control=Quality(format=0.02), canary=Quality(format=0.07), within=400, goal=None, share=0.25)


def power() -> float:
    rng = np.random.default_rng(1)
    return float(np.mean([rolled_back_at(WORSE, rng) <= WORSE.within for _ in range(20)]))


def false_aborts(policy: guards.GuardPolicy = GUARDS) -> float:
    rng = np.random.default_rng(2)
    world = "a daily rhythm, steps 5, 25, 50 %"
    return float(np.mean([np.isfinite(falsely_aborted_at(world, rng, canary_sessions=200, guards=policy)) for _ in range(120)]))


def test_a_larger_alpha_of_one_guard_raises_false_aborts() -> None:
    larger = replace(GUARDS, alphas=GuardAlphas(refusal=0.4), budget=0.5)
    assert false_aborts(larger) > false_aborts()


def test_an_overstated_e_value_raises_false_aborts(monkeypatch: pytest.MonkeyPatch) -> None:
    usual, e_value = false_aborts(), guards.e_value

    def overstated(**arguments: object) -> object:
        found = e_value(**arguments)  # type: ignore[arg-type]
        return replace(found, peak=100 * found.peak)

    monkeypatch.setattr(guards, "e_value", overstated)
    assert false_aborts() > usual


def test_a_breach_that_is_ignored_lowers_the_power_to_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = power()
    judge = guards.judge_guards

    def never(**arguments: object) -> tuple[GuardVerdict, ...]:
        return tuple(replace(one, status=GuardStatus.HOLDS) for one in judge(**arguments))  # type: ignore[arg-type]

    monkeypatch.setattr(next_action, "judge_guards", never)
    assert usual > 0.5
    assert power() == 0


def test_a_higher_minimum_of_sessions_lowers_the_power(monkeypatch: pytest.MonkeyPatch) -> None:
    usual, judge = power(), guards.judge_guards
    strict = replace(GUARDS, minimum_sessions=500)
    monkeypatch.setattr(next_action, "judge_guards", lambda **arguments: judge(**{**arguments, "policy": strict}))
    assert power() < usual
