"""When the daemon pins a reference, and over which period.

In: the references in force, the time that has rows, the time since which only the champion answers, the policy. Out: a period to pin, or
the reason that there is none. Never replaces a reference that a person pinned. The amount of traffic is the number of parts of days that
have rows, not the time that has passed: neither a clock that jumps forward nor a pause adds to it.
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
PAUSE_DAYS = 3  # in units of ``whole_day``: longest pause without traffic inside a period, such as a weekend
PARTS_OF_A_DAY = 24
"""A part of a day counts as filled if any of its panes has rows: sparse traffic does not fill every pane."""
LOOK_BACK = 3  # times the longest stage: traffic in office hours alone fills a third of each day


@dataclass(frozen=True, kw_only=True)
class PinningPolicy:
    """``stages``: whole days of traffic after which the daemon pins again; daily in the first week, when each day helps most."""

    whole_day: timedelta
    watch: timedelta  # time after a promotion before an output reference of the new champion
    stages: tuple[int, ...] = (1, 2, 3, 4, 5, 6, 7, 14, 28)

    def can_calibrate(self, windows: WindowPolicy) -> bool:
        """True if days have 24 hours and windows one hour: thresholds can only be calibrated for these."""
        return self.whole_day == DAY and windows.window == HOUR

    @property
    def look_back(self) -> timedelta:
        """How far back traffic is read."""
        return self.whole_day * max(self.stages) * LOOK_BACK


@dataclass(frozen=True, kw_only=True)
class PinningDue:
    """The period to pin now, or None for both ends, and the reason."""

    start: datetime | None
    end: datetime | None
    covers: Covers
    reason: str


def period_end(newest: datetime, *, both_in_force: bool, windows: WindowPolicy, policy: PinningPolicy) -> datetime:
    """The latest end of a period that is pinned now, at or before ``newest``: midnight in UTC if both references are in force and a day has
    24 hours; a full hour if thresholds can be calibrated; else the start of a pane."""
    end = pane_start(newest, windows.pane)
    if policy.whole_day == DAY and both_in_force:
        return end.replace(hour=0, minute=0, second=0, microsecond=0)
    return end.replace(minute=0, second=0, microsecond=0) if policy.can_calibrate(windows) else end


def first_whole_pane(changed_at: datetime, *, windows: WindowPolicy, policy: PinningPolicy) -> datetime:
    """The start of the first whole pane after a change of the route; of the first whole hour if thresholds can be calibrated."""
    start = pane_start(changed_at, windows.pane) + windows.pane
    return pane_start(start + HOUR - windows.pane, HOUR) if policy.can_calibrate(windows) else start


@dataclass(frozen=True, kw_only=True)
class FilledTime:
    """The parts of days that have rows, up to the end of the period and without a long pause. ``starts``: oldest first."""

    part: timedelta
    starts: tuple[datetime, ...] = ()

    def since(self, moment: datetime) -> timedelta:
        """The length of all parts that start at ``moment`` or later."""
        return self.part * (len(self.starts) - bisect_left(self.starts, moment))

    @property
    def all(self) -> timedelta:
        return self.part * len(self.starts)

    def start_of_last(self, length: timedelta) -> datetime:
        """The start of the newest parts that add up to ``length``. Raises IndexError where there are fewer."""
        return self.starts[-max(1, -(-length // self.part))]


def filled_time(moments: Collection[datetime], *, until: datetime, windows: WindowPolicy, policy: PinningPolicy) -> FilledTime:
    """``moments``: starts of panes with rows. Counts back from ``until`` to the last pause of more than ``PAUSE_DAYS``."""
    part = windows.pane * max(1, policy.whole_day // PARTS_OF_A_DAY // windows.pane)
    starts: list[datetime] = []
    oldest = until
    for moment in sorted((moment for moment in moments if moment < until), reverse=True):
        if oldest - moment > policy.whole_day * PAUSE_DAYS:
            break
        oldest, start = moment, pane_start(moment, part)
        if not starts or starts[-1] != start:
            starts.append(start)
    if starts and pane_start(oldest, windows.pane) != starts[-1]:
        starts.pop()  # the first rows came in the middle of the oldest part
    return FilledTime(part=part, starts=tuple(reversed(starts)))


def pinning_due(
    *,
    inputs: Reference | None,
    outputs: Reference | None,
    champion_alone_since: datetime | None,
    filled: FilledTime,
    newest: datetime,
    policy: PinningPolicy,
    may_replace: bool = True,
) -> PinningDue:
    """``newest``: where a period ends. ``champion_alone_since``: ``newest`` during a rollout; None if the route never changed.

    A reference in force is only replaced by a longer one, if the daemon pinned it, and not during a rollout or while an alert is open
    (``may_replace``): neither two adapters' answers nor drift must enter a reference.
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
        return replace(nothing, covers=Covers.OUTPUT, reason="too little traffic that only the champion answered")
    if not may_replace:
        return replace(nothing, reason="a reference is in force, and it is not replaced during a rollout or while an alert is open")
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
    """INPUT if another adapter answered in a part of the period, else ALL. None: the route never changed."""
    return Covers.INPUT if champion_alone_since is not None and champion_alone_since > start else Covers.ALL


def _seen(days: int) -> str:
    return "one whole day of traffic has been seen" if days == 1 else f"{days} whole days of traffic have been seen"
