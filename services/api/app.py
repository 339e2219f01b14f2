"""The HTTP application: every route of the daemon but the gateway's.

In: the parts. Out: a FastAPI app. Does not listen.
"""

from typing import Any

from fastapi import FastAPI, Response
from fastapi.responses import JSONResponse
from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from services.api.error_responses import answer_errors
from services.api.routes.alerts import alert_routes
from services.api.routes.corrections import correction_routes
from services.api.routes.dead_letters import dead_letter_routes
from services.api.routes.drift import drift_routes
from services.api.routes.gate import gate_routes
from services.api.routes.lineage import lineage_routes
from services.api.routes.regression_suite import regression_suite_routes
from services.api.routes.retraining import retraining_routes
from services.api.routes.rollout import rollout_routes
from services.api.routes.status import status_routes
from services.api.routes.tokens import token_routes
from services.api.routes.traffic import traffic_routes
from services.api.routes.training_set import training_set_routes
from services.api.wiring import ApiParts
from services.process.health import NotReadyReason

ROUTES = (
    traffic_routes,
    dead_letter_routes,
    drift_routes,
    alert_routes,
    correction_routes,
    training_set_routes,
    regression_suite_routes,
    retraining_routes,
    gate_routes,
    rollout_routes,
    status_routes,
    lineage_routes,
    token_routes,
)


class DescribedApi(FastAPI):
    """Its OpenAPI document says what a token is; each route names the scopes that open it."""

    def openapi(self) -> dict[str, Any]:
        document = super().openapi()
        document.setdefault("components", {})["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        return document


def build_app(parts: ApiParts, *, ready: NotReadyReason) -> FastAPI:
    """``ready`` answers None, or why not."""
    app = DescribedApi(title="Flywheel", docs_url=None, redoc_url=None)
    app.state.body_seconds = parts.http.body_seconds
    answer_errors(app)
    for routes in ROUTES:
        app.include_router(routes(parts))

    @app.get("/healthz")
    def healthz() -> dict[str, object]:
        return {"process": "api", "alive": True}

    @app.get("/readyz")
    def readyz() -> JSONResponse:
        reason = ready()
        return JSONResponse({"process": "api", "ready": reason is None, "reason": reason or ""}, status_code=200 if reason is None else 503)

    @app.get("/metrics")
    def metrics() -> Response:
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    return app
