"""The ladder of real changes: how soon each is found, in slices drawn anew, each with a reference of its own.

Thresholds come from pasts of the whole workload that were drawn for nothing else, several of each kind, so that the luck of one calibration
does not stand for all.
"""

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from flywheel.drift.budget import GENERAL, PROTECTED
from flywheel.drift.seasons import season_of, sliding_sums
from flywheel.traffic.column import Column
from tests.benchmarks.alarm_watch import LONGEST, POLICY, Pinned, pinned, reference_of, strength_of
from tests.benchmarks.alarm_world import BY_NAME, FIRST_DAY, FIRSTS, LARGE, SMALL, Sessions, World

FIRST_HOUR = FIRST_DAY * 24
NOT_IN_TIME = 999


@dataclass(frozen=True, kw_only=True)
class Change:
    """One step of the ladder."""

    name: str
    column: str
    rank: int
    family: str
    moved: float  # on the normal scale of the column
    within: int  # hours


def _rate_moved(before: float, after: float) -> float:
    return float(ndtri(after) - ndtri(before))


SHIFT = Change(name="0.3 sigma, 567 rows an hour, within 2 h", column="prompt_length", rank=LARGE, family=GENERAL, moved=0.3, within=2)
REFUSALS = Change(
    name="refusal 3 to 6 %, 567 rows an hour, within 4 h",
    column="refusal",
    rank=LARGE,
    family=GENERAL,
    moved=_rate_moved(0.03, 0.06),
    within=4,
)
PROTECTED_SHIFT = Change(
    name="protected, 57 rows an hour: 0.5 sigma within 6 h", column="prompt_length", rank=SMALL, family=PROTECTED, moved=0.5, within=6
)
PROTECTED_REFUSALS = Change(
    name="protected, 57 rows an hour: refusal 3 to 8 % within 12 h",
    column="refusal",
    rank=SMALL,
    family=PROTECTED,
    moved=_rate_moved(0.03, 0.08),
    within=12,
)
LADDER = (SHIFT, REFUSALS, PROTECTED_SHIFT, PROTECTED_REFUSALS)


def past(columns: tuple[Column, ...], *, days: int, sessions: Sessions, seed: int) -> Pinned:
    """A reference of the whole workload, pinned and calibrated."""
    world = World(seed=seed, sessions=sessions)
    names = tuple(column.name for column in columns)
    return pinned([world.hours(FIRST_HOUR + 24 * day, 24, columns=names) for day in range(days)], columns, first_hour=FIRST_HOUR)


def hours_until_found(change: Change, standing: Pinned, *, days: int, sessions: Sessions, seed: int, runs: int) -> NDArray[np.int64]:
    """Hours from the change to the first alarm of its column or of that column's firsts, in each run; else ``NOT_IN_TIME``."""
    judged = [column for column in (BY_NAME[change.column].column, FIRSTS.get(change.column)) if column is not None]
    names = tuple(column.name for column in judged)
    world = World(seed=seed, sessions=sessions, slices=np.array([change.rank]), steady=True)
    chance = np.random.default_rng(seed + 1)
    hours = days * 24
    season = season_of(first_hour=FIRST_HOUR, hours=hours).season
    found = np.full(runs, NOT_IN_TIME)
    for run in range(runs):
        before = world.hours(FIRST_HOUR, hours, columns=names)
        starts = FIRST_HOUR + hours + int(chance.integers(LONGEST, 7 * 24))
        quiet = world.hours(starts - LONGEST, LONGEST, columns=names)
        loud = world.hours(starts, change.within, columns=names, moved={change.column: change.moved})
        for column, length in product(judged, POLICY.lengths):
            series = np.concatenate([quiet[column.name], loud[column.name]])
            now = sliding_sums(series, length)[LONGEST:]
            like = reference_of(before[column.name], FIRST_HOUR, season, hour=starts, hours=change.within, length=length)
            strength = strength_of(now, like, column, standing.thresholds, length=length, family=change.family)[:, 0]
            passed = np.flatnonzero(strength >= standing.thresholds.strengths[length, change.family, column.measure])
            if passed.size:
                found[run] = min(found[run], int(passed[0]) + 1)
    return found


def found_over(change: Change, pasts: list[Pinned], *, days: int, sessions: Sessions, seed: int, runs: int) -> NDArray[np.int64]:
    """The runs divided among calibrations."""
    each = runs // len(pasts)
    return np.concatenate(
        [
            hours_until_found(change, held, days=days, sessions=sessions, seed=seed + 10 * place, runs=each)
            for place, held in enumerate(pasts)
        ]
    )
