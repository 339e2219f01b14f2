"""Who must still be told what?

In: an alert, the time. Out: the notices it owes, oldest first; each is sent once to each receiver. Sending is not done here.
"""

from datetime import datetime, timedelta

from flywheel.alerts.alert import Alert, AlertState
from flywheel.errors import FlywheelError
from flywheel.plausible import check_moments

OVER_FOR = timedelta(days=7)
"""A receiver that is named today is not told of what ended long ago."""


class NotDelivered(FlywheelError):
    """The receiver did not take the notice: it must be tried again."""


def owed(alert: Alert, *, now: datetime) -> tuple[str, ...]:
    """Follows from the alert alone, so that a restart owes the same. One that never fired owes nothing."""
    check_moments(f"alert {alert.id}", now=now, fired_at=alert.fired_at, resolved_at=alert.resolved_at)
    if alert.fired_at is None or (alert.resolved_at is not None and now - alert.resolved_at > OVER_FOR):
        return ()
    kinds = ["firing"]
    again = alert.evidence.get("fired_again_at")
    if again and alert.state is not AlertState.RESOLVED:
        kinds.append(f"firing_again@{again}")
    if alert.state is AlertState.RESOLVED:
        kinds.append("resolved")
    return tuple(kinds)
