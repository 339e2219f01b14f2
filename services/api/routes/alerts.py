"""Routes: alerts and their acknowledgement."""

from fastapi import APIRouter
from pydantic import Field

from flywheel.alerts.alert import Alert
from flywheel.errors import NotFound
from flywheel.ids import AlertId
from services.api.access import OPERATE, READ, Caller, CallerOf, guarded_routes, opened_by
from services.api.acknowledge_alerts import acknowledge
from services.api.json_values import Json, alert_json
from services.api.requests import RequestBody
from services.api.wiring import ApiParts


class AcknowledgementBody(RequestBody):
    note: str = Field(default="", max_length=2_000)
    hours: float | None = Field(default=None, gt=0, le=24 * 14)


def alert_routes(parts: ApiParts) -> APIRouter:
    """``/v1/alerts``."""
    routes = guarded_routes(parts)

    @routes.get("/v1/alerts", openapi_extra=opened_by(READ))
    def list_alerts(caller: CallerOf, workload: str | None = None, open: bool = False) -> dict[str, Json]:
        found: list[Alert] = []
        for name in caller.visible(workload):
            found.extend(parts.ledger.alerts.alerts(workload=name, open_only=open))
        return {"alerts": [alert_json(alert) for alert in sorted(found, key=lambda alert: alert.started_at, reverse=True)]}

    @routes.get("/v1/alerts/{alert_id}", openapi_extra=opened_by(READ))
    def show_alert(alert_id: str, caller: CallerOf) -> Json:
        return alert_json(_alert(caller, alert_id))

    @routes.post("/v1/alerts/{alert_id}/ack", openapi_extra=opened_by(OPERATE))
    def acknowledge_alert(alert_id: str, body: AcknowledgementBody, caller: CallerOf) -> Json:
        alert = _alert(caller, alert_id)
        return alert_json(acknowledge(parts, alert.id, by=caller.person, note=body.note, hours=body.hours, now=parts.clock()))

    def _alert(caller: Caller, alert_id: str) -> Alert:
        alert = parts.ledger.alerts.alert(AlertId(alert_id))
        if alert is None or not caller.covers(alert.workload):
            raise NotFound("there is no such alert", where="alert", value=alert_id, remedy="List them: flywheel alerts list.")
        return alert

    return routes
