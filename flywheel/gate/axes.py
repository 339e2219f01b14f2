"""The axes of a gate: what must improve, and what may not get worse by more than its margin."""

from dataclasses import dataclass
from enum import StrEnum

from flywheel.errors import InvalidInput


class Role(StrEnum):
    """One axis must improve; every other one must not be worse."""

    SUPERIORITY = "superiority"
    NON_INFERIORITY = "non_inferiority"
    REPORTED = "reported"  # shown, decides nothing


class GateVerdict(StrEnum):
    """``cannot tell`` never passes."""

    PASS = "pass"  # noqa: S105 (a verdict, not a password)
    REFUSE = "refuse"
    CANNOT_TELL = "cannot_tell"


@dataclass(frozen=True, kw_only=True)
class AxisPolicy:
    """``margin`` is a share (0.05 is 5 points); ``alpha`` one-sided, already divided by ``divided_by`` attempts."""

    name: str
    role: Role
    margin: float
    alpha: float
    standard_margin: float = 0.05
    reason: str = ""  # why the margin is not the standard one, where it is not
    divided_by: int = 1


@dataclass(frozen=True, kw_only=True)
class PairedCounts:
    """The same n items asked of both: right in both, only the challenger (wins), only the baseline (losses), neither."""

    both: int
    wins: int
    losses: int
    neither: int

    def __post_init__(self) -> None:
        for name in ("both", "wins", "losses", "neither"):
            value = getattr(self, name)
            if not (value >= 0 and value % 1 == 0):
                raise InvalidInput("a count is a whole number, 0 or more", where=f"gate: {name}", value=value, remedy="Count again.")

    @property
    def n(self) -> int:
        """Items."""
        return self.both + self.wins + self.losses + self.neither


@dataclass(frozen=True, kw_only=True)
class AxisVerdict:
    """``baseline`` and ``challenger`` are shares right; ``low`` and ``high`` bound challenger minus baseline.

    ``p``: on the axis that must improve, the chance of so many wins from an equal challenger; on the others, the chance of what was
    seen or better from one that is worse by the whole margin. Where items share entities, ``effective_*`` are the counts of
    independent items that would show as much: bounds and the p-value of "not worse" come from them.
    """

    name: str
    role: Role
    n: int
    baseline_arm: str
    baseline: float
    challenger: float
    wins: int
    losses: int
    p: float | None
    low: float | None
    high: float | None
    margin: float
    standard_margin: float
    alpha: float
    verdict: GateVerdict
    reason: str
    needs_n: int | None = None
    divided_by: int = 1
    entities: int | None = None  # None: every item stands for itself
    likeness: float | None = None  # of one entity's items, as it was used (0 to 1)
    effective_n: int | None = None
    effective_wins: int | None = None
    effective_losses: int | None = None
    smallest_n: int | None = None  # the fewest items that pass when nothing is lost or won: fewer need wins


@dataclass(frozen=True, kw_only=True)
class GateDecision:
    """The whole gate: pass only when every deciding axis passes. Stops at its first refused axis."""

    verdict: GateVerdict
    reason: str
    axes: tuple[AxisVerdict, ...]
