"""Who must still be told what?

In: an alert, the time. Out: the notifications it owes, oldest first; each is sent once to each receiver. Sending is not done here.
"""

from datetime import datetime, timedelta

from flywheel.alerts.alert import Alert, AlertState
from flywheel.errors import FlywheelError

TOLD_FOR = timedelta(days=7)
"""After its end. A receiver that is configured today is not told of what ended long ago."""


class NotDelivered(FlywheelError):
    """The receiver did not take the notification: it must be tried again."""


class RefusedForGood(NotDelivered):
    """The receiver refuses this notification, whenever it is sent: it is not tried again."""


def owed(alert: Alert, *, now: datetime) -> tuple[str, ...]:
    """Follows from the alert alone, so that a restart owes the same. An alert that never fired owes nothing."""
    if alert.fired_at is None or (alert.resolved_at is not None and now - alert.resolved_at > TOLD_FOR):
        return ()
    kinds = ["firing"]
    if alert.fired_again_at is not None and alert.state is not AlertState.RESOLVED:
        kinds.append(f"firing_again@{alert.fired_again_at.isoformat()}")
    if alert.state is AlertState.RESOLVED:
        kinds.append("resolved")
    return tuple(kinds)
