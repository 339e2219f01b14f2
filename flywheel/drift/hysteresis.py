"""When has a series that drifted cleared? Only when its evidence falls well below its thresholds.

In: a verdict and the band. Out: yes or no. Evidence close to a threshold then is one incident and not one every hour.
"""

from dataclasses import dataclass

import numpy as np

from flywheel.drift.tests import z_score
from flywheel.drift.verdict import DriftStatus, DriftVerdict


@dataclass(frozen=True, kw_only=True)
class Clearing:
    """The hysteresis band: a series clears when its z-score or its effect falls below this fraction of its threshold."""

    z: float = 0.6
    effect: float = 0.7


def is_cleared(verdict: DriftVerdict, band: Clearing) -> bool:
    """True if a series that drifted is below the hysteresis band. False without data."""
    found = verdict.comparison
    if found is None or verdict.status not in (DriftStatus.OK, DriftStatus.DRIFTING):
        return verdict.status is DriftStatus.NEW_SLICE
    return _z(found.score) < band.z * _z(found.threshold) or found.effect < band.effect * (found.minimum_effect or 0.0)


def _z(p: float) -> float:
    return max(0.0, float(z_score(np.asarray(p), one_sided=True)))
