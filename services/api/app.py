"""The HTTP application: every route of the daemon but the gateway's.

In: the parts. Out: a FastAPI app. Listening is not done here.
"""

from fastapi import FastAPI, Response
from fastapi.responses import JSONResponse
from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from services.api.errors import answer_errors
from services.api.routes_learn import learn_routes
from services.api.routes_record import record_routes
from services.api.routes_release import release_routes
from services.api.routes_watch import watch_routes
from services.api.wiring import ApiParts
from services.observability import Ready


def build_app(parts: ApiParts, *, ready: Ready) -> FastAPI:
    """``ready`` answers None, or why not."""
    app = FastAPI(title="Flywheel", docs_url=None, redoc_url=None)
    answer_errors(app)
    for routes in (record_routes, watch_routes, learn_routes, release_routes):
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
