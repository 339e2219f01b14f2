"""Thresholds from the reference's own windows: how often they are passed, and what makes them higher."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from flywheel.drift.budget import (
    GENERAL,
    PROTECTED,
    SHARES,
    SPENT,
    BudgetPolicy,
    SmallestChange,
    Spread,
    Thresholds,
    drifts_all,
    effect_all,
    evidence_all,
    probability_all,
    rows_worth_judging,
    standing_strength,
    strength_all,
    tempered_all,
)
from flywheel.drift.null_runs import FEWEST_AT_LAST, LIKE, NullSource, ReferenceWindows, _like_sized, calibrate
from flywheel.drift.null_tail import strength_of_normals
from flywheel.drift.seasons import Season, pooled_days, sliding_sums
from flywheel.errors import InvalidInput
from flywheel.traffic.column import Column, Family, Measure
from flywheel.windows.pane import Counts

NUMBER = Column(name="length", family=Family.INPUT, measure=Measure.NUMBER, lines=(1.0, 2.0, 3.0))
TOPIC = Column(name="topic", family=Family.INPUT, measure=Measure.NAME, names=("a", "b", "c"))
REFUSAL = Column(name="refusal", family=Family.OUTPUT, measure=Measure.RATE, names=("no", "yes"), worse="yes")
COLUMNS = (NUMBER, TOPIC, REFUSAL)
SLICES = tuple(f"tenant={place}" for place in range(12))
DAYS = 10
MONDAY = 4 * 24
POLICY = BudgetPolicy(
    pages_a_day=2.0,
    parts={
        GENERAL: {Measure.NUMBER: {1: 0.11, 4: 0.11}, Measure.NAME: {1: 0.03, 4: 0.02}, Measure.RATE: {1: 0.09, 4: 0.09}},
        PROTECTED: {Measure.NUMBER: {1: 0.11, 4: 0.11}, Measure.NAME: {1: 0.03, 4: 0.02}, Measure.RATE: {1: 0.09, 4: 0.09}},
        SHARES: {Measure.RATE: {1: 0.05, 4: 0.05}},
    },
    worth_judging={family: dict.fromkeys(Measure, 1.0) for family in (GENERAL, PROTECTED)},
)


def history(seed: int, *, copies: int = 1, days: int = DAYS, slices: int = len(SLICES)) -> ReferenceWindows:
    """``copies``: rows that come together and are the same, as those of one session can be."""
    chance = np.random.default_rng(seed)
    shares = {"length": (0.25,) * 4, "topic": (0.5, 0.3, 0.2), "refusal": (0.95, 0.05)}
    counts = {name: copies * chance.multinomial(400 // copies, share, (days * 24, slices)) for name, share in shares.items()}
    return ReferenceWindows(first_hour=MONDAY, slices=SLICES[:slices], counts=counts)


def thresholds(windows: ReferenceWindows, policy: BudgetPolicy = POLICY, seed: int = 1) -> Thresholds:
    source = NullSource(season=Season.POOLED_DAYS)
    return calibrate(windows, policy, seed, columns=COLUMNS, protected=SLICES[:2], source=source)


@pytest.fixture(scope="module")
def calm() -> Thresholds:
    return thresholds(history(1))


def test_fresh_days_pass_the_thresholds_about_as_often_as_agreed(calm: Thresholds) -> None:
    fresh, episodes = history(2, days=20), 0
    for length in POLICY.lengths:
        for column in COLUMNS:
            now = sliding_sums(fresh.counts[column.name], length)
            before = pooled_days(fresh.counts[column.name], length=length, days=None)
            for family, members in ((GENERAL, slice(2, None)), (PROTECTED, slice(0, 2))):
                rule = calm.rule(hours=length, family=family, column=column)
                strength = standing_strength(
                    now[length:, members],
                    before[length:, members],
                    column,
                    spread=rule.spread,
                    floor=rule.floor,
                    minimum_rows=rule.minimum_rows,
                )
                passed = strength >= rule.strength_from
                episodes += int((passed[1:] & ~passed[:-1]).sum())
    assert episodes <= 20 * POLICY.pages_a_day * 2  # 40 are agreed for 20 days


def test_the_same_seed_gives_the_same_thresholds(calm: Thresholds) -> None:
    assert thresholds(history(1)) == calm


def test_rows_that_come_four_at_a_time_double_the_spread(calm: Thresholds) -> None:
    clustered = thresholds(history(1, copies=4))
    for column in COLUMNS:
        ratio = clustered.spreads[1, column.name].at(np.array(400)) / calm.spreads[1, column.name].at(np.array(400))
        assert 1.5 < ratio < 2.6


FIRST = replace(REFUSAL, name="first_refusal", first_of="refusal")


HOUR_OF_SESSIONS = 50  # of eight rows


def sessions_of_eight(seed: int, *, refusing: float = 0.125, hours: int = DAYS * 24, sessions: int = HOUR_OF_SESSIONS) -> dict[str, Counts]:
    """[hours, slices, bins]. Half of the sessions that refuse do so once, the others in all of their rows."""
    chance = np.random.default_rng(seed)
    bad = chance.binomial(sessions, refusing, (hours, len(SLICES)))
    rows, hits = np.full_like(bad, 8 * sessions), bad + 7 * chance.binomial(bad, 0.5)
    return {"refusal": np.stack([rows - hits, hits], axis=-1), "first_refusal": np.stack([rows - bad, bad], axis=-1)}


def calibrated_on(counts: dict[str, Counts]) -> Thresholds:
    windows = ReferenceWindows(first_hour=MONDAY, slices=SLICES, counts=counts)
    return calibrate(windows, POLICY, 1, columns=(REFUSAL, FIRST), protected=SLICES[:2], source=NullSource(season=Season.POOLED_DAYS))


def test_a_sessions_firsts_scatter_less_than_chance_and_its_rows_more() -> None:
    found = calibrated_on(sessions_of_eight(1))
    rows = np.array(8 * HOUR_OF_SESSIONS)
    assert found.spreads[1, "refusal"].at(rows) > 2
    assert found.spreads[1, "first_refusal"].at(rows) ** 2 == pytest.approx((1 - 0.125) / (1 - 0.125 / 8), rel=0.1)
    for family in (GENERAL, PROTECTED):
        floor = found.rule(hours=1, family=family, column=REFUSAL).floor
        assert found.rule(hours=1, family=family, column=FIRST).floor == pytest.approx(floor / 2)


def test_where_sessions_repeat_themselves_firsts_tell_a_rise_that_rows_do_not() -> None:
    past = sessions_of_eight(1)
    held = calibrated_on(past)
    now = sessions_of_eight(9, refusing=0.25, hours=1_000, sessions=4 * HOUR_OF_SESSIONS)
    found = {}
    for column in (REFUSAL, FIRST):
        rule = held.rule(hours=4, family=GENERAL, column=column)
        like = np.broadcast_to(past[column.name].sum(axis=0), now[column.name].shape)
        strength = standing_strength(now[column.name], like, column, spread=rule.spread, floor=rule.floor, minimum_rows=rule.minimum_rows)
        found[column.name] = float((strength >= rule.strength_from).mean())
    assert found["first_refusal"] > found["refusal"] + 0.2


def test_of_few_windows_firsts_are_taken_to_scatter_as_chance_does() -> None:
    """Three days of twelve slices are 864 windows, whose tail nobody looks at."""
    found = calibrated_on(sessions_of_eight(1, hours=3 * 24))
    assert found.spreads[1, "first_refusal"].at(np.array(8 * HOUR_OF_SESSIONS)) >= 1


@pytest.mark.parametrize("refusing", [0.0, 0.001])
def test_where_firsts_are_rare_the_first_one_is_no_alarm(refusing: float) -> None:
    past = sessions_of_eight(1, refusing=refusing)
    rule = calibrated_on(past).rule(hours=1, family=GENERAL, column=FIRST)
    assert rule.spread.at(np.array(8 * HOUR_OF_SESSIONS)) >= 1
    one = np.array([[99, 1]])
    before = past["first_refusal"][:, :1].sum(axis=0)
    strength = standing_strength(one, before, FIRST, spread=rule.spread, floor=rule.floor, minimum_rows=rule.minimum_rows)
    assert strength[0] <= strength_for_rows(one, before)


def strength_for_rows(now: Counts, before: Counts) -> float:
    """As strong as rows would be, were they independent."""
    return float(standing_strength(now, before, FIRST, spread=Spread(), floor=0.0, minimum_rows=1)[0])


def test_what_counts_no_firsts_is_taken_to_scatter_as_chance_at_least() -> None:
    even = sessions_of_eight(1)["first_refusal"]
    found = calibrated_on({"refusal": even, "first_refusal": even})
    rows = np.array(8 * HOUR_OF_SESSIONS)
    assert found.spreads[1, "refusal"].at(rows) >= 1 > found.spreads[1, "first_refusal"].at(rows)


def test_slices_of_its_size_say_what_a_protected_one_does_by_chance() -> None:
    """Twelve alike, two of them protected: ten days of two slices alone would leave their thresholds to luck."""
    for measure in (Measure.NUMBER, Measure.NAME):
        found = [thresholds(history(seed)).strengths[1, PROTECTED, measure] for seed in (3, 4, 5)]
        alone = [thresholds(history(seed, slices=2)).strengths[1, PROTECTED, measure] for seed in (3, 4, 5)]
        assert np.ptp(found) < 0.3
        assert np.ptp(found) < np.ptp(alone)


def test_protected_slices_that_scatter_more_than_others_of_their_size_need_more(calm: Thresholds) -> None:
    windows, wild = history(1), history(1, copies=20)
    counts = {name: held.copy() for name, held in windows.counts.items()}
    for name, held in counts.items():
        held[:, :2] = wild.counts[name][:, :2]
    found = thresholds(replace(windows, counts=counts))
    for measure in (Measure.NUMBER, Measure.RATE):
        assert found.strengths[1, PROTECTED, measure] > calm.strengths[1, PROTECTED, measure] + 0.5


def test_slices_of_another_size_say_nothing_of_a_protected_one() -> None:
    rows = np.ones((1, 6, 1), dtype=np.int64) * np.array([100, 110, 190, 210, 45, 5_000])[None, :, None]
    shielded = np.array([True, False, False, False, False, False])
    assert set(_like_sized(rows, shielded).tolist()) == {0, 1, 2}
    assert len(_like_sized(rows, shielded)) == LIKE


def test_a_smaller_budget_asks_for_more_evidence(calm: Thresholds) -> None:
    frugal = thresholds(history(1), replace(POLICY, pages_a_day=0.01))
    assert all(frugal.strengths[key] > strength for key, strength in calm.strengths.items())


def test_a_real_change_of_the_size_of_interest_passes(calm: Thresholds) -> None:
    rule = calm.rule(hours=4, family=GENERAL, column=REFUSAL)
    now, before = np.array([[1_480, 120]]), np.array([[95_000, 5_000]])
    p, effect = evidence_all(now, before, REFUSAL)
    assert drifts_all(p, effect, now.sum(axis=-1), rule, one_sided=True).all()
    assert not drifts_all(p, effect, now.sum(axis=-1), replace(rule, minimum_rows=10_000), one_sided=True).any()
    assert not drifts_all(p, effect, now.sum(axis=-1), replace(rule, floor=0.5), one_sided=True).any()


def test_a_window_length_that_was_not_calibrated_is_named(calm: Thresholds) -> None:
    with pytest.raises(InvalidInput, match="no threshold was calibrated"):
        calm.rule(hours=3, family=GENERAL, column=REFUSAL)


def test_one_whole_day_is_enough_for_the_lengths_that_it_holds_four_times() -> None:
    parts = {
        family: {measure: ({**held, 12: 0.0} if held else held) for measure, held in measures.items()}
        for family, measures in POLICY.parts.items()
    }
    found = thresholds(history(1, days=1), replace(POLICY, parts=parts))
    assert found.null_days == 1.0
    for column in COLUMNS:
        measured, lent = (found.rule(hours=hours, family=GENERAL, column=column) for hours in (4, 12))
        assert 1.5 < measured.strength_from < 6
        assert replace(lent, minimum_rows=measured.minimum_rows) == measured  # nothing is known of half a day yet
        assert lent.minimum_rows == min(measured.minimum_rows, FEWEST_AT_LAST)
    assert "by the threshold of a shorter length" in found.whence(12)
    assert found.whence(4) == "alarm budget of 2 pages a day over 1 day, windows of 4 h"


def test_a_slice_that_is_protected_later_meets_no_threshold_of_nothing() -> None:
    windows = history(1)
    source = NullSource(season=Season.POOLED_DAYS)
    none_protected = calibrate(windows, POLICY, 1, columns=COLUMNS, source=source)
    for (hours, family, measure), strength in none_protected.strengths.items():
        if family == PROTECTED:
            assert strength == none_protected.strengths[hours, GENERAL, measure]


def test_protected_slices_without_rows_enough_meet_what_independent_windows_would_ask_for() -> None:
    windows = history(1)
    counts = {name: held.copy() for name, held in windows.counts.items()}
    for held in counts.values():
        held[:, :2] //= 100
    found = thresholds(replace(windows, counts=counts), replace(POLICY, pages_a_day=0.1))
    for hours in POLICY.lengths:
        for measure in Measure:
            share = 0.1 * POLICY.parts[PROTECTED][measure][hours]
            assert found.strengths[hours, PROTECTED, measure] >= strength_of_normals(share, 2 * 24 / hours) > 2.5


def test_the_longest_windows_are_judged_from_fifty_rows_on() -> None:
    longest = {key: rows for key, rows in thresholds(history(1)).minimum_rows.items() if key[0] == 4}
    assert longest
    assert max(longest.values()) <= FEWEST_AT_LAST
    strict = replace(POLICY, worth_judging={family: dict.fromkeys(Measure, 9.0) for family in (GENERAL, PROTECTED)})
    rows = thresholds(history(1), strict).minimum_rows
    assert rows[1, GENERAL, "length"] > rows[4, GENERAL, "length"] == FEWEST_AT_LAST


def test_a_day_of_sessions_shows_its_spread_in_that_day() -> None:
    clustered = thresholds(history(1, copies=4, days=1))
    assert 1.5 < float(clustered.spreads[1, "length"].at(np.array(400))) < 2.6


@pytest.mark.parametrize("days", [0, 1])
def test_under_a_whole_day_there_are_no_thresholds(days: int) -> None:
    windows = history(1, days=1)
    hours = 24 * days - 1 if days else 0
    with pytest.raises(InvalidInput, match="whole days"):
        thresholds(replace(windows, counts={name: held[:hours] for name, held in windows.counts.items()}))


def test_counts_of_other_slices_are_named() -> None:
    windows = history(1)
    with pytest.raises(InvalidInput, match="do not fit"):
        thresholds(replace(windows, counts={**windows.counts, "topic": windows.counts["topic"][:, :3]}))


@pytest.mark.parametrize(
    "policy", [{"pages_a_day": 0.0}, {"parts": {**SPENT, SHARES: {}}}, {"parts": {**SPENT, SHARES: {Measure.RATE: {1: 0.4}}}}]
)
def test_a_budget_that_does_not_add_up_is_refused(policy: dict[str, object]) -> None:
    with pytest.raises(InvalidInput):
        BudgetPolicy(**policy)  # type: ignore[arg-type]


def test_a_slice_without_a_row_and_one_with_a_single_value_calibrate() -> None:
    windows = history(1)
    counts = {name: held.copy() for name, held in windows.counts.items()}
    for held in counts.values():
        held[:, 3] = 0
        held[:, 4] = 0
        held[:, 4, 0] = 7
    found = thresholds(replace(windows, counts=counts))
    assert all(np.isfinite(strength) and strength > 0 for strength in found.strengths.values())


@given(st.floats(1e-12, 1 - 1e-12), st.booleans())
def test_strength_and_probability_are_each_others_way_back(p: float, one_sided: bool) -> None:
    back = probability_all(strength_all(np.float64(p), one_sided=one_sided), one_sided=one_sided)
    assert float(back) == pytest.approx(p, rel=1e-6)


def test_strength_is_the_normals() -> None:
    assert float(strength_all(np.float64(0.0228), one_sided=True)) == pytest.approx(norm.isf(0.0228))
    assert float(strength_all(np.float64(0.05), one_sided=False)) == pytest.approx(1.96, abs=0.001)


@settings(max_examples=40)
@given(st.floats(1e-9, 0.4), st.floats(1, 9), st.floats(0, 1e-2), st.integers(1, 10_000))
def test_a_wider_spread_never_makes_evidence_stronger(p: float, apart: float, per_row: float, n: int) -> None:
    assert float(tempered_all(np.float64(p), np.array(n), Spread(apart=apart, per_row=per_row), one_sided=True)) >= p * (1 - 1e-6)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(0, 40), min_size=12, max_size=12), st.lists(st.integers(0, 40), min_size=12, max_size=12))
def test_the_quick_effect_is_the_tests_own(now: list[int], before: list[int]) -> None:
    for column, bins in ((NUMBER, 4), (TOPIC, 3), (REFUSAL, 2)):
        current, reference = (np.asarray(held).reshape(-1, 12)[:, : bins * 2].reshape(2, bins) for held in (now, before))
        seen = (current.sum(axis=-1) > 0) & (reference.sum(axis=-1) > 0)
        assert effect_all(current, reference, column)[seen] == pytest.approx(evidence_all(current, reference, column)[1][seen])


def test_a_slice_of_more_sessions_than_rows_apart_waits_for_more_rows() -> None:
    change = SmallestChange(sigma=0.3, variation=0.1, rate=0.03)
    rows = [
        rows_worth_judging(change=change, measure=Measure.RATE, base_rate=0.03, spread=Spread(apart=apart), worth=3.0)
        for apart in (1.0, 2.4)
    ]
    assert rows[1] == pytest.approx(2.4 * rows[0], rel=0.01)
