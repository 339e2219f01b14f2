"""Thresholds from the reference's own windows: how often they are exceeded, and what makes them higher."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flywheel.drift.alarm_budget import ALPHA_ALLOCATION, BudgetPolicy
from flywheel.drift.calibration import MINIMUM_ROWS_OF_LONGEST, SIMILAR, _similar_slices, calibrate
from flywheel.drift.exceedance import lower_bound
from flywheel.drift.judge import JudgedCounts, judge_counts
from flywheel.drift.null_windows import NullPeriod
from flywheel.drift.seasonal_reference import Season, all_other_hours, sliding_sums
from flywheel.drift.tests import compare, effect_of, p_value, z_score
from flywheel.drift.thresholds import (
    GENERAL,
    INDEPENDENT_ROWS,
    PROTECTED,
    SHARE_COLUMN,
    SHARES,
    CalibratedThresholds,
    Dispersion,
    Threshold,
    uniform_table,
)
from flywheel.drift.vanished_slices import longest_silences
from flywheel.ids import WorkloadId
from flywheel.traffic.column import Column, Family, Measure
from flywheel.windows.counts import CountMatrix, Counts, WindowCounts
from flywheel.windows.pane import EPOCH

HOUR = timedelta(hours=1)
NUMBER = Column(name="length", family=Family.INPUT, measure=Measure.NUMBER, edges=(1.0, 2.0, 3.0))
TOPIC = Column(name="topic", family=Family.INPUT, measure=Measure.NAME, names=("a", "b", "c"))
REFUSAL = Column(name="refusal", family=Family.OUTPUT, measure=Measure.RATE, names=("no", "yes"), worse="yes")
COLUMNS = (NUMBER, TOPIC, REFUSAL)
SLICES = tuple(f"tenant={place}" for place in range(12))
DAYS = 10
MONDAY = 4 * 24
POLICY = BudgetPolicy(
    alarms_a_day=2.0,
    allocation={
        GENERAL: {Measure.NUMBER: {1: 0.11, 4: 0.11}, Measure.NAME: {1: 0.03, 4: 0.02}, Measure.RATE: {1: 0.09, 4: 0.09}},
        PROTECTED: {Measure.NUMBER: {1: 0.11, 4: 0.11}, Measure.NAME: {1: 0.03, 4: 0.02}, Measure.RATE: {1: 0.09, 4: 0.09}},
        SHARES: {Measure.RATE: {1: 0.05, 4: 0.05}},
    },
    expected_z={family: dict.fromkeys(Measure, 1.0) for family in (GENERAL, PROTECTED)},
)


def history(seed: int, *, copies: int = 1, days: int = DAYS, slices: int = len(SLICES)) -> dict[str, Counts]:
    """[hours, slices, bins]. ``copies``: rows that come together and are the same, as those of one session can be."""
    rng = np.random.default_rng(seed)
    shares = {"length": (0.25,) * 4, "topic": (0.5, 0.3, 0.2), "refusal": (0.95, 0.05)}
    return {name: copies * rng.multinomial(400 // copies, share, (days * 24, slices)) for name, share in shares.items()}


def period(counts: dict[str, Counts], columns: Sequence[Column] = COLUMNS, *, protected: Sequence[str] = SLICES[:2]) -> NullPeriod:
    """All traffic is a slice without rows here: its columns are no part of what is counted."""
    hours, slices = next(iter(counts.values())).shape[:2]
    flat = np.concatenate([counts[column.name] for column in columns], axis=-1)
    matrix = CountMatrix(
        slices=SLICES[:slices],
        bins=tuple((column.name, counts[column.name].shape[-1]) for column in columns),
        counts=flat,
        rows=counts[columns[0].name].sum(axis=-1),
    )
    start = EPOCH + MONDAY * HOUR
    hourly = WindowCounts(workload=WorkloadId("w"), start=start, end=start + hours * HOUR, matrix=matrix)
    return NullPeriod(hourly=hourly, columns=tuple(columns), protected=tuple(protected), season=Season.POOLED_DAYS, reason="")


def thresholds(counts: dict[str, Counts], policy: BudgetPolicy = POLICY, seed: int = 1) -> CalibratedThresholds:
    return calibrate(period(counts), policy, seed, minimum_reference_rows=1)


def rule(held: CalibratedThresholds, *, hours: int, family: str, column: Column) -> Threshold:
    found = held.threshold(column, hours=hours, family=family)
    assert found is not None
    return found


def judged(now: Counts, before: Counts, column: Column, threshold: Threshold) -> JudgedCounts:
    """[..., slices, bins] each, by the path of the daemon."""
    one, other = (
        CountMatrix(slices=("s",) * counts.shape[-2], bins=((column.name, counts.shape[-1]),), counts=counts, rows=counts.sum(axis=-1))
        for counts in (now, before)
    )
    return judge_counts(
        window=one, reference=other, columns=(column,), table=uniform_table(threshold, minimum_reference_rows=1), only_large=True
    )


@pytest.fixture(scope="module")
def calm() -> CalibratedThresholds:
    return thresholds(history(1))


def test_fresh_days_pass_the_thresholds_about_as_often_as_agreed(calm: CalibratedThresholds) -> None:
    fresh, alarms = history(2, days=20), 0
    for length in POLICY.lengths:
        for column in COLUMNS:
            now = sliding_sums(fresh[column.name], length)
            before = all_other_hours(fresh[column.name], length=length)
            for family, members in ((GENERAL, slice(2, None)), (PROTECTED, slice(0, 2))):
                threshold = rule(calm, hours=length, family=family, column=column)
                passed = judged(now[length:, members], before[length:, members], column, threshold).exceeded
                alarms += int((passed[1:] & ~passed[:-1]).sum())
    assert alarms <= 20 * POLICY.alarms_a_day * 2  # 40 are agreed for 20 days


def test_the_same_seed_gives_the_same_thresholds(calm: CalibratedThresholds) -> None:
    assert thresholds(history(1)) == calm


def test_rows_that_come_four_at_a_time_double_the_deviation(calm: CalibratedThresholds) -> None:
    clustered = thresholds(history(1, copies=4))
    for column in COLUMNS:
        ratio = clustered.dispersions[1, column.name].deviation(np.array(400)) / calm.dispersions[1, column.name].deviation(np.array(400))
        assert 1.5 < ratio < 2.6


FIRST = replace(REFUSAL, name="first_refusal", first_of="refusal")


HOUR_OF_SESSIONS = 50  # of eight rows


def sessions_of_eight(seed: int, *, refusing: float = 0.125, hours: int = DAYS * 24, sessions: int = HOUR_OF_SESSIONS) -> dict[str, Counts]:
    """[hours, slices, bins]. Half of the sessions that refuse do so once, the others in all of their rows."""
    rng = np.random.default_rng(seed)
    bad = rng.binomial(sessions, refusing, (hours, len(SLICES)))
    rows, hits = np.full_like(bad, 8 * sessions), bad + 7 * rng.binomial(bad, 0.5)
    return {"refusal": np.stack([rows - hits, hits], axis=-1), "first_refusal": np.stack([rows - bad, bad], axis=-1)}


def calibrated_on(counts: dict[str, Counts]) -> CalibratedThresholds:
    return calibrate(period(counts, (REFUSAL, FIRST)), POLICY, 1, minimum_reference_rows=1)


def test_first_failures_scatter_less_than_chance_and_rows_more() -> None:
    found = calibrated_on(sessions_of_eight(1))
    rows = np.array(8 * HOUR_OF_SESSIONS)
    assert found.dispersions[1, "refusal"].deviation(rows) > 2
    assert found.dispersions[1, "first_refusal"].deviation(rows) ** 2 == pytest.approx((1 - 0.125) / (1 - 0.125 / 8), rel=0.1)
    for family in (GENERAL, PROTECTED):
        effect = rule(found, hours=1, family=family, column=REFUSAL).minimum_effect
        assert rule(found, hours=1, family=family, column=FIRST).minimum_effect == pytest.approx(effect / 2)


def test_first_failures_tell_a_rise_that_rows_do_not() -> None:
    past = sessions_of_eight(1)
    held = calibrated_on(past)
    now = sessions_of_eight(9, refusing=0.25, hours=1_000, sessions=4 * HOUR_OF_SESSIONS)
    found = {}
    for column in (REFUSAL, FIRST):
        before = np.broadcast_to(past[column.name].sum(axis=0), now[column.name].shape)
        threshold = rule(held, hours=4, family=GENERAL, column=column)
        found[column.name] = float(judged(now[column.name], before, column, threshold).exceeded.mean())
    assert found["first_refusal"] > found["refusal"] + 0.2


def test_of_few_windows_firsts_are_taken_to_scatter_as_chance_does() -> None:
    """Three days of twelve slices are 864 windows, whose tail nobody looks at."""
    found = calibrated_on(sessions_of_eight(1, hours=3 * 24))
    assert found.dispersions[1, "first_refusal"].deviation(np.array(8 * HOUR_OF_SESSIONS)) >= 1


@pytest.mark.parametrize("refusing", [0.0, 0.001])
def test_where_firsts_are_rare_the_first_one_is_no_alarm(refusing: float) -> None:
    past = sessions_of_eight(1, refusing=refusing)
    threshold = rule(calibrated_on(past), hours=1, family=GENERAL, column=FIRST)
    assert threshold.dispersion.deviation(np.array(8 * HOUR_OF_SESSIONS)) >= 1
    one, before = np.array([[99, 1]]), past["first_refusal"][:, :1].sum(axis=0)
    independent = Threshold(z=0.0, minimum_effect=0.0, minimum_rows=1, dispersion=INDEPENDENT_ROWS, source="")
    assert judged(one, before, FIRST, threshold).z[0, 0] <= judged(one, before, FIRST, independent).z[0, 0]


def test_what_counts_no_firsts_is_taken_to_scatter_as_chance_at_least() -> None:
    even = sessions_of_eight(1)["first_refusal"]
    found = calibrated_on({"refusal": even, "first_refusal": even})
    rows = np.array(8 * HOUR_OF_SESSIONS)
    assert found.dispersions[1, "refusal"].deviation(rows) >= 1 > found.dispersions[1, "first_refusal"].deviation(rows)


def test_slices_of_its_size_say_what_a_protected_one_does_by_chance() -> None:
    """Twelve alike, two of them protected: ten days of two slices alone would leave their thresholds to luck."""
    for measure in (Measure.NUMBER, Measure.NAME):
        found = [thresholds(history(seed)).z_scores[1, PROTECTED, measure] for seed in (3, 4, 5)]
        alone = [thresholds(history(seed, slices=2)).z_scores[1, PROTECTED, measure] for seed in (3, 4, 5)]
        assert np.ptp(found) < 0.3
        assert np.ptp(found) < np.ptp(alone)


def test_protected_slices_that_scatter_more_than_others_of_their_size_need_more(calm: CalibratedThresholds) -> None:
    windows, wild = history(1), history(1, copies=20)
    counts = {name: held.copy() for name, held in windows.items()}
    for name, held in counts.items():
        held[:, :2] = wild[name][:, :2]
    found = thresholds(counts)
    for measure in (Measure.NUMBER, Measure.RATE):
        assert found.z_scores[1, PROTECTED, measure] > calm.z_scores[1, PROTECTED, measure] + 0.5


def test_slices_of_another_size_say_nothing_of_a_protected_one() -> None:
    rows = np.ones((1, 6, 1), dtype=np.int64) * np.array([100, 110, 190, 210, 45, 5_000])[None, :, None]
    shielded = np.array([True, False, False, False, False, False])
    assert set(_similar_slices(rows, shielded).tolist()) == {0, 1, 2}
    assert len(_similar_slices(rows, shielded)) == SIMILAR


def test_a_smaller_budget_asks_for_more_evidence(calm: CalibratedThresholds) -> None:
    frugal = thresholds(history(1), replace(POLICY, alarms_a_day=0.01))
    assert all(frugal.z_scores[key] > z for key, z in calm.z_scores.items())


def test_a_real_change_of_the_size_of_interest_passes(calm: CalibratedThresholds) -> None:
    threshold = rule(calm, hours=4, family=GENERAL, column=REFUSAL)
    now, before = np.array([[1_480, 120]]), np.array([[95_000, 5_000]])
    assert judged(now, before, REFUSAL, threshold).exceeded.all()
    assert not judged(now, before, REFUSAL, replace(threshold, minimum_rows=10_000)).exceeded.any()
    assert not judged(now, before, REFUSAL, replace(threshold, minimum_effect=0.5)).exceeded.any()
    assert not judged(now, before, REFUSAL, replace(threshold, z=30.0)).exceeded.any()


def test_a_window_length_that_was_not_calibrated_has_no_threshold(calm: CalibratedThresholds) -> None:
    assert calm.threshold(REFUSAL, hours=3, family=GENERAL) is None


def test_one_whole_day_is_enough_for_the_lengths_that_it_holds_four_times() -> None:
    allocation = {
        family: {measure: ({**held, 12: 0.0} if held else held) for measure, held in measures.items()}
        for family, measures in POLICY.allocation.items()
    }
    found = thresholds(history(1, days=1), replace(POLICY, allocation=allocation))
    assert found.days == 1.0
    for column in COLUMNS:
        measured, lent = (rule(found, hours=hours, family=GENERAL, column=column) for hours in (4, 12))
        assert 1.5 < measured.z < 6
        assert replace(lent, minimum_rows=measured.minimum_rows, source=measured.source) == measured  # nothing is known of half a day yet
        assert lent.minimum_rows == min(measured.minimum_rows, MINIMUM_ROWS_OF_LONGEST)
    assert "by the threshold of a shorter length" in found.source(12)
    assert found.source(4) == "false-alarm budget of 2 alarms a day over 1 day, windows of 4 h"


def test_a_slice_that_is_protected_later_meets_no_threshold_of_nothing() -> None:
    none_protected = calibrate(period(history(1), protected=()), POLICY, 1, minimum_reference_rows=1)
    for (hours, family, measure), z in none_protected.z_scores.items():
        if family == PROTECTED:
            assert z == none_protected.z_scores[hours, GENERAL, measure]


def test_protected_slices_without_rows_enough_meet_what_independent_windows_would_ask_for() -> None:
    windows = history(1)
    counts = {name: held.copy() for name, held in windows.items()}
    for held in counts.values():
        held[:, :2] //= 100
    found = thresholds(counts, replace(POLICY, alarms_a_day=0.1))
    for hours in POLICY.lengths:
        for measure in Measure:
            alpha = 0.1 * POLICY.allocation[PROTECTED][measure][hours]
            assert found.z_scores[hours, PROTECTED, measure] >= lower_bound(alpha, 2 * 24 / hours) > 2.5


def test_the_longest_windows_are_judged_from_fifty_rows_on() -> None:
    longest = {key: rows for key, rows in thresholds(history(1)).minimum_rows.items() if key[0] == 4}
    assert longest
    assert max(longest.values()) <= MINIMUM_ROWS_OF_LONGEST
    strict = replace(POLICY, expected_z={family: dict.fromkeys(Measure, 9.0) for family in (GENERAL, PROTECTED)})
    rows = thresholds(history(1), strict).minimum_rows
    assert rows[1, GENERAL, "length"] > rows[4, GENERAL, "length"] == MINIMUM_ROWS_OF_LONGEST


def test_a_day_of_sessions_shows_its_spread_in_that_day() -> None:
    clustered = thresholds(history(1, copies=4, days=1))
    assert 1.5 < float(clustered.dispersions[1, "length"].deviation(np.array(400))) < 2.6


def test_a_slice_without_a_row_and_one_with_a_single_value_calibrate() -> None:
    windows = history(1)
    counts = {name: held.copy() for name, held in windows.items()}
    for held in counts.values():
        held[:, 3] = 0
        held[:, 4] = 0
        held[:, 4, 0] = 7
    found = thresholds(counts)
    assert all(np.isfinite(z) and z > 0 for z in found.z_scores.values())


@settings(max_examples=40)
@given(st.floats(1e-9, 0.4), st.floats(1, 9), st.floats(0, 1e-2), st.integers(1, 10_000))
def test_overdispersion_never_makes_evidence_stronger(p: float, base: float, slope: float, n: int) -> None:
    z = z_score(np.float64(p), one_sided=True) / Dispersion(base=base, slope=slope).deviation(np.array(n))
    assert float(p_value(z, one_sided=True)) >= p * (1 - 1e-6)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(0, 40), min_size=12, max_size=12), st.lists(st.integers(0, 40), min_size=12, max_size=12))
def test_the_quick_effect_is_the_tests_own(now: list[int], before: list[int]) -> None:
    for column, bins in ((NUMBER, 4), (TOPIC, 3), (REFUSAL, 2)):
        current, reference = (np.asarray(held).reshape(-1, 12)[:, : bins * 2].reshape(2, bins) for held in (now, before))
        seen = (current.sum(axis=-1) > 0) & (reference.sum(axis=-1) > 0)
        assert effect_of(column.measure, current, reference, one_sided=False)[seen] == pytest.approx(
            compare(column.measure, current, reference, one_sided=False)[1][seen]
        )


def test_an_overdispersed_slice_waits_for_more_rows() -> None:
    rows = [BudgetPolicy().minimum_rows(GENERAL, REFUSAL, base_rate=0.03, dispersion=Dispersion(base=base)) for base in (1.0, 2.4)]
    assert rows[1] == pytest.approx(2.4 * rows[0], rel=0.01)


def test_the_longest_silence_of_a_slice_counts_from_its_first_row_on() -> None:
    rows = np.array([[5, 0, 3, 0], [5, 0, 0, 0], [5, 2, 0, 0], [5, 1, 4, 0], [5, 0, 4, 0]])
    hourly = CountMatrix(slices=("all", "joined", "pauses", "never"), bins=(), counts=np.zeros((5, 4, 0), dtype=np.int64), rows=rows)
    assert longest_silences(hourly) == {"joined": 1, "pauses": 2}


def test_the_alpha_allocation_adds_up_to_the_budget() -> None:
    policy = BudgetPolicy()
    spent = [policy.alpha(family, measure, length) for family in ALPHA_ALLOCATION for measure in Measure for length in policy.lengths]
    assert sum(spent) == pytest.approx(policy.alarms_a_day)
    of_shares = sum(policy.alpha(SHARES, SHARE_COLUMN.measure, length) for length in policy.lengths)
    assert of_shares == pytest.approx(0.08 * policy.alarms_a_day)
