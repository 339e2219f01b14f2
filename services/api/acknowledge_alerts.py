"""Acknowledges an alert in a person's name.

In: a person, an alert's id, the time. Out: the acknowledged alert, saved with its journal line. ``flywheel.alerts`` decides; the routes
check who may ask.
"""

from datetime import datetime, timedelta

from flywheel.alerts.acknowledgement import acknowledge as decide_acknowledgement
from flywheel.alerts.alert import Alert
from flywheel.alerts.lifecycle import AlertPolicy
from flywheel.errors import NotFound
from flywheel.ids import AlertId, Person, WorkloadId
from flywheel.journal import JournalEntry, JournalKind
from services.api.compare_and_set import until_saved
from services.api.wiring import ApiParts


def acknowledge(parts: ApiParts, alert_id: AlertId, *, by: Person, note: str, hours: float | None, now: datetime) -> Alert:
    """Raises NotFound; Refused when the alert is resolved; Conflict."""

    def attempt() -> Alert | None:
        alert = parts.ledger.alerts.alert(alert_id)
        if alert is None:
            raise NotFound("there is no such alert", where="alert", value=alert_id, remedy="List them: flywheel alerts list.")
        until = now + (timedelta(hours=hours) if hours is not None else _default_length(parts, alert.workload))
        changed = decide_acknowledgement(alert=alert, by=by, note=note, now=now, until=until)
        entry = JournalEntry(
            at=now,
            workload=alert.workload,
            kind=JournalKind.ALERT,
            subject=alert.id,
            state=changed.state.value,
            reason="acknowledged by a person",
            actor=by,
            evidence={"until": until.isoformat(), "from": alert.state.value},
        )
        return parts.ledger.alerts.save_alert(changed, entry)

    return until_saved(attempt, kind="alert", subject=alert_id)


def _default_length(parts: ApiParts, workload: WorkloadId) -> timedelta:
    """A workload that left the configuration can still have an open alert: then the policy's default."""
    rules = parts.workloads.get(workload)
    return rules.acknowledgement if rules is not None else AlertPolicy.acknowledgement
