"""How strong must evidence be, so that nobody is called more often than agreed?

In: the reference's own hourly counts, the policy (pages a day), a seed. Out: thresholds for every window length, family of slices and
measure, the smallest slice worth judging at each length, and the spread by which evidence is divided, because rows of one
session are not independent. The verdict itself is made in ``verdict``; how often thresholds are passed by chance is counted in
``null_runs``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flywheel.drift.statistics import Both, Numbers, chi_square_all, mid_p_all, number_all
from flywheel.errors import InvalidInput
from flywheel.plausible import check_number, check_text, check_whole
from flywheel.traffic.column import Column, Family, Measure
from flywheel.windows.pane import Counts

GENERAL, PROTECTED = "general", "protected"
FAMILIES = (GENERAL, PROTECTED)
SHARES = "shares"
"""The family of the thresholds for how much of the traffic each slice holds; it has one column."""
SHARE_COLUMN = Column(name="share", family=Family.SLICE, measure=Measure.RATE, names=("no", "yes"))
"""Of all rows: does the row belong to the slice?"""
PIN_AGAIN = "Pin the reference again, so that thresholds are made for today's columns and window lengths."
TIMES_OVER = 4  # windows of a length, without overlap, under which a period says nothing of their spread
LEAST_P = 1e-300  # the strength of anything rarer is that of this
SHARE_SPREAD = 0.5  # of one name's share at its widest: sqrt(0.5 * 0.5)
FIRSTS_MOVE = 0.5  # of what the rate moves that they are of: in sessions of 8, 1.5 points where rows move by 3
RANKS_KEEP = 0.977  # of a shift in sigma, on normal values: sqrt(3 / pi)


@dataclass(frozen=True, kw_only=True)
class SmallestChange:
    """What somebody would want to be told of. Floors of effects are half of it."""

    sigma: float  # of a number's level
    variation: float  # total variation of names
    rate: float  # difference of rates; of a session's firsts ``FIRSTS_MOVE`` of it

    def __post_init__(self) -> None:
        check_number(self.sigma, where="smallest change: sigma", above=0.0)
        check_number(self.variation, where="smallest change: variation", above=0.0, most=1.0)
        check_number(self.rate, where="smallest change: rate", above=0.0, most=1.0)

    def floor(self, measure: Measure) -> float:
        """In the effect of the measure's test; a level of 1 sigma moves the cumulative share by 0.4 where it is steepest."""
        return {Measure.NUMBER: self.sigma * 0.4, Measure.NAME: self.variation, Measure.RATE: self.rate}[measure] / 2


SPENT: Mapping[str, Mapping[Measure, Mapping[int, float]]] = {
    GENERAL: {
        Measure.NUMBER: {1: 0.008, 2: 0.115, 4: 0.030, 6: 0.008, 12: 0.022, 24: 0.017},
        Measure.NAME: {1: 0.002, 2: 0.014, 4: 0.010, 6: 0.003, 12: 0.005, 24: 0.004},
        Measure.RATE: {1: 0.012, 2: 0.012, 4: 0.135, 6: 0.006, 12: 0.012, 24: 0.010},
    },
    PROTECTED: {
        Measure.NUMBER: {1: 0.005, 2: 0.005, 4: 0.010, 6: 0.200, 12: 0.020, 24: 0.010},
        Measure.NAME: {1: 0.001, 2: 0.001, 4: 0.003, 6: 0.014, 12: 0.008, 24: 0.003},
        Measure.RATE: {1: 0.006, 2: 0.005, 4: 0.010, 6: 0.020, 12: 0.164, 24: 0.010},
    },
    SHARES: {Measure.RATE: {1: 0.005, 2: 0.036, 4: 0.022, 6: 0.003, 12: 0.008, 24: 0.006}},
}
"""Most goes to the length at which the smallest change of a family and measure first shows; the others are there for larger changes, which
need no more than a little, and for smaller ones that last. Half of what columns get is for the few protected slices."""


@dataclass(frozen=True, kw_only=True)
class BudgetPolicy:
    """``pages_a_day`` is the knob; the other numbers say how it is spent."""

    pages_a_day: float = 0.1  # aimed at, so that with luck against us it stays under 0.2
    parts: Mapping[str, Mapping[Measure, Mapping[int, float]]] = field(default_factory=lambda: SPENT)
    """family -> measure -> hours of a window -> its part of the budget; all of them together are 1."""
    share_floor: float = 0.03  # half of what somebody would want to be told of
    changes: Mapping[str, SmallestChange] = field(
        default_factory=lambda: {
            GENERAL: SmallestChange(sigma=0.3, variation=0.10, rate=0.03),
            PROTECTED: SmallestChange(sigma=0.5, variation=0.15, rate=0.05),
        }
    )
    worth_judging: Mapping[str, Mapping[Measure, float]] = field(
        default_factory=lambda: {
            GENERAL: {Measure.NUMBER: 5.0, Measure.NAME: 3.0, Measure.RATE: 3.0},
            PROTECTED: {Measure.NUMBER: 3.0, Measure.NAME: 2.0, Measure.RATE: 2.0},
        }
    )
    """Strength that the smallest change is expected to reach at a length; where it does not, a slice waits for a longer one. Rates wait
    less: where they break they break by far more than the smallest change, and few rows show that."""
    cautious: float = 0.6  # share of seeded null runs whose threshold is not above the one taken

    def __post_init__(self) -> None:
        check_number(self.pages_a_day, where="alarm budget: pages_a_day", above=0.0)
        check_number(self.cautious, where="alarm budget: cautious", most=1.0)
        check_number(self.share_floor, where="alarm budget: share_floor", most=1.0)
        _check_named("parts", self.parts, (*FAMILIES, SHARES))
        total = 0.0
        for family, measures in self.parts.items():
            _check_named(f"parts of {family}", measures, (Measure.RATE,) if family == SHARES else tuple(Measure))
            for measure, lengths in measures.items():
                for length, part in _mapping(f"parts of {family}, {measure}", lengths).items():
                    check_whole(length, where=f"alarm budget: hours of a window, {family}", least=1)
                    check_number(part, where=f"alarm budget: parts of {family}, {measure}", most=1.0)
                    total += part
        if abs(total - 1) > 1e-9:
            raise InvalidInput("parts must add up to 1", where="alarm budget: parts", value=round(total, 6), remedy="Correct the parts.")
        _check_named("changes", self.changes, FAMILIES)
        _check_named("worth_judging", self.worth_judging, FAMILIES)
        for family, worths in self.worth_judging.items():
            _check_named(f"worth_judging of {family}", worths, tuple(Measure))
            for worth in worths.values():
                check_number(worth, where="alarm budget: worth_judging", above=0.0)

    @property
    def lengths(self) -> tuple[int, ...]:
        return tuple(sorted({length for measures in self.parts.values() for held in measures.values() for length in held}))

    def share(self, family: str, measure: Measure, length: int) -> float:
        """Episodes a day."""
        return self.pages_a_day * self.parts[family][measure].get(length, 0.0)


def _mapping(said: str, held: object) -> Mapping[Any, Any]:
    if not isinstance(held, Mapping):
        raise InvalidInput("must be a table", where=f"alarm budget: {said}", value=str(held), remedy="Give a value for each name.")
    return held


def _check_named(said: str, held: object, wanted: Sequence[str]) -> None:
    if set(_mapping(said, held)) != set(wanted):
        raise InvalidInput(
            f"must say something of {', '.join(wanted)}, and of nothing else",
            where=f"alarm budget: {said}",
            value=sorted(map(str, _mapping(said, held))),
            remedy="Name each of them once.",
        )


@dataclass(frozen=True, kw_only=True)
class Spread:
    """How much wider than chance alone the reference's own windows scatter: variance ``apart + per_row * n`` in place of 1.

    ``apart``: sessions (1 + (rows of a session - 1) * ICC); under 1 for a session's firsts, of which each session has one at most.
    ``per_row``: what moves whole windows, such as the hour of the day.
    """

    apart: float = 1.0
    per_row: float = 0.0

    def __post_init__(self) -> None:
        check_number(self.apart, where="spread: apart", above=0.0)
        check_number(self.per_row, where="spread: per_row")

    def at(self, n: Counts) -> Numbers:
        """[...] rows -> [...] standard deviations."""
        return np.sqrt(self.apart + self.per_row * np.asarray(n, dtype=np.float64))


def floor_of(floors: Mapping[tuple[str, Measure], float], family: str, column: Column) -> float:
    """Of the column's effect. Firsts move by a part of what the rate moves that they are of, and so does the floor."""
    return floors[family, column.measure] * (FIRSTS_MOVE if column.first_of else 1.0)


@dataclass(frozen=True, kw_only=True)
class Rule:
    """What decides about one column of one slice at one window length."""

    strength_from: float  # standard deviations, after the spread
    p_below: float  # the same as a p-value, after the spread
    floor: float
    minimum_rows: int
    spread: Spread


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """Made by ``null_runs.calibrate``; kept with the reference it was made from."""

    strengths: Mapping[tuple[int, str, Measure], float]  # (hours, family, measure)
    spreads: Mapping[tuple[int, str], Spread]  # (hours, column)
    minimum_rows: Mapping[tuple[int, str, str], int]  # (hours, family, column)
    floors: Mapping[tuple[str, Measure], float]
    pages_a_day: float
    null_days: float  # days of the reference's own windows behind them
    seed: int

    def __post_init__(self) -> None:
        for hours, name in {(key[0], key[1]) for key in (*self.strengths, *self.spreads, *self.minimum_rows)}:
            check_whole(hours, where="drift thresholds: hours", least=1)
            check_text(name, where="drift thresholds: family or column")
        for family in {key[1] for key in (*self.strengths, *self.minimum_rows)} | {key[0] for key in self.floors}:
            if family not in (*FAMILIES, SHARES):
                raise InvalidInput("there is no such family of slices", where="drift thresholds", value=family, remedy=PIN_AGAIN)
        for strength in self.strengths.values():
            check_number(strength, where="drift thresholds: strength", above=0.0)
        for rows in self.minimum_rows.values():
            check_whole(rows, where="drift thresholds: minimum_rows")
        for floor in self.floors.values():
            check_number(floor, where="drift thresholds: floor", most=1.0)
        check_number(self.pages_a_day, where="drift thresholds: pages_a_day", above=0.0)
        check_number(self.null_days, where="drift thresholds: null_days", above=0.0)
        check_whole(self.seed, where="drift thresholds: seed")

    def whence(self, hours: int) -> str:
        """Whose limits these are, for a verdict's evidence."""
        days = f"{self.null_days:g} day" + ("" if self.null_days == 1 else "s")
        lent = "" if hours * TIMES_OVER <= self.null_days * 24 else ", by the threshold of a shorter length"
        return f"alarm budget of {self.pages_a_day:g} pages a day over {days}, windows of {hours} h{lent}"

    def rule(self, *, hours: int, family: str, column: Column) -> Rule:
        """Raises InvalidInput for a length or column that was not calibrated."""
        key = (hours, family, column.measure)
        if (
            key not in self.strengths
            or (hours, column.name) not in self.spreads
            or (hours, family, column.name) not in self.minimum_rows
            or (family, column.measure) not in self.floors
        ):
            raise InvalidInput(
                "no threshold was calibrated for this window length and column",
                where="drift thresholds",
                value=f"{hours} h, {family}, {column.name}",
                remedy=PIN_AGAIN,
            )
        strength = self.strengths[key]
        return Rule(
            strength_from=strength,
            p_below=float(probability_all(np.asarray(strength), one_sided=bool(column.worse))),
            floor=floor_of(self.floors, family, column),
            minimum_rows=self.minimum_rows[hours, family, column.name],
            spread=self.spreads[hours, column.name],
        )


def evidence_all(current: Counts, reference: Counts, column: Column) -> Both:
    """[..., B] and [..., B] values of one column (no OTHER of numbers and rates, no MISSING) -> p[...], effect[...], by its measure."""
    if column.measure is Measure.NUMBER:
        return number_all(current, reference)
    if column.measure is Measure.NAME:
        return chi_square_all(current, reference)
    side = column.names.index(column.worse) if column.worse else 1
    return mid_p_all(current[..., side], current.sum(axis=-1), reference[..., side], reference.sum(axis=-1), one_sided=bool(column.worse))


def effect_all(current: Counts, reference: Counts, column: Column) -> Numbers:
    """The effects of ``evidence_all`` alone, at a tenth of its cost."""
    n, m = (np.maximum(1, counts.sum(axis=-1, keepdims=True)) for counts in (current, reference))
    if column.measure is Measure.RATE:
        side = column.names.index(column.worse) if column.worse else 1
        difference: Numbers = current[..., side] / n[..., 0] - reference[..., side] / m[..., 0]
        return difference if column.worse else np.abs(difference)
    if column.measure is Measure.NAME:
        return np.asarray(np.abs(current / n - reference / m).sum(axis=-1) / 2)
    return np.asarray(np.abs(np.cumsum(current, axis=-1) / n - np.cumsum(reference, axis=-1) / m).max(axis=-1))


def standing_strength(current: Counts, reference: Counts, column: Column, *, spread: Spread, floor: float, minimum_rows: int) -> Numbers:
    """Strength after the spread [...]; 0 where there are too few rows or the effect is under its floor, which is looked at first."""
    rows = current.sum(axis=-1)
    found = np.zeros(rows.shape)
    looked_at = np.nonzero((rows >= max(1, minimum_rows)) & (reference.sum(axis=-1) > 0))
    large = effect_all(current[looked_at], reference[looked_at], column) >= floor
    left = tuple(axis[large] for axis in looked_at)
    p = evidence_all(current[left], reference[left], column)[0]
    found[left] = strength_all(p, one_sided=bool(column.worse)) / spread.at(rows[left])
    return found


def strength_all(p: Numbers, *, one_sided: bool) -> Numbers:
    """p-values -> standard deviations of a normal that would be as rare; one-sided evidence for the better is negative."""
    from scipy.special import ndtri

    _check_no_nan(p, where="p-values")
    held = np.clip(p, LEAST_P, 1 - 1e-15)
    found: Numbers = -ndtri(held if one_sided else held / 2)
    return found


def probability_all(strength: Numbers, *, one_sided: bool) -> Numbers:
    """The way back."""
    from scipy.special import ndtr

    _check_no_nan(strength, where="strengths")
    below: Numbers = ndtr(-strength)
    return below if one_sided else np.minimum(1.0, 2 * below)


def _check_no_nan(values: Numbers, *, where: str) -> None:
    """NaN is under no threshold and over none: it would call nobody, ever."""
    if values.dtype.kind not in "fiu" or np.isnan(values).any():
        raise InvalidInput(
            "must be numbers, none of them NaN", where=where, value=str(values.dtype), remedy="Take the tests' own p-values."
        )


def tempered_all(p: Numbers, n: Counts, spread: Spread, *, one_sided: bool) -> Numbers:
    """p-values of tests that take rows for independent -> p-values that allow for the spread. ``n``: rows of each window."""
    return probability_all(strength_all(p, one_sided=one_sided) / spread.at(n), one_sided=one_sided)


def drifts_all(p: Numbers, effect: Numbers, n: Counts, rule: Rule, *, one_sided: bool) -> NDArray[np.bool_]:
    """Strong enough after the spread, large enough, and of rows enough."""
    strength = strength_all(p, one_sided=one_sided) / rule.spread.at(n)
    return (strength >= rule.strength_from) & (effect >= rule.floor) & (np.asarray(n) >= rule.minimum_rows)


def rows_worth_judging(
    *, change: SmallestChange, measure: Measure, base_rate: float, spread: Spread, worth: float, firsts: bool = False
) -> int:
    """Rows at which the smallest change is expected to reach ``worth`` standard deviations, sessions allowed for. ``firsts``: the rate is
    that of a session's firsts, which move by a part of it.

    What moves whole windows is left out: it hides small changes in slices of any size, but not large ones.
    """
    check_number(base_rate, where="rows worth judging: base rate", most=1.0)
    check_number(worth, where="rows worth judging: worth", above=0.0)
    if measure is Measure.NUMBER:
        for_one_row = change.sigma * RANKS_KEEP
    elif measure is Measure.NAME:
        for_one_row = change.variation / SHARE_SPREAD
    else:
        moved = change.rate * (FIRSTS_MOVE if firsts else 1.0)
        after = min(0.99, max(0.005, base_rate) + moved / 2)
        for_one_row = moved / sqrt(after * (1 - after))
    return ceil(spread.apart * (worth / for_one_row) ** 2)
