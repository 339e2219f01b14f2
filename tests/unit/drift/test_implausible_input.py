"""What cannot be is refused by name before anything is judged; what is empty or constant is judged and keeps its status."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest

from flywheel.drift.budget import (
    GENERAL,
    PROTECTED,
    SHARES,
    BudgetPolicy,
    SmallestChange,
    Spread,
    Thresholds,
    probability_all,
    strength_all,
)
from flywheel.drift.closing import closing_edge
from flywheel.drift.edges import coarsened, starts_all
from flywheel.drift.embedding import EmbeddingBudget, judge_embeddings
from flywheel.drift.embedding_reference import EmbeddingPolicy, pin_embeddings
from flywheel.drift.incident import Clearing
from flywheel.drift.limits import limits_for
from flywheel.drift.null_runs import NullSource, ReferenceWindows, calibrate
from flywheel.drift.profile import Profile, by_hour
from flywheel.drift.reference import Maturity, PinningPolicy, in_force, pin, pinning_due, thresholds_of
from flywheel.drift.seasons import SeasonPolicy, pooled_days, profile_of, sliding_sums
from flywheel.drift.statistics import binned_ks_all, mid_p_all, wasserstein_all
from flywheel.drift.threshold_values import thresholds_from_values, thresholds_to_values
from flywheel.drift.verdict import DriftPolicy, DriftStatus, judge, judge_shares
from flywheel.errors import InvalidInput
from flywheel.ids import BASE, AdapterName, EventId, WorkloadId
from flywheel.traffic.column import Measure
from flywheel.windows.assign import WindowPolicy
from flywheel.windows.pane import Tally, WindowCounts
from tests.watching import FEW, MARIA, NOON, REFUSAL, ROUTER, reference_of, some_rows, verdict, window_counts

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
NAIVE = datetime(2026, 3, 1, 12, 0)
NAN, HALF = float("nan"), "\ud800"
NO_NUMBER = (-1, NAN, float("inf"), 10**400, True, None, "x")
NO_COUNT = (*NO_NUMBER, 1.5, 2**53 + 1)
PERIOD = window_counts(some_rows(400, seed=2), start=NOON - DAY, minutes=24 * 60)
WINDOW = window_counts(some_rows(200))


def only(hours: int) -> dict[str, dict[Measure, dict[int, float]]]:
    return {
        GENERAL: {one: {hours: 0.15} for one in Measure},
        PROTECTED: {one: {hours: 0.15} for one in Measure},
        SHARES: {Measure.RATE: {hours: 0.1}},
    }


ONE_LENGTH = BudgetPolicy(parts=only(1))


def pinned(**changes: object) -> object:
    held: dict[str, object] = {"counts": PERIOD, "adapter": BASE, "by": MARIA, "now": NOON, "whole_day": DAY}
    return pin(**{**held, **changes})  # type: ignore[arg-type]


def own_windows(counts: object = 5, *, hours: int = 48, slices: tuple[str, ...] = ("all",), first_hour: int = 0) -> ReferenceWindows:
    array = np.full((hours, len(slices), 2), counts)
    return ReferenceWindows(first_hour=first_hour, slices=slices, counts={"refusal": array})


def calibrated(windows: ReferenceWindows, *, policy: BudgetPolicy = ONE_LENGTH, seed: int = 1) -> Thresholds:
    return calibrate(windows, policy, seed, columns=(REFUSAL,))


# What a reference is pinned on


@pytest.mark.parametrize("rows", NO_COUNT)
@pytest.mark.parametrize("name", ["all", "tenant=acme"])
def test_a_reference_of_rows_that_cannot_be_is_not_pinned(name: str, rows: int) -> None:
    with pytest.raises(InvalidInput):
        pinned(counts=replace(PERIOD, rows={**PERIOD.rows, name: rows}))


@pytest.mark.parametrize("count", [-1, 1.5, NAN, 2**62, 10**400, None, "x"])
def test_a_reference_of_counts_that_cannot_be_is_not_pinned(count: object) -> None:
    counts = {**PERIOD.counts, "all": {"refusal": np.array([count, 0, 0, 0])}}
    with pytest.raises(InvalidInput, match="slice 'all', column refusal"):
        pinned(counts=replace(PERIOD, counts=counts))


def test_the_id_of_a_reference_follows_from_its_rows_too() -> None:
    more = replace(PERIOD, rows={**PERIOD.rows, "all": PERIOD.rows["all"] + 1})
    one, other = (
        pin(counts=PERIOD, adapter=BASE, by=MARIA, now=NOON, whole_day=DAY),
        pin(counts=more, adapter=BASE, by=MARIA, now=NOON, whole_day=DAY),
    )
    assert one.id != other.id


@pytest.mark.parametrize(
    "changes",
    [
        {"now": NAIVE},
        {"counts": replace(PERIOD, start=NAIVE)},
        {"counts": replace(PERIOD, end=PERIOD.start)},
        {"whole_day": timedelta()},
        {"whole_day": 5},
        {"by": ""},
        {"adapter": AdapterName(HALF)},
        {"counts": replace(PERIOD, workload=WorkloadId(HALF))},
        {"counts": replace(PERIOD, rows={**PERIOD.rows, HALF: 1})},
        {"columns": (REFUSAL, REFUSAL)},
    ],
)
def test_a_reference_of_times_and_names_that_cannot_be_is_not_pinned(changes: dict[str, object]) -> None:
    with pytest.raises(InvalidInput):
        pinned(**changes)


def test_a_stored_reference_that_says_what_nobody_knows_is_named() -> None:
    held = reference_of(PERIOD)
    with pytest.raises(InvalidInput, match="reference reference-1: nobody knows"):
        in_force([replace(held, meta={"covers": "x"})], champion=None)
    with pytest.raises(InvalidInput, match="no thresholds"):
        thresholds_of(replace(held, meta={"thresholds": [1]}))
    with pytest.raises(InvalidInput, match="no time zone"):
        replace(held, pinned_at=NAIVE)
    with pytest.raises(InvalidInput, match="counts belong to router"):
        replace(held, workload=WorkloadId("desk"))


# Judging


@pytest.mark.parametrize(
    "changes",
    [
        {"window": replace(WINDOW, start=NAIVE)},
        {"now": NAIVE},
        {"window": replace(WINDOW, rows={**WINDOW.rows, HALF: 1})},
        {"window": replace(WINDOW, rows={**WINDOW.rows, None: 1})},
        {"window": replace(WINDOW, rows={**WINDOW.rows, "all": 2**53 + 1})},
        {"window": replace(WINDOW, rows={**WINDOW.rows, "all": 10**400})},
        {"columns": (REFUSAL, REFUSAL)},
        {"columns": (replace(REFUSAL, worse="maybe"),)},
    ],
)
def test_a_window_that_cannot_be_is_not_judged(changes: dict[str, object]) -> None:
    held: dict[str, object] = {"window": WINDOW, "reference": reference_of(PERIOD), "columns": FEW, "policy": DriftPolicy(), "now": NOON}
    with pytest.raises(InvalidInput):
        judge(**{**held, **changes})  # type: ignore[arg-type]


def test_shares_are_not_compared_with_those_of_another_workload() -> None:
    desk = WorkloadId("desk")
    other = replace(reference_of(PERIOD), workload=desk, counts=replace(PERIOD, workload=desk))
    with pytest.raises(InvalidInput, match="belongs to desk"):
        judge_shares(window=WINDOW, reference=other, policy=DriftPolicy(), now=NOON + HOUR)


@pytest.mark.parametrize("value", NO_NUMBER[1:])
@pytest.mark.parametrize("field", ["score", "threshold", "effect", "effect_floor"])
def test_a_verdict_never_holds_what_is_neither_over_nor_under_a_limit(field: str, value: object) -> None:
    if value is None:
        assert getattr(replace(verdict(DriftStatus.OK), **{field: None}), field) is None
        return
    with pytest.raises(InvalidInput, match=f"prompt_chars of 'all': {field}"):
        replace(verdict(DriftStatus.OK), **{field: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("length", [timedelta(), -HOUR, 5])
def test_limits_are_of_windows_with_a_length(length: timedelta) -> None:
    with pytest.raises(InvalidInput, match="a window has a length"):
        limits_for(policy=DriftPolicy(), thresholds=None, length=length, slices=("all",), columns=FEW)


@pytest.mark.parametrize(
    "ask",
    [
        lambda: closing_edge(newest=NAIVE, now=NOON, policy=WindowPolicy()),
        lambda: closing_edge(newest=datetime.max.replace(tzinfo=UTC), now=NOON, policy=WindowPolicy()),
        lambda: by_hour([replace(WINDOW, start=NAIVE, end=NAIVE + HOUR)]),
        lambda: pinning_due(
            inputs=None,
            outputs=None,
            champion_alone_since=None,
            first_seen=NAIVE,
            newest=NOON,
            policy=PinningPolicy(whole_day=DAY, watch=HOUR),
        ),
    ],
)
def test_times_without_a_zone_or_outside_of_the_calendar_are_refused(ask: Callable[[], object]) -> None:
    with pytest.raises(InvalidInput, match=r"no time zone|outside of the calendar"):
        ask()


# Policies


@pytest.mark.parametrize(
    "make",
    [
        lambda value: BudgetPolicy(pages_a_day=value),
        lambda value: BudgetPolicy(cautious=value),
        lambda value: BudgetPolicy(changes=value),
        lambda value: BudgetPolicy(worth_judging={GENERAL: value, PROTECTED: 1.0}),
        lambda value: BudgetPolicy(parts={**only(1), SHARES: {Measure.RATE: {1: value}}}),
        lambda value: SmallestChange(sigma=0.3, variation=value, rate=0.03),
        lambda value: Spread(apart=value),
        lambda value: Clearing(strength=value) if value is not None else Clearing(strength=NAN),
        lambda value: SeasonPolicy(neighbours=value),
        lambda value: NullSource(days=value if value is not None else 0),
        lambda value: DriftPolicy(p_below=value),
        lambda value: DriftPolicy(minimum_rows=value),
        lambda value: PinningPolicy(whole_day=DAY, watch=HOUR, stages=(1, value)),
        lambda value: EmbeddingPolicy(fewest_rows=value),
        lambda value: EmbeddingPolicy(novelty_tail=value),
        lambda value: EmbeddingPolicy(most_rows=value),
    ],
)
@pytest.mark.parametrize("value", NO_NUMBER)
def test_a_policy_of_no_number_is_refused(make: Callable[[object], object], value: object) -> None:
    with pytest.raises(InvalidInput):
        make(value)


@pytest.mark.parametrize(
    "policy",
    [
        {"pages_a_day": 0},
        {"parts": {}},
        {"parts": {GENERAL: 1.0, PROTECTED: 0.0, SHARES: 0.0}},
        {"parts": only(0)},
        {"parts": {**only(1), SHARES: {Measure.RATE: 0.1}}},
        {"parts": {**only(1), SHARES: {Measure.RATE: {1: 0.2}}}},
        {"parts": {**only(1), SHARES: {Measure.RATE: {1: 1.1, 2: -1.0}}}},
        {"parts": {**only(1), SHARES: {Measure.NUMBER: {1: 0.1}}}},
    ],
)
def test_a_budget_that_cannot_be_spent_is_refused(policy: dict[str, object]) -> None:
    with pytest.raises(InvalidInput, match="alarm budget"):
        BudgetPolicy(**policy)  # type: ignore[arg-type]


# Thresholds


@pytest.mark.parametrize("windows", [own_windows(0), own_windows(5), own_windows(1, slices=("all", "tenant=a"))])
def test_a_reference_without_rows_or_with_one_value_calibrates_to_finite_thresholds(windows: ReferenceWindows) -> None:
    assert all(1.5 <= strength < 40 for strength in calibrated(windows).strengths.values() if strength != 0)


@pytest.mark.parametrize(
    ("windows", "said"),
    [
        (own_windows(-1), "negative"),
        (own_windows(1.5), "whole numbers"),
        (own_windows(NAN), "whole numbers"),
        (own_windows(2**60), "above 9007199254740992"),
        (own_windows(hours=1), "whole days"),
        (own_windows(slices=()), "no slice"),
        (own_windows(slices=("all", "all")), "twice"),
        (own_windows(first_hour=NAN), "first hour"),  # type: ignore[arg-type]
        (replace(own_windows(), counts={"refusal": np.ones((48, 1, 1), dtype=int)}), "needs 2"),
        (replace(own_windows(), counts={"refusal": [[[1, 2]]]}), "in an array"),
    ],
)
def test_own_windows_that_cannot_be_are_not_calibrated_on(windows: ReferenceWindows, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        calibrated(windows)


def test_a_period_that_does_not_hold_the_shortest_window_four_times_is_not_calibrated_on() -> None:
    with pytest.raises(InvalidInput, match="under 4 times"):
        calibrated(own_windows(), policy=BudgetPolicy(parts=only(49)))


@pytest.mark.parametrize("seed", [-1, 1.5, NAN, None])
def test_a_seed_is_a_whole_number(seed: int) -> None:
    with pytest.raises(InvalidInput, match="seed"):
        calibrated(own_windows(), seed=seed)


@pytest.mark.parametrize("value", NO_NUMBER)
@pytest.mark.parametrize(
    "broken",
    [
        lambda value: {"pages_a_day": value},
        lambda value: {"seed": value},
        lambda value: {"strengths": [[1, GENERAL, "rate", value]]},
        lambda value: {"strengths": [[value, GENERAL, "rate", 3.0]]},
        lambda value: {"spreads": [[1, "refusal", value, 0.0]]},
        lambda value: {"minimum_rows": [[1, GENERAL, "refusal", value]]},
        lambda value: {"floors": [[GENERAL, "rate", value]]},
    ],
)
def test_stored_thresholds_out_of_range_are_refused(broken: Callable[[object], Mapping[str, object]], value: object) -> None:
    with pytest.raises(InvalidInput):
        thresholds_from_values({**thresholds_to_values(calibrated(own_windows())), **broken(value)})


def test_stored_thresholds_that_lost_a_part_name_what_is_missing() -> None:
    held = thresholds_from_values({**thresholds_to_values(calibrated(own_windows())), "floors": []})
    with pytest.raises(InvalidInput, match="no threshold was calibrated"):
        held.rule(hours=1, family=GENERAL, column=REFUSAL)


# Arrays


@pytest.mark.parametrize(
    "counts", [np.array(3), np.array([-1, 2]), np.array([1.5, 2]), np.array([NAN, 1]), np.array(["a"]), np.array([2**60, 1])]
)
def test_arrays_that_are_no_counts_are_refused(counts: np.ndarray) -> None:
    for ask in (starts_all, lambda held: binned_ks_all(held, held), lambda held: profile_of(np.resize(held, 24), first_hour=0)):
        if counts.ndim == 0 and ask is not starts_all:
            continue
        with pytest.raises(InvalidInput):
            ask(counts)


@pytest.mark.parametrize(
    "ask",
    [
        lambda: binned_ks_all(np.ones((2, 3), dtype=int), np.ones((3, 3), dtype=int)),
        lambda: binned_ks_all(np.array(3), np.array(3)),
        lambda: mid_p_all(np.array(2**60), np.array(2**61), np.array(1), np.array(2), one_sided=False),
        lambda: wasserstein_all(np.array([1, 2]), np.array([2, 1]), widths=np.array([NAN])),
        lambda: coarsened(np.array([1, 2, 3]), (2, 0)),
        lambda: coarsened(np.array([1, 2, 3]), (0, 9)),
        lambda: coarsened(np.array([1, 2, 3]), (1,)),
        lambda: coarsened(np.array([1, 2, 3]), (0, NAN)),  # type: ignore[arg-type]
        lambda: starts_all(np.array([1, 2]), bins=0),
        lambda: starts_all(np.array([], dtype=int)),
        lambda: sliding_sums(np.ones(30, dtype=int), 0),
        lambda: pooled_days(np.ones(48, dtype=int), length=1, days=0),
        lambda: strength_all(np.array([NAN]), one_sided=False),
        lambda: probability_all(np.array([NAN]), one_sided=False),
    ],
)
def test_arrays_that_do_not_fit_are_refused(ask: Callable[[], object]) -> None:
    with pytest.raises(InvalidInput):
        ask()


# Profiles


@pytest.mark.parametrize("cell", [(2, 0), (0, 24), (0, 1.5), (0, NAN)])
def test_a_profile_has_cells_of_two_kinds_of_day_and_of_24_hours(cell: tuple[int, int]) -> None:
    with pytest.raises(InvalidInput, match="profile"):
        Profile(cells={cell: Tally(counts={}, rows={"all": 1})})


def test_a_profile_is_of_one_workload() -> None:
    with pytest.raises(InvalidInput, match="belong to router"):
        by_hour([WINDOW, replace(WINDOW, workload=WorkloadId("desk"))])


def test_an_hour_is_that_of_utc_whatever_zone_its_window_is_given_in() -> None:
    zone = timezone(timedelta(hours=5, minutes=30))
    there: WindowCounts = replace(WINDOW, start=WINDOW.start.astimezone(zone), end=WINDOW.end.astimezone(zone))
    assert by_hour([there]).cells.keys() == by_hour([WINDOW]).cells.keys()


# Embeddings

VECTORS = np.random.default_rng(0).normal(size=(40, 4))
IDS = tuple(EventId(f"e{place}") for place in range(len(VECTORS)))


@pytest.mark.parametrize(
    "changes",
    [
        {"start": NAIVE},
        {"now": NAIVE},
        {"end": NOON - 2 * DAY},
        {"ids": tuple(range(40))},
        {"ids": tuple(f"{HALF}{place}" for place in range(40))},
        {"sessions": [None] * 40},
        {"windows": [HALF] * 40},
        {"vectors": [[1.0], [1.0, 2.0]]},
        {"vectors": np.where(np.arange(4) == 2, NAN, VECTORS)},
        {"workload": WorkloadId("")},
    ],
)
def test_an_embedding_reference_of_what_cannot_be_is_not_pinned(changes: dict[str, object]) -> None:
    held: dict[str, object] = {"vectors": VECTORS, "ids": IDS, "workload": ROUTER, "start": NOON - DAY, "end": NOON, "now": NOON}
    with pytest.raises(InvalidInput):
        pin_embeddings(**{**held, "maturity": Maturity.POOLED_DAYS, "policy": EmbeddingPolicy(fewest_rows=10), **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "changes",
    [
        {"now": NAIVE},
        {"window_start": NAIVE},
        {"vectors": None},
        {"vectors": np.array(3.0)},
        {"vectors": VECTORS[:0]},
        {"ids": [HALF] * 40},
        *({"budget": EmbeddingBudget(pages_a_day=value)} for value in (0, *NO_NUMBER)),  # type: ignore[arg-type]
        *({"budget": EmbeddingBudget(dealings=value)} for value in (0, *NO_NUMBER)),  # type: ignore[arg-type]
        *({"budget": EmbeddingBudget(windows_a_day=value)} for value in (0, *NO_NUMBER)),  # type: ignore[arg-type]
    ],
)
def test_embeddings_of_what_cannot_be_are_not_judged(changes: dict[str, object]) -> None:
    held: dict[str, object] = {"vectors": VECTORS, "ids": IDS, "workload": ROUTER, "window_start": NOON, "window_end": NOON + HOUR}
    with pytest.raises(InvalidInput):
        judge_embeddings(**{**held, "reference": None, "now": NOON, "budget": EmbeddingBudget(), **changes})  # type: ignore[arg-type]
