"""Scripts of web pages may call the gateway from the origins that the settings name (CORS).

A browser asks first, without a token, whether it may: such a preflight is answered here, before any token is looked at.
"""

from collections.abc import Awaitable, Callable, Collection

from aiohttp import web

EXPOSED = "X-Flywheel-Request, X-Flywheel-Adapter, Retry-After"
METHODS = "GET, POST, DELETE, OPTIONS"
PREFLIGHT_SECONDS = 600
"""How long a browser keeps the answer; ten minutes is what the strictest one takes."""
EVERY_ORIGIN = "*"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def allow_origins(app: web.Application, origins: Collection[str]) -> None:
    """Every answer under /v1, streamed or not, tells an allowed page that its script may read it."""

    def is_allowed(request: web.Request) -> bool:
        origin = request.headers.get("Origin")
        return origin is not None and request.path.startswith("/v1/") and (origin in origins or EVERY_ORIGIN in origins)

    async def say_so(request: web.Request, response: web.StreamResponse) -> None:
        if is_allowed(request):
            response.headers["Access-Control-Allow-Origin"] = request.headers["Origin"]
            response.headers["Access-Control-Expose-Headers"] = EXPOSED
        if origins:
            response.headers.add("Vary", "Origin")

    @web.middleware
    async def answer_preflight(request: web.Request, handler: Handler) -> web.StreamResponse:
        asked = request.headers.get("Access-Control-Request-Method")
        if request.method != "OPTIONS" or asked is None or not is_allowed(request):
            return await handler(request)
        return web.Response(
            status=204,
            headers={
                "Access-Control-Allow-Methods": METHODS,
                "Access-Control-Allow-Headers": request.headers.get("Access-Control-Request-Headers", "Authorization, Content-Type"),
                "Access-Control-Max-Age": str(PREFLIGHT_SECONDS),
            },
        )

    app.on_response_prepare.append(say_so)
    app.middlewares.insert(0, answer_preflight)
