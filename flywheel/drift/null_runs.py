"""How often do the reference's own windows look like drift?

In: hourly counts of the reference's whole days, the columns, the protected slices, the policy, a seed. Out: ``Thresholds``. Each window
of the period is judged against the rest of it, exactly as a later window would be; what its evidence reaches, and how often, is the
null; ``null_tail`` says from which strength on it is as rare as agreed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from flywheel.drift.budget import (
    FAMILIES,
    GENERAL,
    PROTECTED,
    SHARE_COLUMN,
    SHARES,
    TIMES_OVER,
    BudgetPolicy,
    SmallestChange,
    Spread,
    Thresholds,
    evidence_all,
    floor_of,
    rows_worth_judging,
    standing_strength,
    strength_all,
)
from flywheel.drift.null_tail import STEPS, episodes_of, relied_on, strength_for, strength_of_normals, too_often
from flywheel.drift.seasons import (
    FARTHEST_HOUR,
    HOURS_A_DAY,
    Season,
    SeasonPolicy,
    like_hours,
    pooled_days,
    profile_of,
    sliding_sums,
    times_seen,
)
from flywheel.drift.statistics import Numbers
from flywheel.errors import InvalidInput
from flywheel.plausible import check_names, check_whole
from flywheel.traffic.column import Column, Measure
from flywheel.windows.pane import Counts
from flywheel.windows.plausible_counts import check_columns, check_counts

Key = TypeVar("Key", bound=tuple[int, *tuple[object, ...]])
Held = TypeVar("Held")

RUNS = 100  # of days drawn with replacement
A_FEW = 12  # slices looked at without the floor
LIKE = 20  # slices of its size stand for a protected one
FEWEST_AT_LAST = 50  # rows from which the longest windows are judged whatever they can tell: no longer one comes
SPREAD_ROUNDS = 3
LEAST_APART, LEAST_APART_OF_FIRSTS = 1.0, 0.25  # rows scatter no less than chance makes them; firsts do, being one a session at most
SAMPLED = 20_000  # windows from which a spread is measured
FEWEST_HITS = 1.0  # a window, at which firsts scatter enough to say how much
FEWEST_WINDOWS = 1_000  # under which the tail of the strengths is not looked at
TAIL, TAIL_ONE_SIDED, TAIL_TWO_SIDED = 0.98, 2.054, 2.326  # a normal's own strength there: the tail matters, not the middle
USUAL_SHARE = 0.2  # of a slice that somebody would miss; says how many rows are worth looking at
FEWEST_ROWS = 20  # under which a window's evidence is too coarse for that


@dataclass(frozen=True, kw_only=True)
class ReferenceWindows:
    """``counts[column]`` is [hours, slices, bins] of values; the first hour counts from the epoch, and whole days follow.

    ``counts["share"]``, where it is given, holds for each slice [rows of all others, its own rows]; zeroes for the traffic as a whole.
    """

    first_hour: int
    slices: tuple[str, ...]
    counts: Mapping[str, Counts]

    @property
    def hours(self) -> int:
        return len(next(iter(self.counts.values()))) if self.counts else 0


@dataclass(frozen=True, kw_only=True)
class NullSource:
    """How a later window will meet the reference: by the hour or pooled, and from how many whole days.

    None: each window meets all the other days. A number: it meets so many days before its own block or day, as it will when an
    adapter's reference is younger than the workload's records.
    """

    season: Season = Season.HOUR_OF_DAY
    days: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.season, Season):
            raise InvalidInput("there is no such season", where="null runs", value=str(self.season), remedy="Give a Season.")
        if self.days is not None:
            check_whole(self.days, where="null runs: days of the reference", least=1)


def calibrate(
    reference_windows: ReferenceWindows,
    policy: BudgetPolicy,
    seed: int,
    *,
    columns: Sequence[Column],
    protected: Sequence[str] = (),
    source: NullSource | None = None,
    seasons: SeasonPolicy | None = None,
) -> Thresholds:
    """Raises InvalidInput for less than a whole day, or counts of another number of slices or hours.

    A window length is measured where the period holds ``TIMES_OVER`` such windows; longer ones go by the longest that was measured.
    """
    _check(reference_windows, columns, policy)
    check_whole(seed, where="null runs: seed")
    check_names(protected, where="null runs: protected")
    source, seasons = source or NullSource(), seasons or SeasonPolicy()
    shielded = np.isin(np.asarray(reference_windows.slices), np.asarray(tuple(protected) or ("",)))
    chance = np.random.default_rng(seed)
    days = reference_windows.hours // HOURS_A_DAY
    draws = chance.multinomial(days, np.full(days, 1 / days), size=RUNS)
    spreads: dict[tuple[int, str], Spread] = {}
    minimum_rows: dict[tuple[int, str, str], int] = {}
    episodes: dict[tuple[int, str, Measure], NDArray[np.int64]] = {}
    own: dict[tuple[int, str, Measure], NDArray[np.int64]] = {}  # of the protected slices alone
    apart: dict[tuple[int, str, Measure], float] = {}  # windows a day that do not overlap
    free: dict[tuple[int, str, Measure], Numbers] = {}
    floors = {(family, measure): policy.changes[family].floor(measure) for family in FAMILIES for measure in Measure}
    measured = [length for length in policy.lengths if length * TIMES_OVER <= reference_windows.hours]
    for length in measured:
        for column in columns:
            now, before = _against_the_rest(reference_windows, column, length, source, seasons)
            spread = _measured_spread(now, before, column, chance)
            spreads[length, column.name] = spread
            for family, members in ((GENERAL, np.flatnonzero(~shielded)), (PROTECTED, _like_sized(now, shielded))):
                fewest = rows_worth_judging(
                    change=policy.changes[family],
                    measure=column.measure,
                    base_rate=_base_rate(reference_windows, column),
                    spread=spread,
                    worth=policy.worth_judging[family][column.measure],
                    firsts=bool(column.first_of),
                )
                if length == max(policy.lengths):
                    fewest = min(fewest, FEWEST_AT_LAST)
                minimum_rows[length, family, column.name] = fewest
                strength = standing_strength(
                    now[:, members],
                    before[:, members],
                    column,
                    spread=spread,
                    floor=floor_of(floors, family, column),
                    minimum_rows=fewest,
                )
                counted = episodes_of(strength, days)
                key = (length, family, column.measure)
                if family == PROTECTED:
                    own[key] = own.get(key, 0) + episodes_of(strength[:, shielded[members]], days)
                    judged = days * HOURS_A_DAY * int(shielded.sum())  # whichever of them has rows enough one day
                else:
                    judged = int((now[:, members].sum(axis=-1) * 2 >= fewest).sum())  # traffic may double
                apart[key] = apart.get(key, 0.0) + judged / length / days
                episodes[key] = episodes.get(key, 0) + counted
                free[key] = free.get(key, 0) + _without_floor(now[:, members], before[:, members], column, spread, fewest, days, chance)
    if SHARE_COLUMN.name in reference_windows.counts:
        of_shares = _of_shares(reference_windows, policy, measured, source, seasons, seed)
        spreads |= of_shares.spreads
        minimum_rows |= of_shares.minimum_rows
        episodes |= of_shares.episodes
        free |= of_shares.free
        floors[SHARES, Measure.RATE] = policy.share_floor
    strengths = {}
    looked_at = _part_with_a_like(reference_windows, columns[0], source, seasons) if columns else 1.0
    for key, by_day in episodes.items():
        share = policy.share(key[1], key[2], key[0]) * looked_at  # what the other hours would have shown, nobody knows
        many = LIKE if key in own else 1
        least = strength_for(share * many, relied_on(by_day, free[key]), draws, policy.cautious)
        if key in own and too_often(least, own[key], share):
            least = max(least, strength_for(share, relied_on(own[key], free[key] / LIKE), draws, policy.cautious))
        strengths[key] = max(least, strength_of_normals(share, apart.get(key, 0.0)))
    if not shielded.any():  # nothing says what a slice that is protected later does by chance
        strengths |= {key: strengths[key[0], GENERAL, key[2]] for key in own}
    longer = [length for length in policy.lengths if length not in measured]
    return Thresholds(
        strengths=_lent(strengths, longer),
        spreads=_lent(spreads, longer),
        minimum_rows=_judged_at_last(_lent(minimum_rows, longer), max(policy.lengths)),
        floors=floors,
        pages_a_day=policy.pages_a_day,
        null_days=float(days),
        seed=seed,
    )


def _lent(held: Mapping[Key, Held], longer: Sequence[int]) -> dict[Key, Held]:
    """What was measured, keys beginning with the hours of a window; and for longer windows that of the longest which was."""
    most = max((key[0] for key in held), default=0)
    return {**held, **{(hours, *key[1:]): value for hours in longer for key, value in held.items() if key[0] == most}}  # type: ignore[misc]


def _judged_at_last(rows: Mapping[tuple[int, str, str], int], longest: int) -> dict[tuple[int, str, str], int]:
    return {key: min(least, FEWEST_AT_LAST) if key[0] == longest and key[1] != SHARES else least for key, least in rows.items()}


def _like_sized(now: Counts, shielded: NDArray[np.bool_]) -> NDArray[np.intp]:
    """For each protected slice ``LIKE`` slices of about its size, itself first: a few slices alone never show what happens once a month.

    Where there are fewer, they are taken again and again, so that each protected slice counts the same.
    """
    size = now.sum(axis=(0, 2), dtype=np.float64)
    found = []
    for one in np.flatnonzero(shielded):
        apart = np.abs(np.log((size + 1) / (size[one] + 1)))
        nearest = np.argsort(apart, kind="stable")[:LIKE]
        others = nearest[(nearest != one) & (apart[nearest] <= np.log(2))]
        found.append(np.resize(np.concatenate([[one], others]), LIKE))
    return np.concatenate(found) if found else np.zeros(0, dtype=np.intp)


@dataclass(frozen=True, kw_only=True)
class _Null:
    """What the reference's own windows show; gathered column by column."""

    spreads: dict[tuple[int, str], Spread] = field(default_factory=dict)
    minimum_rows: dict[tuple[int, str, str], int] = field(default_factory=dict)
    episodes: dict[tuple[int, str, Measure], NDArray[np.int64]] = field(default_factory=dict)
    free: dict[tuple[int, str, Measure], Numbers] = field(default_factory=dict)  # without a floor


def _of_shares(
    windows: ReferenceWindows, policy: BudgetPolicy, measured: Sequence[int], source: NullSource, seasons: SeasonPolicy, seed: int
) -> _Null:
    """How far the slices' own shares wander, judged like a rate whose rows are all the traffic. With a chance of its own: whether shares
    are calibrated changes no other threshold."""
    found = _Null()
    chance = np.random.default_rng([seed, 1])
    days = windows.hours // HOURS_A_DAY
    smallest = SmallestChange(sigma=1.0, variation=1.0, rate=2 * policy.share_floor)
    for length in measured:
        now, before = _against_the_rest(windows, SHARE_COLUMN, length, source, seasons)
        spread = _measured_spread(now, before, SHARE_COLUMN, chance, by_rows=False)
        fewest = rows_worth_judging(change=smallest, measure=Measure.RATE, base_rate=USUAL_SHARE, spread=spread, worth=1.0)
        key = (length, SHARES, Measure.RATE)
        found.spreads[length, SHARE_COLUMN.name] = spread
        found.minimum_rows[length, SHARES, SHARE_COLUMN.name] = fewest
        strength = standing_strength(now, before, SHARE_COLUMN, spread=spread, floor=policy.share_floor, minimum_rows=fewest)
        found.episodes[key] = episodes_of(strength, days)
        found.free[key] = _without_floor(now, before, SHARE_COLUMN, spread, fewest, days, chance)
    return found


def _against_the_rest(
    windows: ReferenceWindows, column: Column, length: int, source: NullSource, seasons: SeasonPolicy
) -> tuple[Counts, Counts]:
    """Counts of every window and of what it is compared with, [hours, slices, bins] each; zeroes where there is no whole window."""
    hourly = windows.counts[column.name]
    now = sliding_sums(hourly, length)
    now[: length - 1] = 0
    if source.season is Season.HOUR_OF_DAY:
        before = np.zeros_like(now)
        block = (source.days or 0) * HOURS_A_DAY
        for start in range(block, len(hourly), block or len(hourly)):
            held = slice(start, min(len(hourly), start + (block or len(hourly))))
            first = windows.first_hour + start - block
            profile = profile_of(hourly[start - block : start] if block else hourly, first_hour=first)
            before[held] = like_hours(
                profile,
                first_hour=windows.first_hour + start,
                hours=held.stop - held.start,
                length=length,
                policy=seasons,
                own=None if block else hourly,
                seen=times_seen(first_hour=first, hours=block or len(hourly)),
            )
        return now, before
    return now, pooled_days(hourly, length=length, days=source.days)


def _part_with_a_like(windows: ReferenceWindows, column: Column, source: NullSource, seasons: SeasonPolicy) -> float:
    """Which part of the period's hours has others to be compared with: the only Saturday has none."""
    _, before = _against_the_rest(windows, column, 1, source, seasons)
    return max(1 / len(before), float((before.sum(axis=(1, 2)) > 0).mean()))


def _measured_spread(now: Counts, before: Counts, column: Column, chance: np.random.Generator, *, by_rows: bool = True) -> Spread:
    """From a sample of the windows: thousands tell the spread as well as all of them. ``by_rows``: it may grow with a slice's rows."""
    rows = now.sum(axis=-1)
    hour, member = np.nonzero((rows >= FEWEST_ROWS) & (before.sum(axis=-1) > 0))
    if hour.size > SAMPLED:
        taken = chance.choice(hour.size, SAMPLED, replace=False)
        hour, member = hour[taken], member[taken]
    p, _ = evidence_all(now[hour, member], before[hour, member], column)
    strength, sizes = strength_all(p, one_sided=bool(column.worse)), rows[hour, member]
    if by_rows:
        # Luck of few windows, whose tail nobody looks at, and hits too rare to scatter would make a spread under one: where a reference
        # holds no error at all, the first one would be an alarm.
        shows = column.first_of and strength.size >= FEWEST_WINDOWS and now[hour, member, 1].mean() >= FEWEST_HITS
        least = LEAST_APART_OF_FIRSTS if shows else LEAST_APART
        spread = _fitted_spread(strength, sizes, member, now.shape[1], least=least)
    else:
        spread = Spread(apart=max(1.0, float((strength**2).mean())) if strength.size else 1.0)
    if strength.size < FEWEST_WINDOWS:
        return spread
    high = TAIL_ONE_SIDED if column.worse else TAIL_TWO_SIDED
    wider = max(1.0, float(np.quantile(strength / spread.at(sizes), TAIL)) / high) ** 2
    return Spread(apart=spread.apart * wider, per_row=spread.per_row * wider)


def _fitted_spread(strength: Numbers, rows: Counts, member: NDArray[np.int64], members: int, *, least: float) -> Spread:
    """Least squares of each slice's mean squared strength on its rows, weighted by how well that mean is known."""
    windows = np.bincount(member, minlength=members).astype(np.float64)
    known = windows > 0
    if not known.any():
        return Spread()
    squares = np.bincount(member, weights=strength**2, minlength=members)[known] / windows[known]
    size = np.bincount(member, weights=rows, minlength=members)[known] / windows[known]
    fitted = np.full_like(squares, max(least, float(np.median(squares))))
    apart, per_row = float(fitted[0]), 0.0
    for _ in range(SPREAD_ROUNDS):
        weight = windows[known] / fitted**2
        middle = float((weight * size).sum() / weight.sum())
        height = float((weight * squares).sum() / weight.sum())
        across = float((weight * (size - middle) ** 2).sum())
        per_row = max(0.0, float((weight * (size - middle) * (squares - height)).sum()) / across) if across > 0 else 0.0
        apart = height - per_row * middle
        if apart < least:
            apart, per_row = least, max(0.0, height - least) / middle if middle > 0 else 0.0
        fitted = apart + per_row * size
    return Spread(apart=apart, per_row=per_row)


def _without_floor(
    now: Counts, before: Counts, column: Column, spread: Spread, fewest: int, days: int, chance: np.random.Generator
) -> Numbers:
    """Episodes of a few slices as if there were no floor, for all of them: [days, steps]."""
    members = now.shape[1]
    fit = np.flatnonzero((now.sum(axis=-1) >= fewest).any(axis=0))
    if fit.size == 0:
        return np.zeros((days, len(STEPS)))
    taken = chance.choice(fit, min(fit.size, A_FEW), replace=False)
    strength = standing_strength(now[:, taken], before[:, taken], column, spread=spread, floor=-1.0, minimum_rows=fewest)
    return np.asarray(episodes_of(strength, days) * (min(fit.size, members) / len(taken)))


def _base_rate(windows: ReferenceWindows, column: Column) -> float:
    if column.measure is not Measure.RATE:
        return 0.0
    held = windows.counts[column.name].sum(axis=(0, 1), dtype=np.int64)
    side = column.names.index(column.worse) if column.worse else 1
    return float(held[side] / max(1, held.sum()))


def _check(windows: ReferenceWindows, columns: Sequence[Column], policy: BudgetPolicy) -> None:
    check_names(windows.slices, where="the reference's own windows: slices")
    check_columns(columns, where="null runs")
    for name, counts in windows.counts.items():
        check_counts(counts, where=f"the reference's own windows, column {name}", dimensions=3)
    check_whole(windows.first_hour, where="the reference's own windows: first hour", least=-FARTHEST_HOUR, most=FARTHEST_HOUR)
    if windows.hours < HOURS_A_DAY or windows.hours % HOURS_A_DAY:
        raise InvalidInput(
            "thresholds need whole days, and one at least",
            where="the reference's own windows",
            value=f"{windows.hours} hours from hour {windows.first_hour}",
            remedy="Wait until a day is recorded; until then the policy's fixed numbers hold.",
        )
    if not windows.slices:
        raise InvalidInput("there is no slice", where="the reference's own windows", value=(), remedy="Count all traffic at least.")
    if min(policy.lengths) * TIMES_OVER > windows.hours:
        raise InvalidInput(
            f"the shortest window goes into the period that should say how often it looks like drift under {TIMES_OVER} times",
            where="alarm budget: hours of a window",
            value=min(policy.lengths),
            remedy=f"Give a window length of up to {windows.hours // TIMES_OVER} hours, or a longer period.",
        )
    for column in (*columns, SHARE_COLUMN) if SHARE_COLUMN.name in windows.counts else columns:
        held = windows.counts.get(column.name)
        fewest = 2 if column.measure is Measure.RATE else 1
        if held is not None and held.shape[-1] < fewest:
            raise InvalidInput(
                f"a column has {held.shape[-1]} bins, and its measure needs {fewest}",
                where=f"column {column.name}",
                value=held.shape,
                remedy="Count on the column's own grid.",
            )
        if held is None or held.ndim != 3 or held.shape[:2] != (windows.hours, len(windows.slices)):
            raise InvalidInput(
                "a column's counts do not fit the period's hours and slices",
                where=f"column {column.name}",
                value=None if held is None else held.shape,
                remedy="Count every column on the same hours and slices: [hours, slices, bins].",
            )
