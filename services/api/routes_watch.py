"""Routes: alerts and their acknowledgement, references and their pinning, the status page."""

from fastapi import APIRouter

from flywheel.alerts.alert import Alert
from flywheel.drift.reference import Reference
from flywheel.errors import NotFound
from flywheel.ids import AlertId
from services.api.access import OPERATE, READ, Bearer, admitted, admitted_to, visible
from services.api.bodies import Ack, Pin
from services.api.operations import acknowledge, pin
from services.api.overview import status
from services.api.shown import Json, reference_shown, shown
from services.api.wiring import ApiParts


def watch_routes(parts: ApiParts) -> APIRouter:
    """Alerts, references, status."""
    routes = APIRouter()

    @routes.get("/v1/alerts")
    def list_alerts(authorization: Bearer = None, workload: str | None = None, open: bool = False) -> dict[str, Json]:
        found: list[Alert] = []
        for name in visible(parts, authorization, workload):
            found.extend(parts.watch.alerts(workload=name, open_only=open))
        return {"alerts": [shown(alert) for alert in sorted(found, key=lambda alert: alert.started_at, reverse=True)]}

    @routes.get("/v1/alerts/{alert_id}")
    def one_alert(alert_id: str, authorization: Bearer = None) -> Json:
        admitted(parts, authorization, READ)
        alert = _alert(alert_id)
        admitted(parts, authorization, READ, workload=alert.workload)
        return shown(alert)

    @routes.post("/v1/alerts/{alert_id}/ack")
    def acknowledge_alert(alert_id: str, body: Ack, authorization: Bearer = None) -> Json:
        admitted(parts, authorization, OPERATE)
        person = admitted(parts, authorization, OPERATE, workload=_alert(alert_id).workload)
        return shown(acknowledge(parts, AlertId(alert_id), by=person, note=body.note, hours=body.hours, now=parts.clock()))

    @routes.get("/v1/references")
    def list_references(authorization: Bearer = None, workload: str | None = None) -> dict[str, Json]:
        found: list[Reference] = []
        for name in visible(parts, authorization, workload):
            found.extend(parts.watch.references(name))
        return {"references": [reference_shown(reference) for reference in found]}

    @routes.post("/v1/references/pin")
    def pin_reference(body: Pin, authorization: Bearer = None) -> dict[str, Json]:
        person, workload = admitted_to(parts, authorization, OPERATE, body.workload)
        pinned = pin(parts, workload, by=person, start=body.start, end=body.end, reason=body.reason, now=parts.clock())
        return reference_shown(pinned)

    @routes.get("/v1/status")
    def one_page(authorization: Bearer = None, workload: str | None = None) -> dict[str, Json]:
        return {"workloads": [status(parts, name) for name in visible(parts, authorization, workload)]}

    def _alert(alert_id: str) -> Alert:
        alert = parts.watch.alert(AlertId(alert_id))
        if alert is None:
            raise NotFound("there is no such alert", where="alert", value=alert_id, remedy="List them: flywheel alerts list.")
        return alert

    return routes
