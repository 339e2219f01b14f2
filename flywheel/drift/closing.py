"""Up to which event time may windows close, also when no more traffic comes?

In: the newest event time, the clock, the policy. Out: a moment. Which windows that closes is said by ``windows.assign``.
"""

from datetime import datetime

from flywheel.plausible import check_moments
from flywheel.windows.assign import WindowPolicy


def closing_edge(*, newest: datetime, now: datetime, policy: WindowPolicy) -> datetime:
    """Event time, but never ahead of the clock, and at most a pane and the lateness behind it.

    After the last row one window without rows closes, which says that there is no data; the silence after it does not fill the ledger.
    """
    check_moments("windows to close", newest=newest, now=now)
    ahead = now + policy.lateness  # a producer whose clock runs fast must not close what others still fill
    by_clock = now - policy.pane - policy.lateness
    last_worth_closing = newest + policy.window + policy.slide + policy.lateness
    return min(max(newest, min(by_clock, last_worth_closing)), ahead)
