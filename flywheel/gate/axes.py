"""The axes of a gate: what must improve, and what may not get worse by more than its margin."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from flywheel.errors import InvalidInput
from flywheel.gate.stated import chance_of_error, share_lost
from flywheel.plausible import check_text, check_whole, check_wholes


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
    """``margin`` is a share (0.05 is 5 points); ``alpha`` one-sided, already divided by ``divided_by`` attempts.

    ``binary``: its items are right or wrong. It is said here and not read off the scores, or a worse score could choose the test.
    Raises InvalidInput for an alpha or a margin that is none, and for a margin that was widened without a reason.
    """

    name: str
    role: Role
    margin: float
    alpha: float
    standard_margin: float = 0.05
    reason: str = ""  # why the margin is not the standard one, where it is not
    divided_by: int = 1
    binary: bool = True

    def __post_init__(self) -> None:
        check_text(self.name, where="gate.axis.name", empty=True)
        check_text(self.reason, where="gate.axis.reason", empty=True)
        where = f"gate.{self.name}"
        if not isinstance(self.role, Role):
            raise InvalidInput("there is no such role", where=where, value=self.role, remedy=f"Take one of {', '.join(Role)}.")
        if not isinstance(self.binary, bool):
            raise InvalidInput("binary is True or False", where=where, value=self.binary, remedy="True: its items are right or wrong.")
        chance_of_error(self.alpha, where=where, below=0.5)
        share_lost(self.margin, where=where)
        share_lost(self.standard_margin, where=f"{where}.standard_margin")
        check_whole(self.divided_by, where=f"{where}.divided_by", least=1)
        if self.margin > self.standard_margin and not self.reason.strip():
            raise InvalidInput(
                f"the margin is wider than the standard {self.standard_margin:g}, and no reason is given",
                where=where,
                value=self.margin,
                remedy="Say why: the reason stands in every gate's evidence.",
            )


@dataclass(frozen=True, kw_only=True)
class PairedCounts:
    """The same n items asked of both: right in both, only the challenger (wins), only the baseline (losses), neither."""

    both: int
    wins: int
    losses: int
    neither: int

    def __post_init__(self) -> None:
        check_wholes(where="gate", both=self.both, wins=self.wins, losses=self.losses, neither=self.neither)
        check_whole(self.n, where="gate.n")

    @property
    def n(self) -> int:
        """Items."""
        return self.both + self.wins + self.losses + self.neither


@dataclass(frozen=True, kw_only=True)
class AxisVerdict:
    """``baseline`` and ``challenger`` are shares right; ``low`` and ``high`` bound challenger minus baseline.

    ``p``: on the axis that must improve, the chance of so many wins from an equal challenger; on the others, the chance of what was
    seen or better from one that is worse by the whole margin. Where items share entities, ``effective_*`` are the counts of
    independent items that would show as much: bounds and the p-value of "not worse" come from them. They are the counts divided by
    ``design_effect`` = 1 + (``entity_size`` - 1) * ``likeness``.
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
    likeness_is: str = ""  # measured, and on what, or assumed
    effective_n: int | None = None
    effective_wins: int | None = None
    effective_losses: int | None = None
    margin_reason: str = ""  # why the margin is not the standard one
    p_is: str = ""  # which test gave ``p``
    smallest_n: int | None = None  # "not worse": the fewest items that pass when nothing is lost or won, so fewer need wins
    least_wins: int | None = None  # "better": the fewest wins that pass when nothing is lost
    entity_size: float | None = None  # items of the entity of an average item
    design_effect: float | None = None
    others: Mapping[str, PairedCounts] = field(default_factory=dict)  # the arms that did worse than ``baseline_arm``


@dataclass(frozen=True, kw_only=True)
class GateDecision:
    """The whole gate: pass only when every deciding axis passes. Stops at its first refused axis."""

    verdict: GateVerdict
    reason: str
    axes: tuple[AxisVerdict, ...]
    not_judged: tuple[str, ...] = ()  # axes with items that nobody was asked, since an earlier one had refused
