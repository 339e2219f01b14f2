"""Thresholds as JSON values and back, so that they are kept with the reference they were calibrated on.

In and out: the same thresholds. Raises InvalidInput for values that are none.
"""

from collections.abc import Mapping
from typing import Any

from flywheel.drift.budget import Spread, Thresholds
from flywheel.errors import InvalidInput
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
            strengths={(int(hours), str(family), Measure(measure)): float(value) for hours, family, measure, value in held["strengths"]},
            spreads={
                (int(hours), str(column)): Spread(apart=float(apart), per_row=float(per_row))
                for hours, column, apart, per_row in held["spreads"]
            },
            minimum_rows={(int(hours), str(family), str(column)): int(rows) for hours, family, column, rows in held["minimum_rows"]},
            floors={(str(family), Measure(measure)): float(floor) for family, measure, floor in held["floors"]},
            pages_a_day=float(held["pages_a_day"]),
            null_days=float(held["null_days"]),
            seed=int(held["seed"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidInput(
            "these are no thresholds of an alarm budget",
            where="reference, thresholds",
            value=str(error),
            remedy="Pin the reference again (`flywheel reference pin`).",
        ) from error
