"""Which closed windows must be judged again because rows came late, and what that changed.

In: what each closed window was judged on, which panes of the record changed since, the lengths of windows, the policy, the time. Out: the
windows to look at, how many rows came late, what is found and what is withdrawn, with reasons. Nothing is judged here, and whom to tell is
not decided here.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from flywheel.drift.incident import Retest, retested
from flywheel.drift.verdict import DriftVerdict
from flywheel.errors import InvalidInput
from flywheel.plausible import check_moments, check_text, check_whole
from flywheel.windows.assign import WindowPolicy, nested_windows


@dataclass(frozen=True, kw_only=True)
class RetestPolicy:
    """How long after its end a window may be judged again (not at all: no time), and how long it rests after each judgement.

    The rest keeps rows that trickle in late from having every window judged every second.
    """

    reach: timedelta = timedelta(hours=24)
    rest: timedelta = WindowPolicy.pane

    def __post_init__(self) -> None:
        for said, length in (("reach", self.reach), ("rest", self.rest)):
            if not isinstance(length, timedelta) or length < timedelta():
                raise InvalidInput(
                    "must be a length of time, not below zero",
                    where=f"retest policy: {said}",
                    value=str(length),
                    remedy="Correct the workload's `watch.retest_hours`.",
                )


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What the verdicts of one closed window rest on, and those of the longer windows that end with it."""

    window: str
    start: datetime
    end: datetime
    since: datetime  # where the longest of them begins
    rows: int  # of the longest
    position: int  # how many rows the record held: what was recorded up to here was judged
    at: datetime
    times: int = 0  # judged again

    def __post_init__(self) -> None:
        check_text(self.window, where="judged window")
        check_moments(f"window {self.window}", start=self.start, end=self.end, since=self.since, at=self.at)
        for said, number in (("rows", self.rows), ("position", self.position), ("times", self.times)):
            check_whole(number, where=f"window {self.window}: {said}")


@dataclass(frozen=True, kw_only=True)
class Due:
    """A closed window that must be looked at again."""

    judged: Judged
    reason: str


def due_again(
    closed: Sequence[Judged], *, changed: Mapping[datetime, int], windows: WindowPolicy, policy: RetestPolicy, now: datetime
) -> tuple[Due, ...]:
    """Oldest first. ``changed``: starts of panes, each with the position of the record at which it changed last.

    A window that was cut in other lengths than today's stays as it is: its rows and today's cannot be compared.
    """
    check_moments("windows to judge again", now=now)
    starts = sorted(changed)
    found = []
    for judged in sorted(closed, key=lambda one: (one.end, one.window)):
        rests = judged.at <= now < judged.at + policy.rest
        if rests or not policy.reach or now - judged.end > policy.reach or not _cut_as_today(judged, windows):
            continue
        within = starts[bisect_left(starts, judged.since) : bisect_left(starts, judged.end)]
        panes = sum(changed[start] > judged.position for start in within)
        if panes:
            found.append(Due(judged=judged, reason=f"{panes} of its panes changed after it was judged"))
    return tuple(found)


def came_late(judged: Judged, *, rows: int) -> int:
    """How many rows more than were judged. None where the record lost rows: a verdict on fewer rows is not a better one."""
    check_whole(rows, where=f"window {judged.window}: rows now")
    return max(0, rows - judged.rows)


def retested_lengths(before: Sequence[DriftVerdict], after: Sequence[DriftVerdict]) -> Retest:
    """``retested`` for each length of the windows that end at one moment, the shortest first. Raises InvalidInput for several moments."""
    ends = {(verdict.workload, verdict.window_end) for verdict in (*before, *after)}
    if len(ends) > 1:
        raise InvalidInput(
            "windows that ended at different moments are not one window",
            where="late rows",
            value=sorted(end.isoformat() for _, end in ends),
            remedy="Judge the window to which the late rows belong.",
        )
    changed: list[tuple[timedelta, Retest]] = []
    for start in sorted({verdict.window_start for verdict in (*before, *after)}, reverse=True):
        of_this_length = [[verdict for verdict in side if verdict.window_start == start] for side in (before, after)]
        changed.append(((before[0] if before else after[0]).window_end - start, retested(*of_this_length)))
    known = {verdict.evidence.get("reference") for verdict in before}
    other = sum(verdict.evidence.get("reference") not in known for _, one in changed for verdict in one.found)
    changed = [
        (length, replace(one, found=tuple(verdict for verdict in one.found if verdict.evidence.get("reference") in known)))
        for length, one in changed
    ]
    said = [f"{length / timedelta(hours=1):g} h: {one.reason}" for length, one in changed if one.found or one.withdrawn]
    return Retest(
        found=tuple(verdict for _, one in changed for verdict in one.found),
        withdrawn=tuple(verdict for _, one in changed for verdict in one.withdrawn),
        reason=("; ".join(said) or "what moved did not change")
        + (f"; {other} more moved against a reference that was pinned since, which no late row did" if other else ""),
    )


def _cut_as_today(judged: Judged, windows: WindowPolicy) -> bool:
    nested = nested_windows(judged.end, windows)
    return (nested[0].start, nested[-1].start) == (judged.start, judged.since)
