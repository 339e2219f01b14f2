"""From which p-value and which effect on does a cell drift?

In: the policy, the thresholds of the alarm budget where they were calibrated, how long the window is. Out: limits for every cell, and
the words that say whence. Without thresholds the policy's fixed numbers stand. Calibrating is done in ``null_runs``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
from numpy.typing import NDArray

from flywheel.drift.budget import GENERAL, PROTECTED, Spread, Thresholds, probability_all, strength_all
from flywheel.drift.stated import DriftPolicy
from flywheel.errors import InvalidInput
from flywheel.traffic.column import Column
from flywheel.windows.pane import Counts

Numbers = NDArray[np.float64]
HOUR = timedelta(hours=1)
AT_ONCE = Spread()
"""Rows scatter as chance alone makes them."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """[slices, columns] each; ``spreads`` and ``whence`` go by column, because evidence is divided by what was measured of the column."""

    p_below: Numbers
    floor: Numbers
    minimum_rows: Counts
    minimum_before: int  # rows of the reference, everywhere
    spreads: tuple[Spread, ...]
    whence: tuple[str, ...]
    families: tuple[str, ...]  # by slice


def limits_for(
    *,
    policy: DriftPolicy,
    thresholds: Thresholds | None,
    length: timedelta,
    slices: Sequence[str],
    columns: Sequence[Column],
) -> Limits:
    """A length or a column that was not calibrated keeps the fixed numbers."""
    if not isinstance(length, timedelta) or length <= timedelta():
        raise InvalidInput("a window has a length", where="drift limits", value=str(length), remedy="Check the clock that closed it.")
    shape = (len(slices), len(columns))
    families = tuple(PROTECTED if name in policy.protected else GENERAL for name in slices)
    p_below = np.full(shape, policy.p_below)
    floor = np.broadcast_to(np.array([policy.floor(column.measure) for column in columns]), shape).copy()
    minimum_rows = np.full(shape, policy.minimum_rows, dtype=np.int64)
    spreads, whence = [AT_ONCE] * len(columns), ["fixed numbers of the policy: no alarm budget was calibrated"] * len(columns)
    hours = round(length / HOUR) if length % HOUR == timedelta() else 0
    shielded = np.array([family == PROTECTED for family in families], dtype=bool)
    for place, column in enumerate(columns if thresholds is not None else ()):
        assert thresholds is not None  # or there would be no columns here
        if (hours, GENERAL, column.measure) not in thresholds.strengths or (hours, column.name) not in thresholds.spreads:
            whence[place] = f"fixed numbers of the policy: the alarm budget was not calibrated for {column.name} at {hours} h"
            continue
        for family, members in ((GENERAL, ~shielded), (PROTECTED, shielded)):
            rule = thresholds.rule(hours=hours, family=family, column=column)
            p_below[members, place] = rule.p_below
            floor[members, place] = rule.floor
            minimum_rows[members, place] = rule.minimum_rows
            spreads[place] = rule.spread
        whence[place] = thresholds.whence(hours)
    return Limits(
        p_below=p_below,
        floor=floor,
        minimum_rows=minimum_rows,
        minimum_before=policy.minimum_rows,
        spreads=tuple(spreads),
        whence=tuple(whence),
        families=families,
    )


def tempered(p: Numbers, n: Counts, *, columns: Sequence[Column], limits: Limits) -> Numbers:
    """p-values [slices, columns] that take rows for independent -> p-values that allow for the measured spread. ``n``: values a cell."""
    if all(spread == AT_ONCE for spread in limits.spreads):
        return p
    found = p.copy()
    for place, (column, spread) in enumerate(zip(columns, limits.spreads, strict=True)):
        if spread != AT_ONCE:
            one_sided = bool(column.worse)
            strength = strength_all(p[:, place], one_sided=one_sided) / spread.at(n[:, place])
            found[:, place] = probability_all(strength, one_sided=one_sided)
    return found
