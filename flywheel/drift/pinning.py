"""When does the daemon pin a reference by itself, and over which period?

In: the references in force, since when there is traffic and a champion alone, the policy. Out: a period to pin, or why there is none. A
person may pin at any time; what a person pinned is never replaced.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from flywheel.drift.reference import Covers, Reference
from flywheel.drift.thresholds import HOUR
from flywheel.ids import DAEMON
from flywheel.windows.pane import WindowPolicy, pane_start

DAY = timedelta(days=1)
PAUSE_DAYS = 3  # without traffic, as a weekend of an office is: what came before still says what is usual


@dataclass(frozen=True, kw_only=True)
class PinningPolicy:
    """When the daemon pins by itself."""

    whole_day: timedelta
    watch: timedelta  # after a promotion, before the new champion's answers are the normal ones
    stages: tuple[int, ...] = (1, 2, 3, 4, 5, 6, 7, 14, 28)
    """Whole days after which the daemon pins again: each day of the first week, since each makes a young reference much better."""

    def by_the_clock(self, windows: WindowPolicy) -> bool:
        """Are days and windows those of the clock, for which thresholds can be calibrated?"""
        return self.whole_day == DAY and windows.window == HOUR

    @property
    def longest(self) -> timedelta:
        return self.whole_day * max(self.stages)


@dataclass(frozen=True, kw_only=True)
class PinningDue:
    """A period to pin now, or None for both ends, and why."""

    start: datetime | None
    end: datetime | None
    covers: Covers
    reason: str


def period_end(newest: datetime, *, both_stand: bool, windows: WindowPolicy, policy: PinningPolicy) -> datetime:
    """Where a reference pinned now would end: with a pane, with an hour where thresholds are calibrated by it, and with a day of the
    calendar once an input and an output reference stand."""
    end = pane_start(newest, windows.pane)
    if policy.whole_day == DAY and both_stand:
        return end.replace(hour=0, minute=0, second=0, microsecond=0)
    return end.replace(minute=0, second=0, microsecond=0) if policy.by_the_clock(windows) else end


def first_whole_pane(changed_at: datetime, *, windows: WindowPolicy, policy: PinningPolicy) -> datetime:
    """The first moment at which only the champion answered, after the route changed; on the hour where thresholds are calibrated by it."""
    start = pane_start(changed_at, windows.pane) + windows.pane
    return pane_start(start + HOUR - windows.pane, HOUR) if policy.by_the_clock(windows) else start


def unbroken_since(moments: Collection[datetime], *, until: datetime, policy: PinningPolicy) -> datetime | None:
    """Since when there has been traffic, up to ``until``, without a pause of more than ``PAUSE_DAYS``; None where there is none in the
    last one.

    A test a month ago is no beginning: days without traffic say nothing of what is usual.
    """
    since = None
    for moment in sorted((moment for moment in moments if moment <= until), reverse=True):
        if (since or until) - moment > policy.whole_day * PAUSE_DAYS:
            break
        since = moment
    return since


def pinning_due(
    *,
    inputs: Reference | None,
    outputs: Reference | None,
    champion_alone_since: datetime | None,
    first_seen: datetime | None,
    newest: datetime,
    policy: PinningPolicy,
    calm: bool = True,
) -> PinningDue:
    """``first_seen``: how far back there is traffic. ``champion_alone_since``: None while a challenger takes part, or nobody knows.

    ``calm``: no alert is open. A reference that stands is only replaced by a longer one of the daemon's own, in calm: what drifts now
    must not become the normal.
    """
    nothing = PinningDue(start=None, end=None, covers=Covers.ALL, reason="a reference is in force")
    if inputs is None:
        if first_seen is not None and newest - first_seen >= policy.whole_day:
            start = newest - policy.whole_day * _stage(newest - first_seen, policy)
            return PinningDue(start=start, end=newest, covers=_covers(start, champion_alone_since), reason=_seen(newest - start, policy))
        return replace(nothing, reason="under one whole day has been seen, and nobody pinned a reference")
    if outputs is None:
        if champion_alone_since is not None and newest - champion_alone_since >= policy.watch:
            days = _stage(newest - champion_alone_since, policy)
            start = newest - policy.whole_day * days if days else champion_alone_since
            return PinningDue(start=start, end=newest, covers=Covers.OUTPUT, reason="the new champion's watch period has passed")
        return replace(nothing, covers=Covers.OUTPUT, reason="the new champion is still in its watch period")
    if not calm:
        return replace(nothing, reason="a reference is in force, and while an alert is open none is replaced")
    for held, since in ((inputs, first_seen), (outputs, champion_alone_since)):
        if since is None or held.pinned_by != DAEMON:
            continue
        days = _stage(newest - since, policy)
        if days >= 1 and held.end - held.start < policy.whole_day * days:
            start = newest - policy.whole_day * days
            covers = _covers(start, champion_alone_since) if held is inputs else Covers.OUTPUT
            return PinningDue(start=start, end=newest, covers=covers, reason=_seen(newest - start, policy))
    return nothing


def _stage(seen: timedelta, policy: PinningPolicy) -> int:
    """Of so much traffic, how many whole days make a reference: the longest of the stages it fills."""
    days = seen // policy.whole_day
    return max([stage for stage in policy.stages if stage <= days], default=0)


def _covers(start: datetime, champion_alone_since: datetime | None) -> Covers:
    """Where another adapter answered in a part of the period, it says nothing about this one's answers."""
    return Covers.INPUT if champion_alone_since is not None and champion_alone_since > start else Covers.ALL


def _seen(period: timedelta, policy: PinningPolicy) -> str:
    days = period // policy.whole_day
    return "one whole day has been seen" if days == 1 else f"{days} whole days have been seen"
