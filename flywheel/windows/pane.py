"""How time is cut: which pane a moment belongs to, which windows may close, and which longer windows end with each.

In: event times, the clock, the policy. Out: moments. Panes and windows count from the epoch, so that every worker and every restart cuts
time in the same places.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from flywheel.errors import InvalidInput

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
        """Raises InvalidInput for lengths that a workload's `watch` settings may state and that make no windows."""
        lengths = (self.window_panes, *self.longer_panes)
        longest = max(self.slide_panes, *lengths)
        if self.pane <= timedelta() or min(self.slide_panes, *lengths) < 1 or self.lateness < timedelta():
            reason, value = "panes, windows and slides must be longer than nothing, and lateness not negative", (str(self.pane), lengths)
        elif list(lengths) != sorted(set(lengths)):
            reason, value = "longer windows must each be longer than the one before", ("panes", lengths)
        elif self.pane.total_seconds() * longest + self.lateness.total_seconds() > CENTURY.total_seconds():
            reason, value = "a window is longer than a century", (str(self.pane), lengths)
        else:
            return
        remedy = "Give `watch.longer_panes` in ascending order, all above `watch.window_panes`, and every length above zero."
        raise InvalidInput(reason, where="window policy", value=value, remedy=remedy)

    @property
    def window(self) -> timedelta:
        return self.pane * self.window_panes

    @property
    def slide(self) -> timedelta:
        return self.pane * self.slide_panes


@dataclass(frozen=True, kw_only=True)
class NestedWindow:
    """A window, and the part of it that no shorter window with the same end contains."""

    start: datetime
    end: datetime
    added_until: datetime  # the part is [start, added_until)


def nested_windows(end: datetime, policy: WindowPolicy) -> tuple[NestedWindow, ...]:
    """The windows of every length that end here, shortest first. Summing their parts in this order reads each pane once."""
    windows: list[NestedWindow] = []
    until = end
    for panes in (policy.window_panes, *policy.longer_panes):
        start = end - policy.pane * panes
        windows.append(NestedWindow(start=start, end=end, added_until=until))
        until = start
    return tuple(windows)


def pane_start(at: datetime, pane: timedelta) -> datetime:
    """The start of the pane that contains ``at``."""
    return EPOCH + (at - EPOCH) // pane * pane


def closing_edge(*, newest: datetime, now: datetime, policy: WindowPolicy) -> datetime:
    """The event time up to which windows may close: that of the newest row, never ahead of the clock, at most a pane and the lateness
    behind it.

    After the last row one window without rows closes, which says that there is no data; later silence closes none. A row from the future
    cannot take away the lateness: by the clock too a window closes no sooner than the lateness after its end.
    """
    by_clock = now - policy.pane - policy.lateness
    last_worth_closing = newest + policy.window + policy.slide + policy.lateness
    return min(max(newest, min(by_clock, last_worth_closing)), now)


def windows_to_close(
    edge: datetime, last_closed_end: datetime | None, policy: WindowPolicy, *, at_most: int = 500
) -> list[tuple[datetime, datetime]]:
    """Windows that no row should reach any more, oldest first. Nothing closed before: only the newest such window.

    After a long pause only the newest ``at_most`` are returned: nobody waits for the older ones.
    """
    last_end = pane_start(edge - policy.lateness, policy.slide)
    due = number_of_due_windows(edge, last_closed_end, policy)
    ends = [last_end - policy.slide * back for back in range(min(due, at_most) - 1, -1, -1)]
    return [(end - policy.window, end) for end in ends]


def number_of_due_windows(edge: datetime, last_closed_end: datetime | None, policy: WindowPolicy) -> int:
    """How many windows no row should reach any more and are not closed."""
    if last_closed_end is None:
        return 1
    return max(0, (pane_start(edge - policy.lateness, policy.slide) - pane_start(last_closed_end, policy.slide)) // policy.slide)
