"""Routes: alerts and their acknowledgement."""

from fastapi import APIRouter
from pydantic import Field

from flywheel.alerts.alert import Alert
from flywheel.errors import NotFound
from flywheel.ids import AlertId
from services.api.access import OPERATE, READ, Bearer, admitted, visible
from services.api.acknowledge_alerts import acknowledge
from services.api.json_values import Json, alert_json
from services.api.requests import RequestBody
from services.api.wiring import ApiParts


class AcknowledgementBody(RequestBody):
    note: str = Field(default="", max_length=2_000)
    hours: float | None = Field(default=None, gt=0, le=24 * 14)


def alert_routes(parts: ApiParts) -> APIRouter:
    """``/v1/alerts``."""
    routes = APIRouter()

    @routes.get("/v1/alerts")
    def list_alerts(authorization: Bearer = None, workload: str | None = None, open: bool = False) -> dict[str, Json]:
        found: list[Alert] = []
        for name in visible(parts, authorization, workload):
            found.extend(parts.ledger.alerts.alerts(workload=name, open_only=open))
        return {"alerts": [alert_json(alert) for alert in sorted(found, key=lambda alert: alert.started_at, reverse=True)]}

    @routes.get("/v1/alerts/{alert_id}")
    def show_alert(alert_id: str, authorization: Bearer = None) -> Json:
        admitted(parts, authorization, READ)
        alert = _alert(alert_id)
        admitted(parts, authorization, READ, workload=alert.workload)
        return alert_json(alert)

    @routes.post("/v1/alerts/{alert_id}/ack")
    def acknowledge_alert(alert_id: str, body: AcknowledgementBody, authorization: Bearer = None) -> Json:
        admitted(parts, authorization, OPERATE)
        person = admitted(parts, authorization, OPERATE, workload=_alert(alert_id).workload)
        return alert_json(acknowledge(parts, AlertId(alert_id), by=person, note=body.note, hours=body.hours, now=parts.clock()))

    def _alert(alert_id: str) -> Alert:
        alert = parts.ledger.alerts.alert(AlertId(alert_id))
        if alert is None:
            raise NotFound("there is no such alert", where="alert", value=alert_id, remedy="List them: flywheel alerts list.")
        return alert

    return routes
