"""What can be measured of one request: a column, its family, and the fine bins in which its values are counted.

In: nothing. Out: values. The columns themselves are in ``features``; rows are counted in ``windows.counts``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

FeatureRow = Mapping[str, float | str | None]
"""Column name to value: a number, a name, 1.0 / 0.0 for a rate, None for missing."""


class Family(StrEnum):
    """The kind of drift that a column shows."""

    INPUT = "input"
    OUTPUT = "output"
    QUALITY = "quality"
    SLICE = "slice"


class Measure(StrEnum):
    """How a column is read: a number in bins, one of some names, or yes/no."""

    NUMBER = "number"
    NAME = "name"
    RATE = "rate"


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column and its bins: one per interval (NUMBER: len(edges)+1) or name (NAME, RATE), then OTHER, then MISSING."""

    name: str
    family: Family
    measure: Measure
    edges: tuple[float, ...] = ()  # NUMBER: ascending; a value v falls into bin number #{edges <= v}
    names: tuple[str, ...] = ()  # NAME: the known values; RATE: ("no", "yes")
    worse: str = ""  # RATE: "yes" or "no" where only that direction is bad; "" where both matter
    first_of: str = ""  # RATE: the rate whose first worse row in each session this one counts; see ``first_failures``

    @property
    def bins(self) -> int:
        """Number of bins with OTHER and MISSING, which are the last two."""
        return (len(self.edges) + 1 if self.measure is Measure.NUMBER else len(self.names)) + 2
