"""Judging a window: every status is reached, and nothing breaks on poor data."""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from math import isfinite
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import kolmogorov
from scipy.stats import chi2_contingency, norm

from flywheel.drift.evidence import verdicts
from flywheel.drift.incident import IncidentState, incident_of
from flywheel.drift.judge import judge_window, prepare_reference
from flywheel.drift.reference import Maturity, Reference, bins_digest, on_other_bins
from flywheel.drift.tests import ks_p_value
from flywheel.drift.thresholds import (
    GENERAL,
    PROTECTED,
    SHARE_COLUMN,
    CalibratedThresholds,
    Dispersion,
    DriftPolicy,
)
from flywheel.drift.verdict import DriftStatus, DriftVerdict
from flywheel.traffic.column import Column, Family, Measure
from flywheel.traffic.features import COLUMNS
from flywheel.windows.counts import CountMatrix, WindowCounts, bins_of_columns
from tests.watching import FEW, LENGTH, NOON, REFUSAL, ROUTER, SHAPE, reference_of, some_rows, window_counts

REFERENCE = reference_of(window_counts(some_rows(4_000, seed=2), start=NOON - timedelta(hours=30)))


NOTHING_CALIBRATED = CalibratedThresholds(
    z_scores={}, dispersions={}, minimum_rows={}, minimum_effects={}, alarms_a_day=0.1, days=1.0, seed=1
)


def stated(
    window: WindowCounts,
    reference: Reference | None = REFERENCE,
    *,
    columns: Sequence[Column] = FEW,
    policy: DriftPolicy | None = None,
    thresholds: CalibratedThresholds | None = None,
) -> tuple[DriftVerdict, ...]:
    """Every verdict, as the daemon reaches it."""
    columns = (*columns, SHARE_COLUMN)
    prepared = prepare_reference(replace(reference, thresholds=thresholds), columns) if reference is not None else None
    policy = policy or DriftPolicy(session_rows=1.0)
    return verdicts(judge_window(window=window, reference=prepared, columns=columns, policy=policy), now=NOON + timedelta(hours=1))


def judged(window: WindowCounts, **changes: Any) -> dict[tuple[str, str], DriftVerdict]:
    return {(verdict.slice, verdict.column): verdict for verdict in stated(window, **changes)}


def shares(window: WindowCounts, reference: Reference = REFERENCE) -> dict[str, DriftVerdict]:
    return {name: verdict for (name, column), verdict in judged(window, reference=reference, columns=()).items() if column == "share"}


def with_rows(matrix: CountMatrix, **rows: int) -> CountMatrix:
    """Slices have so many rows; keys name tenants."""
    held = matrix.rows_by_slice | {f"tenant={'(other)' if name == 'other' else name}": number for name, number in rows.items()}
    aligned = matrix.aligned(slices=tuple(held), bins=matrix.bins)
    return CountMatrix(slices=aligned.slices, bins=aligned.bins, counts=aligned.counts, rows=np.array(list(held.values())))


def only(column: Column, counts: dict[str, list[int]], *, all_rows: int) -> WindowCounts:
    """One column; the slice "all" has so many rows, the others as many as their values."""
    rows = [all_rows if name == "all" else sum(values) for name, values in counts.items()]
    matrix = CountMatrix(
        slices=tuple(counts), bins=bins_of_columns((column,)), counts=np.array(list(counts.values()), dtype=np.int64), rows=np.array(rows)
    )
    return WindowCounts(workload=ROUTER, start=NOON, end=NOON + timedelta(hours=1), matrix=matrix)


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
    assert "below the minimum effect" in found.reason


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


def test_a_slice_that_comes_now_and_then_has_not_vanished() -> None:
    window = window_counts(some_rows(500, seed=5, tenants={"acme": 1.0}))

    def status(silence: int) -> DriftStatus:
        thresholds = replace(NOTHING_CALIBRATED, silences={"tenant=globex": silence} if silence else {})
        return judged(window, thresholds=thresholds)["tenant=globex", "share"].status

    assert [status(hours) for hours in (0, 1, 30)] == [
        DriftStatus.VANISHED_SLICE,
        DriftStatus.INSUFFICIENT_DATA,
        DriftStatus.INSUFFICIENT_DATA,
    ]


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


@pytest.mark.parametrize("edges", [(1.0, 2.0), tuple(line + 5 for line in LENGTH.edges)])
def test_a_column_that_the_reference_has_on_other_bins_is_learned_anew(edges: tuple[float, ...]) -> None:
    moved = replace(LENGTH, edges=edges)
    kept = replace(REFERENCE, grids={LENGTH.name: bins_digest(LENGTH)})
    assert on_other_bins(kept, (moved, REFUSAL)) == (LENGTH.name,)
    found = judged(window_counts(some_rows(300, seed=5), columns=(moved, REFUSAL)), reference=kept, columns=(moved, REFUSAL))
    assert found["all", "prompt_chars"].status is DriftStatus.LEARNING
    assert "present bins" in found["all", "prompt_chars"].reason
    assert found["all", "refusal"].status is DriftStatus.OK


def test_a_drifting_number_shows_where_it_moved() -> None:
    evidence = judged(window_counts(some_rows(800, seed=5, longer=60)))["all", "prompt_chars"].evidence
    gap, moved = evidence["widest_gap"], evidence["largest_changes"]
    assert isinstance(gap, dict)
    assert gap["share"] < gap["reference_share"]
    assert 150 <= gap["below"] <= 210  # between the two middles
    assert isinstance(moved, list)
    assert all(set(place) == {"values", "share", "reference_share"} for place in moved)
    assert evidence["median_from"] > evidence["reference_median_from"]  # type: ignore[operator]
    assert 0 < evidence["wasserstein"] < 1  # type: ignore[operator]
    assert "nothing was calibrated" in str(evidence["threshold_source"])


def test_a_drifting_name_shows_which() -> None:
    rows = [
        ({**row, "prompt_shape": "code"}, slices) if at % 2 else (row, slices) for at, (row, slices) in enumerate(some_rows(600, seed=5))
    ]
    first = judged(window_counts(rows))["all", "prompt_shape"].evidence["largest_changes"][0]  # type: ignore[index]
    assert first["values"] == "code"
    assert first["share"] > 0.5 > first["reference_share"]


def test_a_drifting_name_shows_which_were_one_name_for_the_p_value() -> None:
    kinds = ["question"] * 60 + ["code"] * 6 + ["other"] * 4
    before = [({"prompt_shape": kind}, ("all",)) for kind in kinds]
    now = [({"prompt_shape": kind}, ("all",)) for kind in ["question"] * 8 + ["code"] * 50 + ["other"] * 2]
    found = judged(window_counts(now, columns=(SHAPE,)), reference=reference_of(window_counts(before, columns=(SHAPE,))), columns=(SHAPE,))
    verdict = found["all", "prompt_shape"]
    assert verdict.status is DriftStatus.DRIFTING
    assert verdict.evidence["pooled_categories"] == ["other"]  # 6 of both * 60 / 130 is under five; 56 * 60 / 130 is not
    assert verdict.score == pytest.approx(chi2_contingency([[8, 50, 2], [60, 6, 4]], correction=False).pvalue)


def test_the_p_value_of_a_number_is_twice_that_of_its_shape_or_the_level_gave_it() -> None:
    """As how-we-decide.md says: whoever has effect, n and n_reference knows which of the two tests gave p."""
    for longer in (0, 3, 60):
        found = judged(window_counts(some_rows(800, seed=5, longer=longer)))["all", "prompt_chars"]
        assert found.score is not None
        assert found.effect is not None
        e = found.n * found.n_reference / (found.n + found.n_reference)
        z = found.effect * e**0.5
        assert found.score <= 2 * kolmogorov(z + 1 / (6 * e**0.5) + (z - 1) / (4 * e)) * (1 + 1e-9)


def test_a_large_effect_in_few_rows_is_said_to_be_chance() -> None:
    few = judged(window_counts(some_rows(60, seed=11, refused=0.1)))["all", "refusal"]
    assert few.effect is not None
    assert few.effect >= 0.03
    assert "not significant" in few.reason


def test_a_slice_that_was_folded_away_has_not_vanished() -> None:
    window = window_counts(some_rows(500, seed=5, tenants={"acme": 1.0}))
    folded = replace(window, matrix=with_rows(window.matrix, acme=350, other=150))
    share = shares(folded)["tenant=globex"]
    assert share.status is DriftStatus.INSUFFICIENT_DATA
    assert "150 rows of slices that are not counted by name" in share.reason


def test_a_slice_that_the_reference_may_have_folded_away_is_not_new() -> None:
    before = replace(REFERENCE, counts=with_rows(REFERENCE.counts, acme=2_000, other=800))
    window = window_counts(some_rows(500, seed=5, tenants={"acme": 0.6, "globex": 0.3, "initech": 0.1}))
    assert shares(window, reference=before)["tenant=initech"].status is DriftStatus.INSUFFICIENT_DATA
    assert shares(window)["tenant=initech"].status is DriftStatus.NEW_SLICE


def test_what_may_hide_in_the_rest_is_counted_against_a_change_of_share() -> None:
    window = window_counts(some_rows(500, seed=5, tenants={"acme": 0.85, "globex": 0.15}))
    assert judged(window)["tenant=globex", "share"].status is DriftStatus.DRIFTING
    folded = replace(window, matrix=with_rows(window.matrix, other=100))
    assert shares(folded)["tenant=globex"].status is DriftStatus.OK


CALIBRATED = CalibratedThresholds(
    z_scores={(1, family, Measure.NUMBER): 4.0 for family in (GENERAL, PROTECTED)},
    dispersions={(1, LENGTH.name): Dispersion(base=4.0)},
    minimum_rows={(1, GENERAL, LENGTH.name): 100, (1, PROTECTED, LENGTH.name): 30},
    minimum_effects={(GENERAL, Measure.NUMBER): 0.06, (PROTECTED, Measure.NUMBER): 0.04},
    alarms_a_day=0.1,
    days=28.0,
    seed=1,
)


def test_calibrated_thresholds_replace_the_fixed_ones() -> None:
    window = window_counts(some_rows(800, seed=5, longer=25))
    fixed = judged(window)["all", "prompt_chars"]
    by_budget = judged(window, thresholds=CALIBRATED)["all", "prompt_chars"]
    assert by_budget.minimum_effect == 0.06
    assert by_budget.threshold == pytest.approx(2 * norm.sf(4.0))
    assert by_budget.evidence["p_if_rows_were_independent"] == fixed.score
    assert by_budget.evidence["overdispersion"] == 2.0
    assert by_budget.score == pytest.approx(2 * norm.sf(norm.isf(fixed.score / 2) / 2))
    assert "0.1 alarms a day over 28 days, windows of 1 h" in str(by_budget.evidence["threshold_source"])


def test_a_protected_slice_is_judged_by_its_own_thresholds() -> None:
    policy = DriftPolicy(protected=("tenant=globex",))
    found = judged(window_counts(some_rows(150, seed=5)), thresholds=CALIBRATED, policy=policy)
    assert found["tenant=globex", "prompt_chars"].evidence["family"] == "protected"
    assert found["tenant=globex", "prompt_chars"].minimum_effect == 0.04
    assert found["all", "prompt_chars"].evidence["family"] == "general"


def test_what_was_not_calibrated_keeps_the_fixed_thresholds() -> None:
    found = judged(window_counts(some_rows(300, seed=5)), thresholds=CALIBRATED)
    assert found["all", "refusal"].threshold == pytest.approx(1e-4)
    assert "refusal was not calibrated for windows of 1 h" in str(found["all", "refusal"].evidence["threshold_source"])
    longer = judged(window_counts(some_rows(300, seed=5), minutes=120), thresholds=CALIBRATED)["all", "prompt_chars"]
    assert "windows of 2 h" in str(longer.evidence["threshold_source"])


def test_a_slice_too_small_for_the_length_is_not_judged_at_it() -> None:
    found = judged(window_counts(some_rows(90, seed=5, longer=500)), thresholds=CALIBRATED)["all", "prompt_chars"]
    assert found.status is DriftStatus.INSUFFICIENT_DATA
    assert "under 100" in found.reason


@pytest.mark.parametrize("n", [0, 1, 2, 60])
@pytest.mark.parametrize("m", [0, 1, 60])
def test_constant_and_one_row_columns_are_judged_without_nan(n: int, m: int) -> None:
    row = ({"prompt_chars": 7.0, "prompt_shape": "never heard of", "refusal": 1.0, "valid_format": None}, ("all", "tenant=acme"))
    columns = (*FEW, *(column for column in COLUMNS if column.name not in {one.name for one in FEW}))
    reference = reference_of(window_counts([row] * m))
    for verdict in stated(window_counts([row] * n), reference, columns=columns, policy=DriftPolicy(minimum_rows=1)):
        assert verdict.status is not DriftStatus.DRIFTING
        json.dumps(dict(verdict.evidence), allow_nan=False)
        assert verdict.score is None or isfinite(verdict.score)


@settings(deadline=None, max_examples=30)
@given(
    now=st.lists(st.lists(st.integers(0, 80), min_size=len(LENGTH.edges) + 3, max_size=len(LENGTH.edges) + 3), min_size=1, max_size=3),
    before=st.lists(st.lists(st.integers(0, 80), min_size=len(LENGTH.edges) + 3, max_size=len(LENGTH.edges) + 3), min_size=1, max_size=3),
)
def test_any_counts_give_finite_verdicts(now: list[list[int]], before: list[list[int]]) -> None:
    def counts(held: list[list[int]]) -> WindowCounts:
        return only(LENGTH, dict(zip(["all", "a=1", "a=2"], held, strict=False)), all_rows=sum(map(sum, held)))

    for verdict in stated(counts(now), reference_of(counts(before)), columns=(LENGTH,), policy=DriftPolicy(minimum_rows=1)):
        assert verdict.score is None or 0.0 <= verdict.score <= 1.0
        assert verdict.effect is None or isfinite(verdict.effect)


@settings(deadline=None, max_examples=60)
@given(hits=st.integers(0, 300), n=st.integers(1, 300), before=st.integers(0, 800), m=st.integers(1, 800))
def test_a_verdict_never_improves_when_an_outcome_gets_worse(hits: int, n: int, before: int, m: int) -> None:
    """One answer more that was refused: the p-value does not rise, the effect does not fall, and what drifted still drifts."""

    def refusals(yes: int, total: int) -> WindowCounts:
        return only(REFUSAL, {"all": [total - yes, yes, 0, 0]}, all_rows=total)

    hits, before = min(hits, n), min(before, m)
    better, worse = (
        stated(refusals(yes, n), reference_of(refusals(before, m)), columns=(REFUSAL,), policy=DriftPolicy(minimum_rows=1, p_below=0.05))[0]
        for yes in (hits, min(n, hits + 1))
    )
    assert better.score is not None
    assert worse.score is not None
    assert worse.score <= better.score + 1e-12
    assert (better.effect or 0.0) <= (worse.effect or 0.0)
    assert worse.status is DriftStatus.DRIFTING or better.status is not DriftStatus.DRIFTING


@settings(deadline=None, max_examples=40)
@given(n=st.integers(0, 60), m=st.integers(0, 60), minimum=st.integers(1, 60))
def test_nothing_is_called_ok_without_data(n: int, m: int, minimum: int) -> None:
    reference = reference_of(window_counts(some_rows(m, seed=2)))
    for verdict in stated(window_counts(some_rows(n, seed=5)), reference, policy=DriftPolicy(minimum_rows=minimum)):
        if verdict.status in (DriftStatus.OK, DriftStatus.DRIFTING):
            assert verdict.n >= minimum
            assert verdict.n_reference >= minimum
        assert verdict.reason


def test_a_window_that_lies_in_its_own_reference_says_so() -> None:
    inside = judged(window_counts(some_rows(800, seed=5), start=REFERENCE.start - timedelta(minutes=30)))["all", "prompt_chars"]
    assert inside.evidence["part_in_reference"] == 0.5
    assert "50% of the window's time lies in the reference itself" in inside.reason
    apart = judged(window_counts(some_rows(800, seed=5)))["all", "prompt_chars"]
    assert "part_in_reference" not in apart.evidence
    assert "reference itself" not in apart.reason
    share = shares(window_counts(some_rows(800, seed=5), start=REFERENCE.start))
    assert all("100% of the window's time" in one.reason for one in share.values() if one.score is not None)


def test_the_evidence_says_which_of_two_tests_gave_a_numbers_p_and_which_side_of_a_rate_counts() -> None:
    found = judged(window_counts(some_rows(800, seed=5, longer=25)))
    length = found["all", "prompt_chars"]
    by_shape = 2 * float(ks_p_value(np.array(length.effect), np.array(length.n), np.array(length.n_reference)))
    assert length.score is not None
    assert length.score < by_shape
    assert length.evidence["p_from"] == "level (rank sum)"
    wide = [({**row, "prompt_chars": (20.0, 900.0)[at % 2]}, slices) for at, (row, slices) in enumerate(some_rows(800, seed=5))]
    wider = judged(window_counts(wide))["all", "prompt_chars"]
    assert wider.evidence["p_from"] == "shape (Kolmogorov-Smirnov)"
    rates = {column.name: column.worse or "either" for column in FEW if column.measure is Measure.RATE}
    assert rates
    assert all(found["all", name].evidence["counts_as_worse"] == worse for name, worse in rates.items())


def test_first_failures_name_the_rate_they_are_of() -> None:
    first = replace(REFUSAL, name="first_refusal", first_of="refusal")
    rows = [
        ({**row, "first_refusal": float(bool(row["refusal"]) and at % 2 == 0)}, slices) for at, (row, slices) in enumerate(some_rows(800))
    ]
    counts = window_counts(rows, columns=(REFUSAL, first))
    found = judged(counts, reference=reference_of(counts), columns=(REFUSAL, first))
    assert found["all", "first_refusal"].evidence["first_of"] == "refusal"
    assert found["all", "first_refusal"].evidence["counts_as_worse"] == "yes"
    assert "first_of" not in found["all", "refusal"].evidence


def test_first_failures_that_a_reference_lacks_are_learned() -> None:
    first = replace(REFUSAL, name="first_refusal", first_of="refusal")
    window = window_counts([({**row, "first_refusal": 0.0}, slices) for row, slices in some_rows(800)], columns=(*FEW, first))
    found = judged(window, columns=(*FEW, first))
    assert found["all", "first_refusal"].status is DriftStatus.LEARNING
    assert found["all", "refusal"].status is DriftStatus.OK


def test_a_series_just_under_its_thresholds_is_kept_until_it_clears() -> None:
    columns = (*FEW, SHARE_COLUMN)
    policy = DriftPolicy(session_rows=1.0)

    def kept(longer: float) -> tuple[DriftVerdict, ...]:
        window = window_counts(some_rows(800, seed=5, longer=longer))
        found = judge_window(window=window, reference=prepare_reference(REFERENCE, columns), columns=columns, policy=policy)
        return verdicts(found, now=NOON, cells=found.worth_keeping)

    def of_acme(longer: float) -> list[DriftStatus]:
        return [verdict.status for verdict in kept(longer) if (verdict.slice, verdict.column) == ("tenant=acme", "prompt_chars")]

    assert (of_acme(10.0), of_acme(5.0), of_acme(0.0)) == ([DriftStatus.DRIFTING], [DriftStatus.OK], [])
    before = {(verdict.slice, verdict.column) for verdict in kept(10.0) if verdict.status is DriftStatus.DRIFTING}
    assert incident_of(kept(5.0), drifted_before=before).state is IncidentState.CLEARING


def test_only_the_kept_cells_get_verdicts() -> None:
    columns = (*FEW, SHARE_COLUMN)
    window = window_counts(some_rows(800, seed=5, longer=60))
    found = judge_window(
        window=window, reference=prepare_reference(REFERENCE, columns), columns=columns, policy=DriftPolicy(session_rows=1.0)
    )
    kept = verdicts(found, now=NOON, cells=found.worth_keeping)
    every = verdicts(found, now=NOON)
    asked = [verdict for verdict in every if verdict.slice == "all" or verdict.status is DriftStatus.DRIFTING]
    assert asked == [verdict for verdict in kept if verdict in asked]
    assert len(kept) < len(every)
    assert verdicts(found, now=NOON, cells=np.zeros_like(found.state, dtype=bool)) == ()
