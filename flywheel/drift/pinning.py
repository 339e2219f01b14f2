"""When the daemon pins a reference, and over which period.

In: the references in force, the time that has rows, the time since which only the champion answers, the policy. Out: a period to pin, or
the reason that there is none. Never replaces a reference that a person pinned. The age of traffic is counted in time that has rows, never
by the clock: a clock that jumps forward, or a pause, makes no traffic older.
"""

from bisect import bisect_left
from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from flywheel.drift.reference import Covers, Reference
from flywheel.drift.thresholds import HOUR
from flywheel.ids import DAEMON
from flywheel.windows.pane import WindowPolicy, pane_start

DAY = timedelta(days=1)
PAUSE_DAYS = 3  # longest pause without traffic inside a period, such as a weekend
PARTS_OF_A_DAY = 24
"""A part with rows counts as a whole: sparse traffic does not fill every pane."""
LOOK_BACK = 3  # times the longest stage: traffic of office hours fills a third of its days


@dataclass(frozen=True, kw_only=True)
class PinningPolicy:
    """``stages``: whole days of traffic after which the daemon pins again; daily in the first week, when each day helps most."""

    whole_day: timedelta
    watch: timedelta  # time after a promotion before an output reference of the new champion
    stages: tuple[int, ...] = (1, 2, 3, 4, 5, 6, 7, 14, 28)

    def by_the_clock(self, windows: WindowPolicy) -> bool:
        """True if days have 24 hours and windows one hour: thresholds can only be calibrated for these."""
        return self.whole_day == DAY and windows.window == HOUR

    @property
    def look_back(self) -> timedelta:
        """Older traffic is not needed to decide."""
        return self.whole_day * max(self.stages) * LOOK_BACK


@dataclass(frozen=True, kw_only=True)
class PinningDue:
    """The period to pin now, or None for both ends, and the reason."""

    start: datetime | None
    end: datetime | None
    covers: Covers
    reason: str


def period_end(newest: datetime, *, both_stand: bool, windows: WindowPolicy, policy: PinningPolicy) -> datetime:
    """The end of a reference that is pinned now: of a pane; of an hour if thresholds are calibrated; of a day if both references are in
    force (``both_stand``)."""
    end = pane_start(newest, windows.pane)
    if policy.whole_day == DAY and both_stand:
        return end.replace(hour=0, minute=0, second=0, microsecond=0)
    return end.replace(minute=0, second=0, microsecond=0) if policy.by_the_clock(windows) else end


def first_whole_pane(changed_at: datetime, *, windows: WindowPolicy, policy: PinningPolicy) -> datetime:
    """The first pane in which only the champion answered after a change of the route; a full hour if thresholds are calibrated."""
    start = pane_start(changed_at, windows.pane) + windows.pane
    return pane_start(start + HOUR - windows.pane, HOUR) if policy.by_the_clock(windows) else start


@dataclass(frozen=True, kw_only=True)
class FilledTime:
    """The parts of days that have rows, up to now and without a long pause. ``starts``: oldest first."""

    part: timedelta
    starts: tuple[datetime, ...] = ()

    def since(self, moment: datetime) -> timedelta:
        """How much of the time since then has rows."""
        return self.part * (len(self.starts) - bisect_left(self.starts, moment))

    @property
    def all(self) -> timedelta:
        return self.part * len(self.starts)

    def start_of_last(self, length: timedelta) -> datetime:
        """Since when so much time has rows. Raises IndexError where less has."""
        return self.starts[-max(1, -(-length // self.part))]


def filled_time(moments: Collection[datetime], *, until: datetime, windows: WindowPolicy, policy: PinningPolicy) -> FilledTime:
    """``moments``: starts of panes with rows. Counts back from ``until`` to the last pause of more than ``PAUSE_DAYS``."""
    part = windows.pane * max(1, policy.whole_day // PARTS_OF_A_DAY // windows.pane)
    starts: list[datetime] = []
    before = until
    for moment in sorted((moment for moment in moments if moment < until), reverse=True):
        if before - moment > policy.whole_day * PAUSE_DAYS:
            break
        before, start = moment, pane_start(moment, part)
        if not starts or starts[-1] != start:
            starts.append(start)
    if starts and pane_start(before, windows.pane) != starts[-1]:
        starts.pop()  # the first rows came in the middle of it
    return FilledTime(part=part, starts=tuple(reversed(starts)))


def pinning_due(
    *,
    inputs: Reference | None,
    outputs: Reference | None,
    champion_alone_since: datetime | None,
    filled: FilledTime,
    newest: datetime,
    policy: PinningPolicy,
    calm: bool = True,
) -> PinningDue:
    """``newest``: where a period ends. ``champion_alone_since``: None during a rollout, or if unknown. ``calm``: no alert is open.

    A reference in force is only replaced by a longer one, if the daemon pinned it and no alert is open: drift must not enter a reference.
    """
    nothing = PinningDue(start=None, end=None, covers=Covers.ALL, reason="a reference is in force")
    if inputs is None:
        if days := _stage(filled.all, policy):
            start = filled.start_of_last(policy.whole_day * days)
            return PinningDue(start=start, end=newest, covers=_covers(start, champion_alone_since), reason=_seen(days))
        return replace(nothing, reason="less than one whole day of traffic, and nobody pinned a reference")
    if outputs is None:
        if champion_alone_since is not None and newest >= champion_alone_since and filled.since(champion_alone_since) >= policy.watch:
            days = _stage(filled.since(champion_alone_since), policy)
            start = filled.start_of_last(policy.whole_day * days) if days else champion_alone_since
            return PinningDue(start=start, end=newest, covers=Covers.OUTPUT, reason="the new champion's watch period has passed")
        return replace(nothing, covers=Covers.OUTPUT, reason="the new champion is still in its watch period")
    if not calm:
        return replace(nothing, reason="a reference is in force, and it is not replaced while an alert is open")
    of_answers = filled.since(champion_alone_since) if champion_alone_since is not None else timedelta()
    for held, seen in ((inputs, filled.all), (outputs, of_answers)):
        days = _stage(seen, policy)
        if held.pinned_by == DAEMON and days >= 1 and held.end - held.start < policy.whole_day * days:
            start = filled.start_of_last(policy.whole_day * days)
            covers = _covers(start, champion_alone_since) if held is inputs else Covers.OUTPUT
            return PinningDue(start=start, end=newest, covers=covers, reason=_seen(days))
    return nothing


def _stage(seen: timedelta, policy: PinningPolicy) -> int:
    """The longest of the stages, in whole days, that ``seen`` fills; 0 if none."""
    days = seen // policy.whole_day
    return max([stage for stage in policy.stages if stage <= days], default=0)


def _covers(start: datetime, champion_alone_since: datetime | None) -> Covers:
    """INPUT if another adapter answered in a part of the period, else ALL."""
    return Covers.INPUT if champion_alone_since is not None and champion_alone_since > start else Covers.ALL


def _seen(days: int) -> str:
    return "one whole day of traffic has been seen" if days == 1 else f"{days} whole days of traffic have been seen"
