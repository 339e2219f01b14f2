"""Thresholds as JSON values and back, so that they are kept with the reference they were calibrated on.

In and out: the same thresholds. Raises InvalidInput for values that are none.
"""

from collections.abc import Mapping
from typing import Any

from flywheel.drift.budget import Spread, Thresholds
from flywheel.errors import InvalidInput
from flywheel.plausible import check_number, check_whole
from flywheel.traffic.column import Measure


def thresholds_to_values(thresholds: Thresholds) -> dict[str, object]:
    """Lists in place of keys of several parts."""
    return {
        "strengths": [[hours, family, measure.value, value] for (hours, family, measure), value in thresholds.strengths.items()],
        "spreads": [[hours, column, spread.apart, spread.per_row] for (hours, column), spread in thresholds.spreads.items()],
        "minimum_rows": [[hours, family, column, rows] for (hours, family, column), rows in thresholds.minimum_rows.items()],
        "floors": [[family, measure.value, floor] for (family, measure), floor in thresholds.floors.items()],
        "pages_a_day": thresholds.pages_a_day,
        "null_days": thresholds.null_days,
        "seed": thresholds.seed,
    }


def thresholds_from_values(held: Mapping[str, Any]) -> Thresholds:
    """The inverse."""
    try:
        return Thresholds(
            strengths={
                (_whole(hours), str(family), Measure(measure)): _number(value) for hours, family, measure, value in held["strengths"]
            },
            spreads={
                (_whole(hours), str(column)): Spread(apart=_number(apart), per_row=_number(per_row))
                for hours, column, apart, per_row in held["spreads"]
            },
            minimum_rows={(_whole(hours), str(family), str(column)): _whole(rows) for hours, family, column, rows in held["minimum_rows"]},
            floors={(str(family), Measure(measure)): _number(floor) for family, measure, floor in held["floors"]},
            pages_a_day=_number(held["pages_a_day"]),
            null_days=_number(held["null_days"]),
            seed=_whole(held["seed"]),
        )
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise InvalidInput(
            "these are no thresholds of an alarm budget",
            where="reference, thresholds",
            value=str(error),
            remedy="Pin the reference again (`flywheel reference pin`).",
        ) from error


def _whole(value: Any) -> int:
    """A fraction is refused, not cut off."""
    check_whole(value, where="reference, thresholds")
    return int(value)


def _number(value: Any) -> float:
    check_number(value, where="reference, thresholds")
    return float(value)
