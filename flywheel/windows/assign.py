"""Which pane a moment belongs to, and which windows may close.

In: event times and the policy. Out: moments. Both count from the epoch, so that every worker and every restart cuts
time in the same places. Closing by the wall clock when traffic stopped is the caller's: it hands in a later ``newest``.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from flywheel.errors import InvalidInput
from flywheel.plausible import check_moments, check_whole

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
CENTURY = timedelta(days=36_525)


@dataclass(frozen=True, kw_only=True)
class WindowPolicy:
    """Lengths in panes, so that a demo in seconds and a production in hours are the same policy."""

    pane: timedelta = timedelta(minutes=5)
    window_panes: int = 12
    slide_panes: int = 12
    lateness: timedelta = timedelta(minutes=1)  # a window closes this long after its end, in event time
    longer_panes: tuple[int, ...] = (24, 48, 72, 144, 288)  # longer windows that end with each window: 2 to 24 hours in panes of 5 minutes

    def __post_init__(self) -> None:
        lengths = (self.window_panes, *self.longer_panes)
        for panes in (self.slide_panes, *lengths):
            check_whole(panes, where="window policy: panes", least=1)
        if not isinstance(self.pane, timedelta) or not isinstance(self.lateness, timedelta):
            raise InvalidInput(
                "panes and lateness are lengths of time",
                where="window policy",
                value=(self.pane, self.lateness),
                remedy="Correct the workload's `watch` settings.",
            )
        if self.pane <= timedelta() or self.slide_panes < 1 or self.window_panes < 1 or self.lateness < timedelta():
            raise InvalidInput(
                "panes, windows and slides have a length, and lateness is not below zero",
                where="window policy",
                value=(str(self.pane), self.window_panes, self.slide_panes, str(self.lateness)),
                remedy="Correct the workload's `watch` settings.",
            )
        if list(lengths) != sorted(set(lengths)):
            raise InvalidInput(
                "longer windows must each be longer than the one before",
                where="window policy",
                value=lengths,
                remedy="Give `watch.longer_panes` in ascending order, all above `watch.window_panes`.",
            )
        longest = max(self.slide_panes, *lengths)
        if self.pane.total_seconds() * longest + self.lateness.total_seconds() > CENTURY.total_seconds():
            raise InvalidInput(
                "a window is longer than a century",
                where="window policy",
                value=(str(self.pane), longest),
                remedy="Correct the workload's `watch` settings.",
            )

    @property
    def window(self) -> timedelta:
        return self.pane * self.window_panes

    @property
    def slide(self) -> timedelta:
        return self.pane * self.slide_panes


@dataclass(frozen=True, kw_only=True)
class Nested:
    """A window, and the part of it that no shorter window with the same end holds."""

    start: datetime
    end: datetime
    added_until: datetime  # the part is [start, added_until)


def nested_windows(end: datetime, policy: WindowPolicy) -> tuple[Nested, ...]:
    """The windows of every length that end here, shortest first. Summing their parts in this order reads each pane once."""
    check_moments("windows of one end", end=end)
    windows: list[Nested] = []
    until = end
    for panes in (policy.window_panes, *policy.longer_panes):
        start = end - policy.pane * panes
        windows.append(Nested(start=start, end=end, added_until=until))
        until = start
    return tuple(windows)


def pane_start(at: datetime, pane: timedelta) -> datetime:
    """The start of the pane that holds ``at``."""
    check_moments("pane", moment=at)
    if pane <= timedelta():
        raise InvalidInput("a pane has a length", where="pane", value=str(pane), remedy="Correct `watch.pane_seconds`.")
    return EPOCH + (at - EPOCH) // pane * pane


def windows_to_close(
    newest: datetime, last_closed_end: datetime | None, policy: WindowPolicy, *, at_most: int = 500
) -> list[tuple[datetime, datetime]]:
    """Windows that no row should reach any more, oldest first. Nothing closed before: only the newest such window.

    After a long pause only the newest ``at_most`` are given: a window nobody waits for is not worth the backlog.
    """
    check_moments("windows to close", newest=newest, last_closed_end=last_closed_end)
    check_whole(at_most, where="windows to close: at_most", least=1)
    last_end = pane_start(newest - policy.lateness, policy.slide)
    if last_closed_end is None:
        return [(last_end - policy.window, last_end)]
    due = (last_end - pane_start(last_closed_end, policy.slide)) // policy.slide
    ends = [last_end - policy.slide * back for back in range(min(due, at_most) - 1, -1, -1)]
    return [(end - policy.window, end) for end in ends]
