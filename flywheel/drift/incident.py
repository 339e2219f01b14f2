"""What moved together, what is behind it, and is it over?

In: the verdicts of all windows that ended at one moment (of any length), and what moved when the incident was last looked at. Out:
one incident: the movers, which of them explain the others, and whether what moved still does. What moved is let go only when its
evidence has fallen well under the threshold (hysteresis), so that an evidence that trembles at the threshold is one incident.
Rows and labels that come late have their own window judged again: ``retested`` says what that changed. Whom to tell is not decided here.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum

from flywheel.drift.verdict import DriftStatus, DriftVerdict
from flywheel.errors import InvalidInput
from flywheel.ids import EVERYTHING
from flywheel.plausible import check_moments, check_number

Place = tuple[str, str]
"""(slice, column)"""

AS_MUCH_AS_ALL = 1.5  # a slice that moved up to so many times as far as the whole moved with it, not by itself


class Standing(StrEnum):
    """Missing data is neither moved nor quiet."""

    MOVED = "moved"
    STILL = "still"  # under the threshold, not yet far enough under it
    QUIET = "quiet"
    UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True)
class Clearing:
    """A mover is over when its strength or its effect falls under these parts of their limits."""

    strength: float = 0.6
    effect: float = 0.7

    def __post_init__(self) -> None:
        check_number(self.strength, where="clearing: strength", most=1.0)
        check_number(self.effect, where="clearing: effect", most=1.0)


@dataclass(frozen=True, kw_only=True)
class Incident:
    """``behind``: what explains the rest, largest effect first. ``movers``: all, ``behind`` first."""

    standing: Standing
    behind: tuple[DriftVerdict, ...]
    movers: tuple[DriftVerdict, ...]
    trembling: tuple[DriftVerdict, ...]  # moved before, under the threshold now, not yet over
    reason: str


@dataclass(frozen=True, kw_only=True)
class Retest:
    """What late rows changed in the verdicts of their own window."""

    found: tuple[DriftVerdict, ...]
    withdrawn: tuple[DriftVerdict, ...]
    reason: str


def incident_of(verdicts: Sequence[DriftVerdict], *, moved_before: Collection[Place] = (), clearing: Clearing | None = None) -> Incident:
    """``moved_before``: the movers of the incident that is open, if one is."""
    movers = sorted((verdict for verdict in verdicts if has_moved(verdict)), key=_size, reverse=True)
    behind = _behind(movers)
    rest = tuple(mover for mover in movers if mover not in behind)
    trembling = tuple(
        verdict
        for verdict in verdicts
        if (verdict.slice, verdict.column) in moved_before and verdict not in movers and not _over(verdict, clearing or Clearing())
    )
    judged = any(verdict.slice == EVERYTHING and verdict.status in (DriftStatus.OK, DriftStatus.DRIFTING) for verdict in verdicts)
    if movers:
        standing, reason = Standing.MOVED, _said(behind, len(rest))
    elif trembling:
        standing, reason = Standing.STILL, f"{len(trembling)} that moved before are under their limits, but not yet far enough"
    elif judged:
        standing, reason = Standing.QUIET, "nothing moved"
    else:
        standing, reason = Standing.UNKNOWN, "the traffic as a whole could not be judged"
    return Incident(standing=standing, behind=behind, movers=behind + rest, trembling=trembling, reason=reason)


def has_moved(verdict: DriftVerdict) -> bool:
    """Drifting; or a slice that vanished, or a new one that takes a real part of the traffic."""
    if verdict.status is DriftStatus.DRIFTING:
        return True
    if verdict.score is None or verdict.threshold is None or verdict.score >= verdict.threshold:
        return False
    if verdict.status is DriftStatus.NEW_SLICE:
        return (verdict.effect or 0.0) >= (verdict.effect_floor or 0.0)
    return verdict.status is DriftStatus.VANISHED_SLICE


def retested(before: Sequence[DriftVerdict], after: Sequence[DriftVerdict]) -> Retest:
    """Raises InvalidInput unless both judge one and the same window: a late row never speaks of today."""
    for verdict in (*before, *after):
        check_moments("late rows", start=verdict.window_start, end=verdict.window_end)
    windows = {(verdict.workload, verdict.window_start, verdict.window_end) for verdict in (*before, *after)}
    if len(windows) > 1:
        raise InvalidInput(
            "a window must be tested again against itself",
            where="late rows",
            value=sorted(f"{start.isoformat()} to {end.isoformat()}" for _, start, end in windows),
            remedy="Judge the window to which the late rows belong.",
        )
    moved_then = {(verdict.slice, verdict.column) for verdict in before if has_moved(verdict)}
    moved_now = {(verdict.slice, verdict.column) for verdict in after if has_moved(verdict)}
    found = tuple(verdict for verdict in after if has_moved(verdict) and (verdict.slice, verdict.column) not in moved_then)
    withdrawn = tuple(verdict for verdict in before if has_moved(verdict) and (verdict.slice, verdict.column) not in moved_now)
    return Retest(
        found=found, withdrawn=withdrawn, reason=f"with its late rows the window has {len(found)} new movers and {len(withdrawn)} less"
    )


def _behind(movers: Sequence[DriftVerdict]) -> tuple[DriftVerdict, ...]:
    """In each column: the whole, when slices moved about as far as it; else the slices that moved much further, whom the whole follows."""
    whole = {mover.column: _size(mover) for mover in movers if mover.slice == EVERYTHING}
    by_themselves = {
        mover.column
        for mover in movers
        if mover.slice != EVERYTHING and mover.column in whole and _size(mover) > AS_MUCH_AS_ALL * whole[mover.column]
    }
    return tuple(
        mover
        for mover in movers
        if mover.column not in whole
        or (mover.slice == EVERYTHING and mover.column not in by_themselves)
        or (mover.slice != EVERYTHING and _size(mover) > AS_MUCH_AS_ALL * whole[mover.column])
    )


def _over(verdict: DriftVerdict, clearing: Clearing) -> bool:
    """Without data nobody can say that it is over."""
    if verdict.score is None or verdict.threshold is None or verdict.status not in (DriftStatus.OK, DriftStatus.DRIFTING):
        return verdict.status is DriftStatus.NEW_SLICE
    weak = _strength(verdict.score) < clearing.strength * _strength(verdict.threshold)
    return weak or (verdict.effect or 0.0) < clearing.effect * (verdict.effect_floor or 0.0)


def _strength(p: float) -> float:
    from scipy.special import ndtri

    return float(-ndtri(max(1e-300, p))) if p < 0.5 else 0.0


def _size(verdict: DriftVerdict) -> float:
    return abs(verdict.effect or 0.0)


def _said(behind: Sequence[DriftVerdict], rest: int) -> str:
    first = behind[0]
    others = f" and {len(behind) - 1} more" if len(behind) > 1 else ""
    explained = f"; {rest} others moved with it" if rest else ""
    return f"{first.column} of {first.slice}{others}{explained}"
