"""How evidence against a canary adds up."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.stats import hypergeom, nchypergeom_fisher

from flywheel.errors import InvalidInput
from flywheel.rollout.matched_sets import LARGEST_SET, MOST_KINDS, ODDS, SMALLEST_SET, WEIGHTS, Evidence, log_evidence, set_ends, weigh

SESSIONS = st.integers(0, 120).flatmap(lambda n: st.tuples(arrays.arrays(bool, n), arrays.arrays(bool, n)))


def of_one_set(*, canary: int, sessions: int, canary_bad: int, bad: int) -> float:
    (log,) = log_evidence(canary=np.array([canary]), sessions=np.array([sessions]), canary_bad=np.array([canary_bad]), bad=np.array([bad]))
    return math.exp(log)


@pytest.mark.parametrize(
    ("canary", "sessions", "canary_bad", "bad"), [(4, 10, 2, 3), (1, 20, 1, 1), (30, 100, 12, 17), (5, 10, 1, 6), (3, 3, 2, 2)]
)
def test_the_evidence_of_one_set_is_the_likelihood_ratio_of_fishers_noncentral_hypergeometric_distribution(
    canary: int, sessions: int, canary_bad: int, bad: int
) -> None:
    alike = hypergeom(sessions, bad, canary).pmf(canary_bad)
    ratios = [nchypergeom_fisher(sessions, bad, canary, odds).pmf(canary_bad) / alike for odds in ODDS]
    expected = sum(weight * ratio for weight, ratio in zip(WEIGHTS, ratios, strict=True))
    assert of_one_set(canary=canary, sessions=sessions, canary_bad=canary_bad, bad=bad) == pytest.approx(expected)


@pytest.mark.parametrize(("p_canary", "p_control"), [(0.3, 0.3), (0.05, 0.05), (0.9, 0.9), (0.2, 0.4), (0.0, 0.0), (1.0, 1.0)])
def test_over_all_outcomes_of_a_set_its_mean_is_one_when_alike_and_less_when_the_canary_is_better(
    p_canary: float, p_control: float
) -> None:
    canary, control, mean = 3, 4, 0.0
    for outcome in itertools.product((0, 1), repeat=canary + control):
        bad, other = sum(outcome[:canary]), sum(outcome[canary:])
        probability = p_canary**bad * (1 - p_canary) ** (canary - bad) * p_control**other * (1 - p_control) ** (control - other)
        mean += probability * of_one_set(canary=canary, sessions=7, canary_bad=bad, bad=bad + other)
    if p_canary == p_control:
        assert mean == pytest.approx(1.0)
    else:
        assert mean < 1.0


def test_the_weights_are_a_bet_of_one() -> None:
    assert sum(WEIGHTS) == pytest.approx(1.0)
    assert min(ODDS) > 1


def test_sets_grow_and_where_they_end_depends_on_nothing_but_their_number() -> None:
    ends = set_ends(5_000)
    sizes = np.diff(ends, prepend=0)
    assert sizes[0] == SMALLEST_SET
    assert sizes[-1] == LARGEST_SET
    assert np.all(np.diff(sizes) >= 0)
    for shorter in (0, 9, 10, 11, 777):
        assert set_ends(shorter).tolist() == [end for end in ends if end <= shorter]


def test_a_set_that_is_not_full_waits_and_a_set_of_one_arm_says_nothing() -> None:
    nine = np.ones(9, dtype=bool)
    assert weigh(canary=nine, bad=nine) == Evidence(value=1.0, peak=1.0, peak_after=0, sets=0, waiting=9)
    alone = np.ones(500, dtype=bool)
    weighed = weigh(canary=alone, bad=alone)
    assert weighed.peak == weighed.value == pytest.approx(1.0)


def test_kinds_of_sets_are_listed_with_their_times_and_too_many_are_not() -> None:
    canary = np.arange(20) % 2 == 0
    bad = np.arange(20) % 10 < 3  # in each set two of the canary and one beside it
    assert weigh(canary=canary, bad=bad).kinds == ((5, 5, 3, 2, 2, 0),)
    assert weigh(canary=canary, bad=bad & ~canary).kinds == ((5, 5, 1, 0, 0, 2),)
    draw = np.random.default_rng(5)
    many = draw.random((2, 60_000)) < 0.5
    assert weigh(canary=many[0], bad=many[1]).kinds is None
    assert MOST_KINDS < 600


def test_a_canary_that_fails_always_beside_a_control_that_never_does_is_soon_clear() -> None:
    canary = np.arange(60) % 2 == 0
    weighed = weigh(canary=canary, bad=canary)
    assert weighed.peak > 1 / 0.0025
    assert weigh(canary=canary, bad=~canary).peak == 1.0


@given(SESSIONS)
def test_the_evidence_is_a_number_whatever_comes(sessions: tuple[np.ndarray, np.ndarray]) -> None:
    canary, bad = sessions
    weighed = weigh(canary=canary, bad=bad)
    assert math.isfinite(weighed.value)
    assert 0 < weighed.value <= weighed.peak * (1 + 1e-12)
    assert weighed.peak >= 1.0
    assert weighed.waiting + (set_ends(canary.size)[-1] if weighed.sets else 0) == canary.size


@given(SESSIONS, st.integers(0, 119))
def test_one_more_bad_session_of_the_canary_never_weakens_the_evidence_and_one_beside_it_never_strengthens_it(
    sessions: tuple[np.ndarray, np.ndarray], at: int
) -> None:
    canary, bad = sessions
    if at >= canary.size:
        return
    better, worse = bad.copy(), bad.copy()
    better[at], worse[at] = False, True
    less, more = weigh(canary=canary, bad=better).peak, weigh(canary=canary, bad=worse).peak
    if canary[at]:
        assert more >= less * (1 - 1e-9)
    else:
        assert more <= less * (1 + 1e-9)


@given(SESSIONS, st.integers(0, 120))
def test_the_peak_never_falls_when_more_sessions_come(sessions: tuple[np.ndarray, np.ndarray], early: int) -> None:
    canary, bad = sessions
    assert weigh(canary=canary[:early], bad=bad[:early]).peak <= weigh(canary=canary, bad=bad).peak


def test_thousands_of_broken_sessions_stay_a_finite_number() -> None:
    canary = np.arange(20_000) % 2 == 0
    assert math.isfinite(weigh(canary=canary, bad=canary).value)


@pytest.mark.parametrize(
    "counts",
    [
        {"canary": 2, "sessions": 10, "canary_bad": 3, "bad": 3},
        {"canary": 2, "sessions": 10, "canary_bad": 0, "bad": 9},
        {"canary": 2, "sessions": 10, "canary_bad": -1, "bad": 0},
        {"canary": 2, "sessions": 10, "canary_bad": 2, "bad": 1},
    ],
)
def test_counts_that_cannot_be_are_an_error(counts: dict[str, int]) -> None:
    with pytest.raises(InvalidInput, match="more bad sessions than sessions"):
        of_one_set(**counts)


def test_arms_and_outcomes_of_different_length_are_an_error() -> None:
    with pytest.raises(InvalidInput):
        weigh(canary=np.ones(3, dtype=bool), bad=np.ones(4, dtype=bool))
