"""Late-data re-evaluation: which closed windows are due because rows arrived late, and which verdicts that changed.

In: the rows each closed window was judged on, the panes that changed since, the window lengths, the policy, the time. Out: the due windows,
the number of late rows, and the drifted series that were found or withdrawn, with reasons. Does not decide who is notified.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from flywheel.drift.incident import has_drifted
from flywheel.drift.verdict import DriftVerdict
from flywheel.windows.pane import WindowPolicy, nested_windows


@dataclass(frozen=True, kw_only=True)
class ReevaluationPolicy:
    """``look_back``: how long after its end a window may be re-evaluated (zero: never). ``debounce``: shortest time between two evaluations
    of a window, so that a trickle of late rows does not re-evaluate every window every second.
    """

    look_back: timedelta = timedelta(hours=24)
    debounce: timedelta = WindowPolicy.pane


@dataclass(frozen=True, kw_only=True)
class JudgedRows:
    """The rows that the verdicts of one closed window, and of the longer windows that end with it, were computed from."""

    window: str
    start: datetime
    end: datetime
    since: datetime  # start of the longest of them
    rows: int  # rows of the longest
    position: int  # number of rows in the traffic store at that time
    at: datetime
    times: int = 0  # number of re-evaluations


@dataclass(frozen=True, kw_only=True)
class DueWindow:
    """A closed window that must be re-evaluated."""

    judged: JudgedRows
    reason: str


@dataclass(frozen=True, kw_only=True)
class Reevaluation:
    """The drifted series that late rows added to or removed from the verdicts of their windows. Never resolves alerts."""

    found: tuple[DriftVerdict, ...]
    withdrawn: tuple[DriftVerdict, ...]
    reason: str


def due_windows(
    closed: Sequence[JudgedRows], *, changed: Mapping[datetime, int], windows: WindowPolicy, policy: ReevaluationPolicy, now: datetime
) -> tuple[DueWindow, ...]:
    """Oldest first. ``changed``: start of each pane -> position in the traffic store of its last change.

    Skips windows that were closed with other window lengths than today's: their row counts cannot be compared; and windows that a clock
    that ran ahead closed before their time, until no row should reach them any more.
    """
    starts = sorted(changed)
    found = []
    for judged in sorted(closed, key=lambda one: (one.end, one.window)):
        waits = judged.at <= now < judged.at + policy.debounce or judged.end + windows.lateness > now
        if waits or not policy.look_back or now - judged.end > policy.look_back or not _cut_as_today(judged, windows):
            continue
        within = starts[bisect_left(starts, judged.since) : bisect_left(starts, judged.end)]
        panes = sum(changed[start] > judged.position for start in within)
        if panes:
            found.append(DueWindow(judged=judged, reason=f"{panes} of its panes changed after it was judged"))
    return tuple(found)


def late_rows(judged: JudgedRows, *, rows: int) -> int:
    """Number of rows that arrived after the window was judged; 0 if the traffic store has lost rows since."""
    return max(0, rows - judged.rows)


def reevaluation(before: Sequence[DriftVerdict], after: Sequence[DriftVerdict]) -> Reevaluation:
    """The changes in the windows that end at one moment, for each length, shortest first.

    Leaves out series that drift only against a reference that was pinned since: late rows are not the cause.
    """
    found: list[DriftVerdict] = []
    withdrawn: list[DriftVerdict] = []
    reasons: list[str] = []
    known = {verdict.evidence.get("reference") for verdict in before}
    against_others = 0
    for start in sorted({verdict.window_start for verdict in (*before, *after)}, reverse=True):
        then, now = ({_series(one): one for one in side if one.window_start == start and has_drifted(one)} for side in (before, after))
        new = [verdict for series, verdict in now.items() if series not in then]
        gone = [verdict for series, verdict in then.items() if series not in now]
        by_late_rows = [verdict for verdict in new if verdict.evidence.get("reference") in known]
        against_others += len(new) - len(by_late_rows)
        if by_late_rows or gone:
            hours = ((*before, *after)[0].window_end - start) / timedelta(hours=1)
            reasons.append(f"{hours:g} h: with its late rows {len(by_late_rows)} more drifted and {len(gone)} no longer do")
        found += by_late_rows
        withdrawn += gone
    reason = "; ".join(reasons) or "what drifted did not change"
    if against_others:
        reason += f"; {against_others} more drifted against a reference that was pinned since; late rows are not the cause"
    return Reevaluation(found=tuple(found), withdrawn=tuple(withdrawn), reason=reason)


def _series(verdict: DriftVerdict) -> tuple[str, str]:
    return verdict.slice, verdict.column


def _cut_as_today(judged: JudgedRows, windows: WindowPolicy) -> bool:
    nested = nested_windows(judged.end, windows)
    return (nested[0].start, nested[-1].start) == (judged.start, judged.since)
