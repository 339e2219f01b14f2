"""The published gate figures come from the production decision: a change of the decision moves them, in a direction said here first."""

from dataclasses import replace

import numpy as np
import pytest

from flywheel.gate import axis_order, axis_verdict, decide, entities
from flywheel.gate.axes import AxisVerdict, GateVerdict
from tests.benchmarks import gate_simulation
from tests.benchmarks.gate_simulation import golden, passed, passed_by_entity

WORSE = golden(300, 1, rest=(0.03, 0.13), first=(0.10, 0.05))


@pytest.fixture(autouse=True)
def _no_verdict_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate_simulation, "verdict_of", gate_simulation.verdict_of.__wrapped__)


def wrong_passes() -> float:
    return float(passed(WORSE, gates=200, rng=np.random.default_rng(1)).mean())


def power() -> float:
    return float(passed(golden(300, 1, rest=(0.03, 0.13)), gates=200, rng=np.random.default_rng(2)).mean())


def test_a_doubled_margin_raises_wrong_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = wrong_passes()
    monkeypatch.setattr(axis_order, "STANDARD_MARGIN", 2 * axis_order.STANDARD_MARGIN)
    assert wrong_passes() > usual


def test_cannot_tell_taken_as_a_pass_raises_wrong_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    usual, decided = wrong_passes(), decide._decided

    def lenient(axes: list[AxisVerdict]) -> tuple[GateVerdict, str]:
        sure = [replace(one, verdict=GateVerdict.PASS) if one.verdict is GateVerdict.CANNOT_TELL else one for one in axes]
        return decided(sure)

    monkeypatch.setattr(decide, "_decided", lenient)
    assert wrong_passes() > usual


def test_a_smaller_superiority_alpha_lowers_the_power(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = power()
    strict = axis_order.GatePolicy(superiority_alpha=0.0005)
    monkeypatch.setattr(gate_simulation, "GatePolicy", lambda: strict)
    assert power() < usual


def test_an_icc_taken_as_zero_raises_passes_by_entity(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = golden(1_000, 3, rest=(0.03, 0.13))

    def share() -> float:
        return float(passed_by_entity(parts, answers=5, icc=0.3, gates=30, rng=np.random.default_rng(3)).adjusted.mean())

    usual = share()
    independent = entities.Agreement(items=1_000, entities=200, icc=0.0, high=0.0)
    monkeypatch.setattr(gate_simulation, "measure", lambda **_: independent)
    monkeypatch.setattr(axis_verdict, "measure", lambda **_: independent)
    assert share() > usual
