"""The incident of the windows that ended at one moment: which series drift, which are the primary drivers, which have not cleared.

In: the verdicts of windows of all lengths, and the series that drifted in the open incident. Out: one ``Incident``. When a series has
cleared is decided in ``hysteresis``. Does not decide who is notified.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum

from flywheel.drift.hysteresis import Clearing, is_cleared
from flywheel.drift.verdict import DriftStatus, DriftVerdict
from flywheel.ids import EVERYTHING

Series = tuple[str, str]
"""(slice, column)"""

AS_MUCH_AS_ALL = 1.5  # a slice is a primary driver if its effect exceeds this multiple of the effect in all traffic


class IncidentState(StrEnum):
    """Missing data neither opens nor ends an incident."""

    DRIFTED = "drifted"
    CLEARING = "clearing"  # below the threshold, but inside the hysteresis band
    NOT_DRIFTED = "quiet"
    UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True)
class Incident:
    """What drifted in the windows of one moment."""

    state: IncidentState
    primary: tuple[DriftVerdict, ...]  # the primary drivers, largest effect first: they explain the rest
    drifted: tuple[DriftVerdict, ...]  # all, the primary drivers first
    clearing: tuple[DriftVerdict, ...]  # drifted before, inside the hysteresis band now
    reason: str


def incident_of(verdicts: Sequence[DriftVerdict], *, drifted_before: Collection[Series] = (), clearing: Clearing | None = None) -> Incident:
    """``drifted_before``: the drifted series of the open incident, if there is one."""
    band = clearing or Clearing()
    drifted = sorted((verdict for verdict in verdicts if has_drifted(verdict)), key=_size, reverse=True)
    primary = _primary(drifted)
    rest = tuple(verdict for verdict in drifted if verdict not in primary)
    not_over = tuple(
        verdict
        for verdict in verdicts
        if (verdict.slice, verdict.column) in drifted_before and verdict not in drifted and not is_cleared(verdict, band)
    )
    judged = any(verdict.slice == EVERYTHING and verdict.status in (DriftStatus.OK, DriftStatus.DRIFTING) for verdict in verdicts)
    if drifted:
        state, reason = IncidentState.DRIFTED, _format_drivers(primary, len(rest))
    elif not_over:
        state, reason = IncidentState.CLEARING, f"{len(not_over)} that drifted before are below their thresholds, but not yet far enough"
    elif judged:
        state, reason = IncidentState.NOT_DRIFTED, "nothing drifted"
    else:
        state, reason = IncidentState.UNKNOWN, "all traffic together could not be judged"
    return Incident(state=state, primary=primary, drifted=primary + rest, clearing=not_over, reason=reason)


def has_drifted(verdict: DriftVerdict) -> bool:
    """Drifting; or a vanished slice, or a new slice whose share reaches the minimum effect."""
    if verdict.status is DriftStatus.DRIFTING:
        return True
    found = verdict.comparison
    if found is None or found.score >= found.threshold:
        return False
    if verdict.status is DriftStatus.NEW_SLICE:
        return found.effect >= (found.minimum_effect or 0.0)
    return verdict.status is DriftStatus.VANISHED_SLICE


def _primary(drifted: Sequence[DriftVerdict]) -> tuple[DriftVerdict, ...]:
    """For each column: all traffic if no slice drifted by more than ``AS_MUCH_AS_ALL`` times its effect, else those slices."""
    all_traffic = {verdict.column: _size(verdict) for verdict in drifted if verdict.slice == EVERYTHING}
    further = [
        verdict
        for verdict in drifted
        if verdict.slice != EVERYTHING and verdict.column in all_traffic and _size(verdict) > AS_MUCH_AS_ALL * all_traffic[verdict.column]
    ]
    followed = {verdict.column for verdict in further}
    return tuple(
        verdict
        for verdict in drifted
        if verdict.column not in all_traffic or verdict in further or (verdict.slice == EVERYTHING and verdict.column not in followed)
    )


def _size(verdict: DriftVerdict) -> float:
    return abs(verdict.effect or 0.0)


def _format_drivers(primary: Sequence[DriftVerdict], rest: int) -> str:
    first = primary[0]
    others = f" and {len(primary) - 1} more" if len(primary) > 1 else ""
    explained = f"; {rest} others drifted with it" if rest else ""
    return f"{first.column} of {first.slice}{others}{explained}"
