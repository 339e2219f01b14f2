"""Late-data re-evaluation: which closed windows must be judged again because rows came late, and what that changed.

In: what each closed window was judged on, which panes of the record changed since, the lengths of windows, the policy, the time. Out: the
windows that are due, how many rows came late, what is found and what is withdrawn, with reasons. Judging is done in ``judge``, and whom to
tell is not decided here.
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
    """How long after its end a window may be judged again (zero: never), and the shortest time between two judgements of it.

    The debounce keeps rows that trickle in late from having every window judged every second.
    """

    look_back: timedelta = timedelta(hours=24)
    debounce: timedelta = WindowPolicy.pane


@dataclass(frozen=True, kw_only=True)
class JudgedRows:
    """What the verdicts of one closed window rest on, and those of the longer windows that end with it."""

    window: str
    start: datetime
    end: datetime
    since: datetime  # where the longest of them begins
    rows: int  # of the longest
    position: int  # how many rows the record had: what was recorded up to here was judged
    at: datetime
    times: int = 0  # judged again


@dataclass(frozen=True, kw_only=True)
class DueWindow:
    """A closed window that must be looked at again."""

    judged: JudgedRows
    reason: str


@dataclass(frozen=True, kw_only=True)
class Reevaluation:
    """What late rows changed in the verdicts of their own windows. Never resolves alerts."""

    found: tuple[DriftVerdict, ...]
    withdrawn: tuple[DriftVerdict, ...]
    reason: str


def due_windows(
    closed: Sequence[JudgedRows], *, changed: Mapping[datetime, int], windows: WindowPolicy, policy: ReevaluationPolicy, now: datetime
) -> tuple[DueWindow, ...]:
    """Oldest first. ``changed``: starts of panes, each with the position of the record at which it changed last.

    A window that was cut in other lengths than today's stays as it is: its rows and today's cannot be compared.
    """
    starts = sorted(changed)
    found = []
    for judged in sorted(closed, key=lambda one: (one.end, one.window)):
        waits = judged.at <= now < judged.at + policy.debounce
        if waits or not policy.look_back or now - judged.end > policy.look_back or not _cut_as_today(judged, windows):
            continue
        within = starts[bisect_left(starts, judged.since) : bisect_left(starts, judged.end)]
        panes = sum(changed[start] > judged.position for start in within)
        if panes:
            found.append(DueWindow(judged=judged, reason=f"{panes} of its panes changed after it was judged"))
    return tuple(found)


def late_rows(judged: JudgedRows, *, rows: int) -> int:
    """How many rows more than were judged. None where the record lost rows: a verdict on fewer rows is not a better one."""
    return max(0, rows - judged.rows)


def reevaluation(before: Sequence[DriftVerdict], after: Sequence[DriftVerdict]) -> Reevaluation:
    """What changed in the windows that end at one moment, each length compared with itself, the shortest first.

    What drifted only against a reference that was pinned since is not found: no late row did that.
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
        blamed = [verdict for verdict in new if verdict.evidence.get("reference") in known]
        against_others += len(new) - len(blamed)
        if blamed or gone:
            hours = ((*before, *after)[0].window_end - start) / timedelta(hours=1)
            reasons.append(f"{hours:g} h: with its late rows {len(blamed)} more drifted and {len(gone)} no longer do")
        found += blamed
        withdrawn += gone
    reason = "; ".join(reasons) or "what drifted did not change"
    if against_others:
        reason += f"; {against_others} more drifted against a reference that was pinned since, which no late row did"
    return Reevaluation(found=tuple(found), withdrawn=tuple(withdrawn), reason=reason)


def _series(verdict: DriftVerdict) -> tuple[str, str]:
    return verdict.slice, verdict.column


def _cut_as_today(judged: JudgedRows, windows: WindowPolicy) -> bool:
    nested = nested_windows(judged.end, windows)
    return (nested[0].start, nested[-1].start) == (judged.start, judged.since)
