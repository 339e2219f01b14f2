"""The axes of a gate: what must improve, and what may not get worse by more than its margin."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Role(StrEnum):
    """One axis must improve; every other one must not be worse."""

    SUPERIORITY = "superiority"
    NON_INFERIORITY = "non_inferiority"
    REPORTED = "reported"  # shown, decides nothing


class GateVerdict(StrEnum):
    """``cannot_tell`` never passes."""

    PASS = "pass"  # noqa: S105 (a verdict, not a password)
    REFUSE = "refuse"
    CANNOT_TELL = "cannot_tell"


@dataclass(frozen=True, kw_only=True)
class AxisPolicy:
    """``margin`` is a share (0.05 is 5 points); ``alpha`` is one-sided and already divided by ``divided_by`` attempts.

    ``binary``: its items are correct or incorrect. The policy says so, because a verdict must not depend on which scores were seen.
    """

    name: str
    role: Role
    margin: float
    alpha: float
    standard_margin: float = 0.05
    reason: str = ""  # why the margin is not the standard one, where it is not
    divided_by: int = 1
    binary: bool = True


@dataclass(frozen=True, kw_only=True)
class PairedCounts:
    """The same n items asked of two arms: correct in both, only in the challenger (wins), only in the baseline (losses), in neither."""

    both: int
    wins: int
    losses: int
    neither: int

    @property
    def n(self) -> int:
        """Items."""
        return self.both + self.wins + self.losses + self.neither


@dataclass(frozen=True, kw_only=True)
class AxisTest:
    """The test of one axis: its settings, its p-value and its interval.

    ``p``: on the axis that must improve, the probability of so many wins from an equal challenger; on the others, the probability of a
    result at least this good from a challenger that is worse by the whole margin. ``low`` and ``high`` bound challenger minus baseline.
    """

    alpha: float
    margin: float
    standard_margin: float
    divided_by: int = 1
    margin_reason: str = ""  # why the margin is not the standard one
    p: float | None = None
    p_is: str = ""  # which test gave ``p``
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, kw_only=True)
class RequiredItems:
    """How many items the axis needs."""

    at_these_shares: int | None = None  # only where it cannot tell: enough items if wins and losses keep their shares
    smallest: int | None = None  # "not worse": the fewest items that pass when nothing is lost or won
    least_wins: int | None = None  # "better": the fewest wins that pass when nothing is lost


@dataclass(frozen=True, kw_only=True)
class Clustering:
    """What repeated entities do to the sample: the effective counts are those that independent items would need to show as much.

    They are the counts divided by ``design_effect`` = 1 + (``entity_size`` - 1) * ``icc``.
    """

    entities: int
    icc: float | None = None  # intraclass correlation of one entity's items, as it was used (0 to 1)
    icc_is: str = ""  # measured, and on what, or assumed
    entity_size: float | None = None  # items of the entity of an average item
    design_effect: float | None = None
    effective_n: int | None = None
    effective_wins: int | None = None
    effective_losses: int | None = None


@dataclass(frozen=True, kw_only=True)
class AxisVerdict:
    """``baseline`` and ``challenger`` are shares of correct items. ``clusters`` is None where every item is an entity of its own."""

    name: str
    role: Role
    verdict: GateVerdict
    reason: str
    n: int
    baseline_arm: str
    baseline: float
    challenger: float
    wins: int
    losses: int
    test: AxisTest
    required: RequiredItems = field(default_factory=RequiredItems)
    clusters: Clustering | None = None
    others: Mapping[str, PairedCounts] = field(default_factory=dict)  # the arms that did worse than ``baseline_arm``


@dataclass(frozen=True, kw_only=True)
class IncorrectAnswer:
    """Why one answer of the challenger is incorrect. ``arguments``: the score of each argument of its tool calls, 0 to 1."""

    case: str
    reason: str
    arguments: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class GateDecision:
    """The whole gate: it passes only when every deciding axis passes, and stops at its first refused axis."""

    verdict: GateVerdict
    reason: str
    axes: tuple[AxisVerdict, ...]
    not_judged: tuple[str, ...] = ()  # axes with items that no arm was asked, since an earlier axis had refused
    unanswerable: tuple[str, ...] = ()  # ids of cases whose request every arm of an axis was refused; they count on no such axis
    incorrect: tuple[IncorrectAnswer, ...] = ()  # of the challenger, the first few, for whoever wants to know what it gets wrong
