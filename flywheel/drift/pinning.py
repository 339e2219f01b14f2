"""When the daemon pins a reference, and over which period.

In: the references in force, the first traffic, the time since which only the champion answers, the policy. Out: a period to pin, or the
reason that there is none. Never replaces a reference that a person pinned.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from flywheel.drift.reference import Covers, Reference
from flywheel.drift.thresholds import HOUR
from flywheel.ids import DAEMON
from flywheel.windows.pane import WindowPolicy, pane_start

DAY = timedelta(days=1)
PAUSE_DAYS = 3  # longest pause without traffic inside a period, such as a weekend


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
    def longest(self) -> timedelta:
        return self.whole_day * max(self.stages)


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


def unbroken_since(moments: Collection[datetime], *, until: datetime, policy: PinningPolicy) -> datetime | None:
    """The start of the traffic up to ``until`` without a pause of more than ``PAUSE_DAYS``; None if the last such days have no traffic."""
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
    """``first_seen``: start of the traffic. ``champion_alone_since``: None during a rollout, or if unknown. ``calm``: no alert is open.

    A reference in force is only replaced by a longer one, if the daemon pinned it and no alert is open: drift must not enter a reference.
    """
    nothing = PinningDue(start=None, end=None, covers=Covers.ALL, reason="a reference is in force")
    if inputs is None:
        if first_seen is not None and newest - first_seen >= policy.whole_day:
            start = newest - policy.whole_day * _stage(newest - first_seen, policy)
            return PinningDue(start=start, end=newest, covers=_covers(start, champion_alone_since), reason=_seen(newest - start, policy))
        return replace(nothing, reason="less than one whole day of traffic, and nobody pinned a reference")
    if outputs is None:
        if champion_alone_since is not None and newest - champion_alone_since >= policy.watch:
            days = _stage(newest - champion_alone_since, policy)
            start = newest - policy.whole_day * days if days else champion_alone_since
            return PinningDue(start=start, end=newest, covers=Covers.OUTPUT, reason="the new champion's watch period has passed")
        return replace(nothing, covers=Covers.OUTPUT, reason="the new champion is still in its watch period")
    if not calm:
        return replace(nothing, reason="a reference is in force, and it is not replaced while an alert is open")
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
    """The longest of the stages, in whole days, that ``seen`` fills; 0 if none."""
    days = seen // policy.whole_day
    return max([stage for stage in policy.stages if stage <= days], default=0)


def _covers(start: datetime, champion_alone_since: datetime | None) -> Covers:
    """INPUT if another adapter answered in a part of the period, else ALL."""
    return Covers.INPUT if champion_alone_since is not None and champion_alone_since > start else Covers.ALL


def _seen(period: timedelta, policy: PinningPolicy) -> str:
    days = period // policy.whole_day
    return "one whole day has been seen" if days == 1 else f"{days} whole days have been seen"
