"""How the e-value against a canary grows over strata of sessions."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.stats import hypergeom, nchypergeom_fisher

from flywheel.rollout.e_value import (
    LARGEST_STRATUM,
    MOST_KINDS,
    ODDS,
    SMALLEST_STRATUM,
    WEIGHTS,
    EValue,
    e_value,
    log_e_values,
    stratum_ends,
)

SESSIONS = st.integers(0, 120).flatmap(lambda n: st.tuples(arrays.arrays(bool, n), arrays.arrays(bool, n)))


def of_one_stratum(*, canary: int, sessions: int, canary_bad: int, bad: int) -> float:
    (log,) = log_e_values(canary=np.array([canary]), sessions=np.array([sessions]), canary_bad=np.array([canary_bad]), bad=np.array([bad]))
    return math.exp(log)


@pytest.mark.parametrize(
    ("canary", "sessions", "canary_bad", "bad"), [(4, 10, 2, 3), (1, 20, 1, 1), (30, 100, 12, 17), (5, 10, 1, 6), (3, 3, 2, 2)]
)
def test_one_stratum_gives_fishers_noncentral_likelihood_ratio(canary: int, sessions: int, canary_bad: int, bad: int) -> None:
    alike = hypergeom(sessions, bad, canary).pmf(canary_bad)
    ratios = [nchypergeom_fisher(sessions, bad, canary, odds).pmf(canary_bad) / alike for odds in ODDS]
    expected = sum(weight * ratio for weight, ratio in zip(WEIGHTS, ratios, strict=True))
    assert of_one_stratum(canary=canary, sessions=sessions, canary_bad=canary_bad, bad=bad) == pytest.approx(expected)


@pytest.mark.parametrize(("p_canary", "p_control"), [(0.3, 0.3), (0.05, 0.05), (0.9, 0.9), (0.2, 0.4), (0.0, 0.0), (1.0, 1.0)])
def test_the_mean_factor_is_one_when_alike_and_less_when_better(p_canary: float, p_control: float) -> None:
    canary, control, mean = 3, 4, 0.0
    for outcome in itertools.product((0, 1), repeat=canary + control):
        bad, other = sum(outcome[:canary]), sum(outcome[canary:])
        probability = p_canary**bad * (1 - p_canary) ** (canary - bad) * p_control**other * (1 - p_control) ** (control - other)
        mean += probability * of_one_stratum(canary=canary, sessions=7, canary_bad=bad, bad=bad + other)
    if p_canary == p_control:
        assert mean == pytest.approx(1.0)
    else:
        assert mean < 1.0


def test_the_weights_add_up_to_one() -> None:
    assert sum(WEIGHTS) == pytest.approx(1.0)
    assert min(ODDS) > 1


def test_strata_grow_and_depend_only_on_the_number_of_sessions() -> None:
    ends = stratum_ends(5_000)
    sizes = np.diff(ends, prepend=0)
    assert sizes[0] == SMALLEST_STRATUM
    assert sizes[-1] == LARGEST_STRATUM
    assert np.all(np.diff(sizes) >= 0)
    for shorter in (0, 9, 10, 11, 777):
        assert stratum_ends(shorter).tolist() == [end for end in ends if end <= shorter]


def test_a_stratum_not_full_waits_and_one_of_one_arm_says_nothing() -> None:
    nine = np.ones(9, dtype=bool)
    assert e_value(canary=nine, bad=nine) == EValue(value=1.0, peak=1.0, peak_after=0, strata=0, waiting=9)
    alone = np.ones(500, dtype=bool)
    found = e_value(canary=alone, bad=alone)
    assert found.peak == found.value == pytest.approx(1.0)


def test_kinds_of_strata_are_listed_unless_too_many() -> None:
    canary = np.arange(20) % 2 == 0
    bad = np.arange(20) % 10 < 3  # in each set two of the canary and one beside it
    assert e_value(canary=canary, bad=bad).kinds == ((5, 5, 3, 2, 2, 0),)
    assert e_value(canary=canary, bad=bad & ~canary).kinds == ((5, 5, 1, 0, 0, 2),)
    draw = np.random.default_rng(5)
    many = draw.random((2, 60_000)) < 0.5
    assert e_value(canary=many[0], bad=many[1]).kinds is None
    assert MOST_KINDS < 600


def test_a_broken_canary_beside_a_healthy_control_is_soon_clear() -> None:
    canary = np.arange(60) % 2 == 0
    found = e_value(canary=canary, bad=canary)
    assert found.peak > 1 / 0.0025
    assert e_value(canary=canary, bad=~canary).peak == 1.0


@given(SESSIONS)
def test_the_e_value_is_finite_and_at_most_its_peak(sessions: tuple[np.ndarray, np.ndarray]) -> None:
    canary, bad = sessions
    found = e_value(canary=canary, bad=bad)
    assert math.isfinite(found.value)
    assert 0 < found.value <= found.peak * (1 + 1e-12)
    assert found.peak >= 1.0
    assert found.waiting + (stratum_ends(canary.size)[-1] if found.strata else 0) == canary.size


@given(SESSIONS, st.integers(0, 119))
def test_a_bad_session_counts_against_its_own_arm_only(sessions: tuple[np.ndarray, np.ndarray], at: int) -> None:
    canary, bad = sessions
    if at >= canary.size:
        return
    better, worse = bad.copy(), bad.copy()
    better[at], worse[at] = False, True
    less, more = e_value(canary=canary, bad=better).peak, e_value(canary=canary, bad=worse).peak
    if canary[at]:
        assert more >= less * (1 - 1e-9)
    else:
        assert more <= less * (1 + 1e-9)


@given(SESSIONS, st.integers(0, 120))
def test_the_peak_never_falls_when_more_sessions_come(sessions: tuple[np.ndarray, np.ndarray], early: int) -> None:
    canary, bad = sessions
    assert e_value(canary=canary[:early], bad=bad[:early]).peak <= e_value(canary=canary, bad=bad).peak


def test_thousands_of_broken_sessions_give_a_finite_e_value() -> None:
    canary = np.arange(20_000) % 2 == 0
    assert math.isfinite(e_value(canary=canary, bad=canary).value)
