"""A named person acknowledges an alert.

In: the alert, the person, until when. Out: the acknowledged alert. When the acknowledgement ends is decided in ``lifecycle``.
"""

from dataclasses import replace
from datetime import datetime

from flywheel.alerts.alert import Acknowledgement, Alert, AlertState
from flywheel.errors import Refused
from flywheel.ids import DAEMON, Person


def acknowledge(*, alert: Alert, by: Person, note: str, now: datetime, until: datetime) -> Alert:
    """Another person may acknowledge it again. Raises Refused unless the alert is firing or acknowledged."""
    where = f"alert {alert.id}"
    if not by.strip() or by == DAEMON:
        raise Refused("only a named person can acknowledge", where=where, value=by, remedy="Use a person's token.")
    if alert.state is AlertState.RESOLVED:
        raise Refused("it is resolved already", where=where, remedy="See `flywheel alerts list --open`.")
    if alert.state is AlertState.PENDING:
        raise Refused("it is not firing yet", where=where, remedy="Wait until the drift has held for long enough.")
    return replace(alert, state=AlertState.ACKNOWLEDGED, acknowledgement=Acknowledgement(by=by, at=now, until=until, note=note))
