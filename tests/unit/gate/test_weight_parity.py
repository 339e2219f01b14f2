"""The separations that were measured on a real server: mean differences per token to base and replay."""

import math

import pytest

from flywheel.errors import InvalidInput
from flywheel.gate.weight_parity import WeightParity, check_weight_parity


def probes(to_base: float, to_replay: float) -> WeightParity:
    """One item of ten tokens with these mean differences."""
    served = [[-1.0] * 10]
    return check_weight_parity(served=served, base=[[-1.0 - to_base] * 10], replay=[[-1.0 - to_replay] * 10]).verdict


@pytest.mark.parametrize(
    ("case", "to_base", "to_replay", "expected"),
    [
        ("a good adapter", 0.811, 0.008, WeightParity.TRAINED),
        ("lora_B x 0, replayed as trained", 0.0, 0.811, WeightParity.BASE),
        ("lora_B x 0 with its own replay", 0.0, 0.033, WeightParity.BASE),
        ("wrong key names", 0.0, 0.811, WeightParity.BASE),
        ("layer numbers shifted", 0.035, 0.807, WeightParity.BASE),
        ("B x 0.5", 0.765, 0.072, WeightParity.OTHER),
        ("B x 2 under the name of the good one", 0.985, 0.257, WeightParity.OTHER),
        ("B x 3 under the name of the good one", 1.242, 0.627, WeightParity.OTHER),
        ("B rows permuted", 0.336, 0.490, WeightParity.OTHER),
        ("one sigma of noise", 0.808, 0.011, WeightParity.TRAINED),
    ],
)
def test_measured_weights_are_told_apart(case: str, to_base: float, to_replay: float, expected: WeightParity) -> None:
    assert probes(to_base, to_replay) is expected, case


def test_probes_of_different_lengths_are_an_error_and_no_verdict() -> None:
    with pytest.raises(InvalidInput, match="lengths"):
        check_weight_parity(served=[[-1.0]], base=[[-1.0, -2.0]], replay=[[-1.0]])


def test_no_probe_is_an_error_and_no_verdict() -> None:
    with pytest.raises(InvalidInput, match="no probe"):
        check_weight_parity(served=[], base=[], replay=[])


def test_a_number_that_is_none_is_an_error_and_no_verdict() -> None:
    with pytest.raises(InvalidInput, match="NaN or infinite"):
        check_weight_parity(served=[[math.nan]], base=[[-1.0]], replay=[[-1.0]])
