"""The axes of a gate: what must improve, and what may not get worse by more than its margin."""

from dataclasses import dataclass
from enum import StrEnum


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
    """``margin`` is a share (0.05 is 5 points); ``alpha`` one-sided."""

    name: str
    role: Role
    margin: float
    alpha: float
    standard_margin: float = 0.05
    reason: str = ""  # why the margin is not the standard one, where it is not


@dataclass(frozen=True, kw_only=True)
class PairedCounts:
    """The same n items asked of both: right in both, only the challenger (wins), only the baseline (losses), neither."""

    both: int
    wins: int
    losses: int
    neither: int

    @property
    def n(self) -> int:
        """Items."""
        return self.both + self.wins + self.losses + self.neither


@dataclass(frozen=True, kw_only=True)
class AxisVerdict:
    """``baseline`` and ``challenger`` are shares right; ``low`` and ``high`` bound challenger minus baseline."""

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


@dataclass(frozen=True, kw_only=True)
class GateDecision:
    """The whole gate: pass only when every deciding axis passes. Stops at its first refused axis."""

    verdict: GateVerdict
    reason: str
    axes: tuple[AxisVerdict, ...]
