"""A named person takes an alert.

In: the alert, who, until when. Out: the acknowledged alert. Its end is decided in ``lifecycle``.
"""

from dataclasses import replace
from datetime import datetime

from flywheel.alerts.alert import Acknowledgement, Alert, AlertState
from flywheel.errors import InvalidInput, Refused
from flywheel.ids import DAEMON, Person
from flywheel.plausible import check_moments, check_text


def acknowledge(*, alert: Alert, by: Person, note: str, now: datetime, until: datetime) -> Alert:
    """A second person may take it over. Raises Refused unless the alert is firing or acknowledged."""
    where = f"alert {alert.id}"
    check_moments(where, now=now, until=until)
    check_text(note, where=f"{where}, note", empty=True)
    check_text(by, where=f"{where}, by", empty=True)
    if not by.strip() or by == DAEMON:
        raise Refused("only a named person can acknowledge", where=where, value=by, remedy="Use a person's token.")
    if until <= now:
        raise InvalidInput(
            "an acknowledgement must end in the future", where=where, value=until.isoformat(), remedy="Give hours greater than zero."
        )
    if alert.state is AlertState.RESOLVED:
        raise Refused("it is resolved already", where=where, remedy="There is nothing to take; see `flywheel alerts list --open`.")
    if alert.state is AlertState.PENDING:
        raise Refused("it is not firing yet", where=where, remedy="Wait until its facts have held for long enough.")
    return replace(alert, state=AlertState.ACKNOWLEDGED, acknowledgement=Acknowledgement(by=by, at=now, until=until, note=note))
