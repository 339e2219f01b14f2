"""The verdict on one column of one slice in one window.

``judge`` decides it, ``evidence`` writes its reason and evidence.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from flywheel.ids import WorkloadId
from flywheel.traffic.column import Family


class DriftStatus(StrEnum):
    """The possible states of a column of a window."""

    OK = "ok"
    DRIFTING = "drifting"
    LEARNING = "learning"
    INSUFFICIENT_DATA = "insufficient_data"
    NEW_SLICE = "new_slice"
    VANISHED_SLICE = "vanished_slice"
    NO_DATA = "no_data"


@dataclass(frozen=True, kw_only=True)
class DriftComparison:
    """Results of the test of a window, and their thresholds."""

    score: float  # dispersion-adjusted p-value
    threshold: float  # the column drifts if its p-value is below this and its effect reaches the minimum
    effect: float  # KS distance, total variation, or difference of rates
    minimum_effect: float | None  # None: any effect is large enough


@dataclass(frozen=True, kw_only=True)
class DriftVerdict:
    """One column of one slice in one window. The properties are None if nothing was compared."""

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
    method: str  # "binned_ks", "chi2", "mid_p", "share_mid_p", "embedding_relabelling"
    comparison: DriftComparison | None
    evidence: Mapping[str, object] = field(default_factory=dict)

    @property
    def score(self) -> float | None:
        return self.comparison.score if self.comparison else None

    @property
    def threshold(self) -> float | None:
        return self.comparison.threshold if self.comparison else None

    @property
    def effect(self) -> float | None:
        return self.comparison.effect if self.comparison else None

    @property
    def minimum_effect(self) -> float | None:
        return self.comparison.minimum_effect if self.comparison else None
