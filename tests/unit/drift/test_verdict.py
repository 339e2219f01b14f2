"""Does this drift? Every status is reached, and nothing breaks on poor data."""

import json
from dataclasses import replace
from datetime import timedelta
from math import isfinite

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flywheel.drift.reference import Maturity
from flywheel.drift.verdict import DriftPolicy, DriftStatus, DriftVerdict, judge
from flywheel.traffic.column import Family
from flywheel.traffic.features import COLUMNS
from flywheel.windows.pane import WindowCounts
from tests.watching import FEW, LENGTH, NOON, REFUSAL, ROUTER, reference_of, some_rows, window_counts

REFERENCE = reference_of(window_counts(some_rows(4_000, seed=2), start=NOON - timedelta(hours=30)))


def by_place(verdicts: tuple[DriftVerdict, ...]) -> dict[tuple[str, str], DriftVerdict]:
    return {(verdict.slice, verdict.column): verdict for verdict in verdicts}


def judged(window: WindowCounts, **changes: object) -> dict[tuple[str, str], DriftVerdict]:
    arguments: dict[str, object] = {
        "window": window,
        "reference": REFERENCE,
        "columns": FEW,
        "policy": DriftPolicy(),
        "now": NOON + timedelta(hours=1),
    }
    return by_place(judge(**(arguments | changes)))  # type: ignore[arg-type]


def test_the_same_traffic_is_ok() -> None:
    found = judged(window_counts(some_rows(800, seed=5)))
    assert {verdict.status for verdict in found.values()} == {DriftStatus.OK}
    assert all(verdict.score is not None and verdict.reason for verdict in found.values())


def test_longer_prompts_drift_and_the_rest_does_not() -> None:
    found = judged(window_counts(some_rows(800, seed=5, longer=60)))
    assert found["all", "prompt_chars"].status is DriftStatus.DRIFTING
    assert found["tenant=globex", "prompt_chars"].status is DriftStatus.DRIFTING
    assert found["all", "prompt_shape"].status is DriftStatus.OK
    assert found["all", "prompt_chars"].method == "binned_ks"


def test_a_rate_drifts_to_the_worse_side_only() -> None:
    assert judged(window_counts(some_rows(800, seed=5, refused=0.25)))["all", "refusal"].status is DriftStatus.DRIFTING
    assert judged(window_counts(some_rows(800, seed=5, refused=0.0)))["all", "refusal"].status is DriftStatus.OK


def test_a_small_p_value_without_an_effect_is_ok() -> None:
    large = reference_of(window_counts(some_rows(20_000, seed=2)))
    found = judged(window_counts(some_rows(20_000, seed=5, longer=5)), reference=large)["all", "prompt_chars"]
    assert found.score is not None
    assert found.score < 1e-4
    assert found.status is DriftStatus.OK


def test_one_far_outlier_blinds_nothing() -> None:
    rows = some_rows(800, seed=5, longer=60)
    rows.append(({"prompt_chars": 1e9, "prompt_shape": "question"}, ("all",)))
    assert judged(window_counts(rows))["all", "prompt_chars"].status is DriftStatus.DRIFTING


def test_a_slice_that_takes_over_the_traffic_drifts_in_its_share() -> None:
    found = judged(window_counts(some_rows(500, seed=5, tenants={"acme": 0.2, "globex": 0.8})))["tenant=globex", "share"]
    assert found.status is DriftStatus.DRIFTING
    assert found.kind is Family.SLICE
    assert found.method == "share_mid_p"


def test_a_slice_nobody_knew_is_new() -> None:
    found = judged(window_counts(some_rows(500, seed=5, tenants={"acme": 0.6, "initech": 0.4})))
    assert found["tenant=initech", "share"].status is DriftStatus.NEW_SLICE
    assert ("tenant=initech", "prompt_chars") not in found


def test_a_slice_of_which_nothing_came_has_vanished() -> None:
    found = judged(window_counts(some_rows(500, seed=5, tenants={"acme": 1.0})))
    assert found["tenant=globex", "share"].status is DriftStatus.VANISHED_SLICE


def test_that_nothing_came_of_a_rare_slice_says_nothing() -> None:
    found = judged(window_counts(some_rows(10, seed=5, tenants={"acme": 1.0})))
    assert found["tenant=globex", "share"].status is DriftStatus.INSUFFICIENT_DATA


def test_a_protected_slice_that_nobody_ever_saw_is_stated() -> None:
    found = judged(window_counts(some_rows(500, seed=5)), policy=DriftPolicy(protected=("tenant=umbrella",)))
    assert found["tenant=umbrella", "share"].status is DriftStatus.NO_DATA


def test_few_rows_are_not_judged() -> None:
    found = judged(window_counts(some_rows(20, seed=5, longer=500)))["all", "prompt_chars"]
    assert found.status is DriftStatus.INSUFFICIENT_DATA
    assert found.score is None


def test_a_window_without_rows_has_no_data_for_every_column() -> None:
    found = judged(window_counts([]))
    assert {found["all", column.name].status for column in FEW} == {DriftStatus.NO_DATA}
    assert found["tenant=acme", "share"].status is DriftStatus.NO_DATA


def test_a_column_whose_values_all_went_away_has_no_data() -> None:
    rows = [({**row, "refusal": None}, slices) for row, slices in some_rows(300, seed=5)]
    assert judged(window_counts(rows))["all", "refusal"].status is DriftStatus.NO_DATA


def test_without_a_reference_everything_is_learning() -> None:
    found = judged(window_counts(some_rows(300, seed=5)), reference=None)
    assert {verdict.status for verdict in found.values()} == {DriftStatus.LEARNING}


def test_a_reference_that_is_still_learning_calls_nothing_drift() -> None:
    learning = replace(REFERENCE, maturity=Maturity.LEARNING)
    found = judged(window_counts(some_rows(800, seed=5, longer=200)), reference=learning)["all", "prompt_chars"]
    assert found.status is DriftStatus.LEARNING
    assert found.score is not None


def test_a_reference_on_another_grid_is_said_and_not_used() -> None:
    other = replace(LENGTH, lines=(1.0, 2.0))
    found = judged(window_counts(some_rows(300, seed=5), columns=(other, REFUSAL)), columns=(other, REFUSAL))["all", "prompt_chars"]
    assert found.status is DriftStatus.LEARNING
    assert "grid" in found.reason


@pytest.mark.parametrize("n", [0, 1, 2, 60])
@pytest.mark.parametrize("m", [0, 1, 60])
def test_constant_and_one_row_columns_are_judged_without_nan(n: int, m: int) -> None:
    row = ({"prompt_chars": 7.0, "prompt_shape": "never heard of", "refusal": 1.0, "valid_format": None}, ("all", "tenant=acme"))
    for verdict in judge(
        window=window_counts([row] * n),
        reference=reference_of(window_counts([row] * m)),
        columns=(*FEW, *COLUMNS),
        policy=DriftPolicy(minimum_rows=1),
        now=NOON,
    ):
        assert verdict.status is not DriftStatus.DRIFTING
        json.dumps(dict(verdict.evidence), allow_nan=False)
        assert verdict.score is None or isfinite(verdict.score)


@settings(deadline=None, max_examples=30)
@given(
    now=st.lists(st.lists(st.integers(0, 80), min_size=len(LENGTH.lines) + 3, max_size=len(LENGTH.lines) + 3), min_size=1, max_size=3),
    before=st.lists(st.lists(st.integers(0, 80), min_size=len(LENGTH.lines) + 3, max_size=len(LENGTH.lines) + 3), min_size=1, max_size=3),
)
def test_any_counts_give_finite_verdicts(now: list[list[int]], before: list[list[int]]) -> None:
    def counts(held: list[list[int]]) -> WindowCounts:
        names = ["all", "a=1", "a=2"][: len(held)]
        return WindowCounts(
            workload=ROUTER,
            start=NOON,
            end=NOON + timedelta(hours=1),
            counts={name: {LENGTH.name: np.asarray(bins, dtype=np.int64)} for name, bins in zip(names, held, strict=True)},
            rows={name: sum(bins) for name, bins in zip(names, held, strict=True)},
        )

    whole = counts(now)
    for verdict in judge(
        window=replace(whole, rows={**whole.rows, "all": sum(whole.rows.values())}),
        reference=reference_of(replace(counts(before), rows={**counts(before).rows, "all": sum(counts(before).rows.values())})),
        columns=(LENGTH,),
        policy=DriftPolicy(minimum_rows=1),
        now=NOON,
    ):
        assert verdict.score is None or 0.0 <= verdict.score <= 1.0
        assert verdict.effect is None or isfinite(verdict.effect)
