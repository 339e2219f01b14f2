"""The paths of the gateway, and which handler answers each."""

from collections.abc import Collection

from aiohttp import web

from services.gateway.admin import Admin
from services.gateway.client_connections import expectation
from services.gateway.cross_origin import allow_origins
from services.gateway.error_responses import NOTE_REFUSAL, NoteRefusal, errors_as_json, mark_answered
from services.gateway.pass_through import PassThrough
from services.gateway.proxy import Gateway
from services.gateway.read_request import BODY_SECONDS, LARGEST_BODY

ADMIN_BODY_SECONDS = 10.0  # the daemon's own processes, on this host


def admin_app(admin: Admin) -> web.Application:
    """Of one process alone, on its own port."""
    app = web.Application(middlewares=[errors_as_json])
    app[BODY_SECONDS] = ADMIN_BODY_SECONDS
    app.add_routes(admin.routes())
    return app


def gateway_app(
    *, gateway: Gateway, others: PassThrough, admin: Admin, cors_origins: Collection[str], body_seconds: float, note_refusal: NoteRefusal
) -> web.Application:
    """The more special path first. ``body_seconds``: within which a body must arrive. ``note_refusal``: of each refused attempt."""
    app = web.Application(client_max_size=LARGEST_BODY, middlewares=[errors_as_json])
    app[BODY_SECONDS], app[NOTE_REFUSAL] = body_seconds, note_refusal
    app.on_response_prepare.append(mark_answered)
    allow_origins(app, cors_origins)
    routes = [
        web.post("/v1/chat/completions", gateway.complete),
        web.get("/v1/models", gateway.list_models),
        web.get("/v1/models/{model:.+}", gateway.retrieve_model),
        web.post("/v1/{route:.+}", others.pass_on),
        web.get("/v1/{route:.+}", others.pass_on, allow_head=False),
        *admin.routes(),
    ]
    app.add_routes([web.RouteDef(one.method, one.path, one.handler, {**one.kwargs, "expect_handler": expectation}) for one in routes])
    return app
