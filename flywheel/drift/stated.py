"""What can be said of one column of one slice in one window, and by which rule.

In: nothing. Out: values. How they are reached stands in ``judged_columns`` and ``judged_shares``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from flywheel.errors import InvalidInput
from flywheel.ids import WorkloadId
from flywheel.plausible import check_moments, check_names, check_number, check_whole
from flywheel.traffic.column import Family, Measure

SHARE = "share"
"""The column of a verdict on how much of the traffic a slice holds."""
METHODS: Mapping[Measure, str] = {Measure.NUMBER: "binned_ks", Measure.NAME: "chi2", Measure.RATE: "mid_p"}
LARGEST_EFFECT = 1e6  # far above what any effect can be: it keeps out what is infinite or no number
EFFECTS: Mapping[Measure, str] = {
    Measure.NUMBER: "greatest distance between the two cumulative shares",
    Measure.NAME: "total variation between the shares",
    Measure.RATE: "difference of the rates",
}


class DriftStatus(StrEnum):
    """The only words a window's column may get."""

    OK = "ok"
    DRIFTING = "drifting"
    LEARNING = "learning"
    INSUFFICIENT_DATA = "insufficient_data"
    NEW_SLICE = "new_slice"
    VANISHED_SLICE = "vanished_slice"
    NO_DATA = "no_data"


@dataclass(frozen=True, kw_only=True)
class DriftVerdict:
    """One column of one slice in one window."""

    workload: WorkloadId
    window_start: datetime
    window_end: datetime
    kind: Family
    slice: str
    column: str
    status: DriftStatus
    reason: str
    n: int
    n_reference: int
    method: str  # "binned_ks", "chi2", "mid_p", "share_mid_p"
    score: float | None  # p-value
    effect: float | None  # KS distance, total variation, or difference of rates
    threshold: float | None  # p below which, with the effect at its floor, it drifts
    effect_floor: float | None
    evidence: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """NaN would be neither over nor under a limit, and so would open an alert or clear one by the order of a comparison."""
        for said, value in (("score", self.score), ("threshold", self.threshold)):
            if value is not None and not (isinstance(value, float) and 0 <= value <= 1):
                check_number(value, where=f"verdict on {self.column} of {self.slice!a}: {said}", most=1.0)
        for said, value in (("effect", self.effect), ("effect_floor", self.effect_floor)):
            if value is not None and not (isinstance(value, float) and -LARGEST_EFFECT <= value <= LARGEST_EFFECT):
                check_number(value, where=f"verdict on {self.column} of {self.slice!a}: {said}", least=-LARGEST_EFFECT, most=LARGEST_EFFECT)


@dataclass(frozen=True, kw_only=True)
class DriftPolicy:
    """A column drifts when its p-value is under ``p_below`` and its effect at least at the floor of its measure."""

    p_below: float = 1e-4
    ks_floor: float = 0.10
    variation_floor: float = 0.10
    rate_floor: float = 0.03
    minimum_rows: int = 50  # in the window and in the reference
    session_rows: float = 8.0  # of one session, which all belong to one slice: assumed of shares until the reference's own windows say it
    protected: tuple[str, ...] = ()  # slices that get a verdict even when nobody has ever seen them

    def __post_init__(self) -> None:
        limits = {
            "p_below": self.p_below,
            "ks_floor": self.ks_floor,
            "variation_floor": self.variation_floor,
            "rate_floor": self.rate_floor,
        }
        for name, value in limits.items():
            check_number(value, where=f"drift policy: {name}", most=1.0)
        check_whole(self.minimum_rows, where="drift policy: minimum_rows", least=1)
        check_number(self.session_rows, where="drift policy: session_rows", least=1.0)
        check_names(self.protected, where="drift policy: protected")

    def floor(self, measure: Measure) -> float:
        """Of the effect."""
        return {Measure.NUMBER: self.ks_floor, Measure.NAME: self.variation_floor, Measure.RATE: self.rate_floor}[measure]


def check_time(*, start: datetime, end: datetime, now: datetime, where: str) -> None:
    """Raises InvalidInput for a window that ends before it begins, or that is judged before it began, and for times without a zone."""
    check_moments(where, start=start, end=end, now=now)
    if end <= start:
        raise InvalidInput(
            "the window does not end after its start: a clock ran backwards",
            where=where,
            value=f"{start.isoformat()} to {end.isoformat()}",
            remedy="Set the host's clock by NTP; close windows by `windows_to_close` only.",
        )
    if now < start:
        raise InvalidInput(
            "the window is judged before it began: a clock ran backwards",
            where=where,
            value=f"{start.isoformat()} at {now.isoformat()}",
            remedy="Set the clocks of the hosts by NTP.",
        )
