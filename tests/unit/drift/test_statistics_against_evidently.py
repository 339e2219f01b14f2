"""Our statistics on counts against Evidently's on rows: the same samples, every value in a bin of its own."""

from typing import Any

import numpy as np
import pytest
from statsmodels.stats.contingency_tables import Table

from flywheel.drift.tests import chi_square, jensen_shannon, kolmogorov_smirnov, wasserstein

VALUES = 60
SIZES = [(103, 5_003), (251, 5_003), (503, 9_001), (997, 9_973)]  # a reference of ten times the window, as it should be
THIN = [(100, 2_000), (500, 500), (500, 5_000), (600, 900)]  # less than that, or sizes with a common divisor: few distances are possible


@pytest.fixture(scope="module")
def evidently() -> Any:
    from evidently.legacy.calculations import stattests

    return stattests


def samples(n: int, m: int, *, moved: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """[20, n] and [20, m] whole numbers; the first further up by ``moved``."""
    rng = np.random.default_rng((seed, n, m))
    now, before = rng.normal(30 + moved, 8, size=(20, n)), rng.normal(30, 8, size=(20, m))
    return now.round().clip(0, VALUES - 1).astype(int), before.round().clip(0, VALUES - 1).astype(int)


def counted(rows: np.ndarray, values: int = VALUES) -> np.ndarray:
    return np.stack([np.bincount(row, minlength=values) for row in rows])


def theirs(test: Any, now: np.ndarray, before: np.ndarray, kind: str) -> np.ndarray:
    import pandas as pd
    from evidently.legacy.core import ColumnType

    return np.array(
        [
            test(reference_data=pd.Series(old), current_data=pd.Series(new), feature_type=ColumnType(kind), threshold=0.05).drift_score
            for new, old in zip(now, before, strict=True)
        ]
    )


@pytest.mark.evidently
@pytest.mark.parametrize("moved", [0.0, 1.0])
@pytest.mark.parametrize(("n", "m"), SIZES)
def test_binned_ks_is_evidentlys_ks_within_0_0011(evidently: Any, n: int, m: int, moved: float) -> None:
    now, before = samples(n, m, moved=moved, seed=1)
    p, _ = kolmogorov_smirnov(counted(now), counted(before))
    assert p == pytest.approx(theirs(evidently.ks_stat_test, now, before, "num"), abs=0.0011)


@pytest.mark.evidently
@pytest.mark.parametrize(("n", "m"), THIN)
def test_binned_ks_against_a_thin_reference_is_evidentlys_exact_ks_within_a_fiftieth(evidently: Any, n: int, m: int) -> None:
    now, before = samples(n, m, moved=1.0, seed=6)
    p, _ = kolmogorov_smirnov(counted(now), counted(before))
    assert p == pytest.approx(theirs(evidently.ks_stat_test, now, before, "num"), abs=0.02)


@pytest.mark.evidently
@pytest.mark.parametrize("moved", [0.0, 1.0])
@pytest.mark.parametrize(("n", "m"), SIZES)
def test_chi_square_against_a_huge_reference_is_evidentlys(evidently: Any, n: int, m: int, moved: float) -> None:
    """Evidently takes the reference's shares for exact, and pools nothing."""
    now, before = ((rows // 12).clip(1, 3) - 1 for rows in samples(n, m, moved=moved, seed=2))
    p, _ = chi_square(counted(now, 3), counted(before, 3) * 10**9)
    assert p == pytest.approx(theirs(evidently.chi_stat_test, now, before, "cat"), abs=1e-6)


@pytest.mark.evidently
def test_wasserstein_in_the_reference_s_deviations_is_evidentlys(evidently: Any) -> None:
    now, before = samples(400, 2_000, moved=2.0, seed=3)
    ours = wasserstein(counted(now), counted(before), widths=np.ones(VALUES - 1)) / before.std(axis=1)
    assert ours == pytest.approx(theirs(evidently.wasserstein_stat_test, now, before, "num"), rel=1e-9)


@pytest.mark.evidently
def test_jensen_shannon_is_evidentlys_but_for_the_unit(evidently: Any) -> None:
    now, before = (rows // 12 for rows in samples(400, 2_000, moved=2.0, seed=4))
    ours = jensen_shannon(counted(now, 5), counted(before, 5)) * np.sqrt(np.log(2))  # Evidently's is in nats
    assert ours == pytest.approx(theirs(evidently.jensenshannon_stat_test, now, before, "cat"), abs=2e-3)


@pytest.mark.parametrize("moved", [0.0, 2.0])
def test_chi_square_of_two_samples_is_statsmodels(moved: float) -> None:
    now, before = (counted(rows // 12, 5) for rows in samples(500, 2_000, moved=moved, seed=5))
    now, before = now + 20, before + 20  # nothing rare: nothing is pooled
    p, _ = chi_square(now, before)
    ours = [Table(np.stack(pair), shift_zeros=False).test_nominal_association().pvalue for pair in zip(now, before, strict=True)]
    assert p == pytest.approx(ours, abs=1e-12)
