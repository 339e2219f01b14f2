"""Does this drift? Every status is reached, and nothing breaks on poor data."""

import json
from dataclasses import replace
from datetime import timedelta
from math import isfinite

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import kolmogorov
from scipy.stats import chi2_contingency, norm

from flywheel.drift.budget import FAMILIES, GENERAL, PROTECTED, Spread, Thresholds
from flywheel.drift.reference import Maturity, Reference, grid_of, on_these_grids
from flywheel.drift.statistics import ks_p_all
from flywheel.drift.verdict import DriftPolicy, DriftStatus, DriftVerdict, judge, judge_shares
from flywheel.errors import InvalidInput
from flywheel.ids import WorkloadId
from flywheel.traffic.column import Column, Family, Measure
from flywheel.traffic.features import COLUMNS
from flywheel.windows.pane import WindowCounts
from tests.watching import FEW, LENGTH, NOON, REFUSAL, ROUTER, SHAPE, reference_of, some_rows, window_counts

REFERENCE = reference_of(window_counts(some_rows(4_000, seed=2), start=NOON - timedelta(hours=30)))


def by_place(verdicts: tuple[DriftVerdict, ...]) -> dict[tuple[str, str], DriftVerdict]:
    return {(verdict.slice, verdict.column): verdict for verdict in verdicts}


def judged(window: WindowCounts, **changes: object) -> dict[tuple[str, str], DriftVerdict]:
    arguments: dict[str, object] = {
        "window": window,
        "reference": REFERENCE,
        "columns": FEW,
        "policy": DriftPolicy(session_rows=1.0),
        "now": NOON + timedelta(hours=1),
    }
    return by_place(judge(**(arguments | changes)))  # type: ignore[arg-type]


def shares(window: WindowCounts, reference: Reference = REFERENCE) -> dict[str, DriftVerdict]:
    return {
        found.slice: found
        for found in judge_shares(window=window, reference=reference, policy=DriftPolicy(session_rows=1.0), now=window.end)
    }


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
    assert "too small to matter" in found.reason


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


def test_a_reference_on_another_grid_is_refused_by_column() -> None:
    other = replace(LENGTH, lines=(1.0, 2.0))
    window = window_counts(some_rows(300, seed=5), columns=(other, REFUSAL))
    with pytest.raises(InvalidInput, match=r"reference reference-1, slice all, column prompt_chars: the counts have 52 bins"):
        judged(window, columns=(other, REFUSAL))


def test_a_reference_with_as_many_bins_on_other_lines_is_refused_too() -> None:
    kept = replace(REFERENCE, meta={"grids": {LENGTH.name: grid_of(LENGTH)}})
    moved = replace(LENGTH, lines=tuple(line + 5 for line in LENGTH.lines))
    window = window_counts(some_rows(300, seed=5), columns=(moved,))
    with pytest.raises(InvalidInput, match="pinned on other edges"):
        judged(window, reference=kept, columns=(moved,))


def test_a_column_that_the_reference_does_not_hold_is_learning() -> None:
    reference, left_out = on_these_grids(REFERENCE, (replace(LENGTH, lines=(1.0, 2.0)), REFUSAL))
    assert left_out == (LENGTH.name,)
    found = judged(window_counts(some_rows(300, seed=5)), reference=reference)
    assert found["all", "prompt_chars"].status is DriftStatus.LEARNING
    assert "grid" in found["all", "prompt_chars"].reason
    assert found["all", "refusal"].status is DriftStatus.OK


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"end": NOON}, "does not end after its start: a clock ran backwards"),
        ({"end": NOON - timedelta(minutes=5)}, "does not end after its start"),
        ({"start": NOON + timedelta(hours=2), "end": NOON + timedelta(hours=3)}, "judged before it began"),
        ({"start": NOON.replace(tzinfo=None)}, "the start has no time zone"),
        ({"workload": WorkloadId("support")}, "the reference belongs to router"),
    ],
)
def test_a_window_that_cannot_be_is_refused_with_its_value(changes: dict[str, object], said: str) -> None:
    window = replace(window_counts(some_rows(60, seed=5)), **changes)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match=said):
        judged(window)


def test_negative_counts_of_a_window_are_refused_by_slice_and_column() -> None:
    window = window_counts(some_rows(60, seed=5))
    counts = {name: dict(held) for name, held in window.counts.items()}
    counts["tenant=acme"]["refusal"] = np.array([-3, 1, 0, 0])
    with pytest.raises(InvalidInput, match=r"window of router, slice tenant=acme, column refusal, bin 0: a count is negative \(got -3\)"):
        judged(replace(window, counts=counts))


def test_more_rows_in_a_slice_than_in_all_are_refused() -> None:
    window = window_counts(some_rows(60, seed=5))
    with pytest.raises(InvalidInput, match="slice tenant=acme: a slice has more rows than the whole traffic"):
        judge_shares(window=replace(window, rows={**window.rows, "tenant=acme": 61}), reference=REFERENCE, policy=DriftPolicy(), now=NOON)


def test_a_drifting_number_shows_where_it_moved() -> None:
    evidence = judged(window_counts(some_rows(800, seed=5, longer=60)))["all", "prompt_chars"].evidence
    gap, moved = evidence["widest_gap"], evidence["moved_most"]
    assert isinstance(gap, dict)
    assert gap["share"] < gap["reference_share"]
    assert 150 <= gap["below"] <= 210  # between the two middles
    assert isinstance(moved, list)
    assert all(set(place) == {"values", "share", "reference_share"} for place in moved)
    assert evidence["median_from"] > evidence["reference_median_from"]  # type: ignore[operator]
    assert 0 < evidence["wasserstein"] < 1  # type: ignore[operator]
    assert "no alarm budget" in str(evidence["limits"])


def test_a_drifting_name_shows_which() -> None:
    rows = [
        ({**row, "prompt_shape": "code"}, slices) if at % 2 else (row, slices) for at, (row, slices) in enumerate(some_rows(600, seed=5))
    ]
    first = judged(window_counts(rows))["all", "prompt_shape"].evidence["moved_most"][0]  # type: ignore[index]
    assert first["values"] == "code"
    assert first["share"] > 0.5 > first["reference_share"]


def test_a_drifting_name_shows_which_were_one_name_for_the_p_value() -> None:
    kinds = ["question"] * 60 + ["code"] * 6 + ["other"] * 4
    before = [({"prompt_shape": kind}, ("all",)) for kind in kinds]
    now = [({"prompt_shape": kind}, ("all",)) for kind in ["question"] * 8 + ["code"] * 50 + ["other"] * 2]
    found = judged(window_counts(now, columns=(SHAPE,)), reference=reference_of(window_counts(before, columns=(SHAPE,))), columns=(SHAPE,))
    verdict = found["all", "prompt_shape"]
    assert verdict.status is DriftStatus.DRIFTING
    assert verdict.evidence["taken_together"] == ["other"]  # 6 of both * 60 / 130 is under five; 56 * 60 / 130 is not
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
    assert "by chance" in few.reason


def test_a_slice_that_was_folded_away_has_not_vanished() -> None:
    window = window_counts(some_rows(500, seed=5, tenants={"acme": 1.0}))
    folded = replace(window, rows={**window.rows, "tenant=acme": 350, "tenant=(other)": 150})
    share = shares(folded)["tenant=globex"]
    assert share.status is DriftStatus.INSUFFICIENT_DATA
    assert "150 rows of slices without a place" in share.reason


def test_a_slice_that_the_reference_may_have_folded_away_is_not_new() -> None:
    counts = REFERENCE.counts
    before = replace(REFERENCE, counts=replace(counts, rows={**counts.rows, "tenant=acme": 2_000, "tenant=(other)": 800}))
    window = window_counts(some_rows(500, seed=5, tenants={"acme": 0.6, "globex": 0.3, "initech": 0.1}))
    assert shares(window, reference=before)["tenant=initech"].status is DriftStatus.INSUFFICIENT_DATA
    assert shares(window)["tenant=initech"].status is DriftStatus.NEW_SLICE


def test_what_may_hide_in_the_rest_is_counted_against_a_change_of_share() -> None:
    window = window_counts(some_rows(500, seed=5, tenants={"acme": 0.85, "globex": 0.15}))
    assert judged(window)["tenant=globex", "share"].status is DriftStatus.DRIFTING
    rows = {**window.rows, "tenant=(other)": 100}
    assert shares(replace(window, rows=rows))["tenant=globex"].status is DriftStatus.OK


SPREAD = Spread(apart=4.0, per_row=0.0)


def budget_of(*, strength: float = 4.0, hours: int = 1, column: Column = LENGTH, spread: Spread = SPREAD) -> Thresholds:
    return Thresholds(
        strengths={(hours, family, column.measure): strength for family in FAMILIES},
        spreads={(hours, column.name): spread},
        minimum_rows={(hours, GENERAL, column.name): 100, (hours, PROTECTED, column.name): 30},
        floors={(GENERAL, column.measure): 0.06, (PROTECTED, column.measure): 0.04},
        pages_a_day=0.1,
        null_days=28.0,
        seed=1,
    )


def test_a_calibrated_budget_decides_in_place_of_the_fixed_numbers() -> None:
    window = window_counts(some_rows(800, seed=5, longer=25))
    fixed = judged(window)["all", "prompt_chars"]
    by_budget = judged(window, thresholds=budget_of())["all", "prompt_chars"]
    assert by_budget.effect_floor == 0.06
    assert by_budget.threshold == pytest.approx(2 * norm.sf(4.0))
    assert by_budget.evidence["p_if_rows_were_independent"] == fixed.score
    assert by_budget.evidence["spread"] == 2.0
    assert by_budget.score == pytest.approx(2 * norm.sf(norm.isf(fixed.score / 2) / 2))
    assert "0.1 pages a day over 28 days, windows of 1 h" in str(by_budget.evidence["limits"])


def test_a_protected_slice_is_judged_by_its_own_limits() -> None:
    policy = DriftPolicy(protected=("tenant=globex",))
    found = judged(window_counts(some_rows(150, seed=5)), thresholds=budget_of(), policy=policy)
    assert found["tenant=globex", "prompt_chars"].evidence["family"] == "protected"
    assert found["tenant=globex", "prompt_chars"].effect_floor == 0.04
    assert found["all", "prompt_chars"].evidence["family"] == "general"


def test_a_column_or_length_that_was_not_calibrated_says_so_and_keeps_the_fixed_numbers() -> None:
    found = judged(window_counts(some_rows(300, seed=5)), thresholds=budget_of())
    assert found["all", "refusal"].threshold == 1e-4
    assert "not calibrated for refusal at 1 h" in str(found["all", "refusal"].evidence["limits"])
    longer = judged(window_counts(some_rows(300, seed=5), minutes=120), thresholds=budget_of())["all", "prompt_chars"]
    assert "at 2 h" in str(longer.evidence["limits"])


def test_a_slice_too_small_for_the_length_is_not_judged_at_it() -> None:
    found = judged(window_counts(some_rows(90, seed=5, longer=500)), thresholds=budget_of())["all", "prompt_chars"]
    assert found.status is DriftStatus.INSUFFICIENT_DATA
    assert "under 100" in found.reason


@pytest.mark.parametrize("n", [0, 1, 2, 60])
@pytest.mark.parametrize("m", [0, 1, 60])
def test_constant_and_one_row_columns_are_judged_without_nan(n: int, m: int) -> None:
    row = ({"prompt_chars": 7.0, "prompt_shape": "never heard of", "refusal": 1.0, "valid_format": None}, ("all", "tenant=acme"))
    for verdict in judge(
        window=window_counts([row] * n),
        reference=reference_of(window_counts([row] * m)),
        columns=(*FEW, *(column for column in COLUMNS if column.name not in {one.name for one in FEW})),
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


@settings(deadline=None, max_examples=60)
@given(hits=st.integers(0, 300), n=st.integers(1, 300), before=st.integers(0, 800), m=st.integers(1, 800))
def test_a_verdict_never_improves_when_an_outcome_gets_worse(hits: int, n: int, before: int, m: int) -> None:
    """One answer more that was refused: the p-value does not rise, the effect does not fall, and what drifted still drifts."""

    def refusals(yes: int, total: int) -> WindowCounts:
        counts = {"all": {REFUSAL.name: np.array([total - yes, yes, 0, 0])}}
        return WindowCounts(workload=ROUTER, start=NOON, end=NOON + timedelta(hours=1), counts=counts, rows={"all": total})

    hits, before = min(hits, n), min(before, m)
    better, worse = (
        judge(
            window=refusals(yes, n),
            reference=reference_of(refusals(before, m)),
            columns=(REFUSAL,),
            policy=DriftPolicy(minimum_rows=1, p_below=0.05),
            now=NOON,
        )[0]
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
    for verdict in judge(
        window=window_counts(some_rows(n, seed=5)),
        reference=reference_of(window_counts(some_rows(m, seed=2))),
        columns=FEW,
        policy=DriftPolicy(minimum_rows=minimum),
        now=NOON,
    ):
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
    by_shape = 2 * float(ks_p_all(np.array(length.effect), np.array(length.n), np.array(length.n_reference)))
    assert length.score is not None
    assert length.score < by_shape
    assert length.evidence["p_from"] == "level (rank sum)"
    wide = [({**row, "prompt_chars": (20.0, 900.0)[at % 2]}, slices) for at, (row, slices) in enumerate(some_rows(800, seed=5))]
    wider = judged(window_counts(wide))["all", "prompt_chars"]
    assert wider.evidence["p_from"] == "shape (Kolmogorov-Smirnov)"
    rates = {column.name: column.worse or "either" for column in FEW if column.measure is Measure.RATE}
    assert rates
    assert all(found["all", name].evidence["counts_as_worse"] == worse for name, worse in rates.items())


def test_the_evidence_of_firsts_says_which_rate_they_are_of() -> None:
    first = replace(REFUSAL, name="first_refusal", first_of="refusal")
    rows = [
        ({**row, "first_refusal": float(bool(row["refusal"]) and at % 2 == 0)}, slices) for at, (row, slices) in enumerate(some_rows(800))
    ]
    counts = window_counts(rows, columns=(REFUSAL, first))
    found = judged(counts, reference=reference_of(counts), columns=(REFUSAL, first))
    assert found["all", "first_refusal"].evidence["first_of"] == "refusal"
    assert found["all", "first_refusal"].evidence["counts_as_worse"] == "yes"
    assert "first_of" not in found["all", "refusal"].evidence


def test_a_reference_of_before_firsts_were_counted_learns_them() -> None:
    first = replace(REFUSAL, name="first_refusal", first_of="refusal")
    window = window_counts([({**row, "first_refusal": 0.0}, slices) for row, slices in some_rows(800)], columns=(*FEW, first))
    found = judged(window, columns=(*FEW, first))
    assert found["all", "first_refusal"].status is DriftStatus.LEARNING
    assert found["all", "refusal"].status is DriftStatus.OK
