"""Error responses: ``{"error": {kind, where, value, reason, remedy, exit_code}}`` with the HTTP status that fits."""

import math

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from flywheel.errors import CannotRun, Conflict, FlywheelError, InvalidInput, NotAllowed, NotFound, Refused, shortened
from services.api.access import status_of
from services.api.json_values import Json
from services.api.requests import TooLarge, TooSlow
from services.observability.unexpected import sentence_of, trace_of
from services.process.request_limits import TooManyRequests
from services.process.wait_for_disk import disk_trouble

STATUS: tuple[tuple[type[FlywheelError], int], ...] = (
    (TooLarge, 413),
    (TooSlow, 408),
    (TooManyRequests, 429),
    (InvalidInput, 422),
    (NotFound, 404),
    (Conflict, 409),
    (Refused, 409),
    (CannotRun, 503),
)
log = structlog.get_logger()


def error_json(error: FlywheelError) -> dict[str, Json]:
    """``exit_code`` is the command line's."""
    return {
        "kind": next((kind.__name__ for kind in type(error).__mro__ if kind.__module__ == "flywheel.errors"), "FlywheelError"),
        "where": _encodable(error.where),
        "value": _shown(error.value),
        "reason": _encodable(error.reason),
        "remedy": _encodable(error.remedy),
        "exit_code": error.exit_code,
    }


def _shown(value: object) -> Json:
    """NaN and infinity are no JSON, and bytes would fill the screen."""
    short = shortened(value)
    if isinstance(short, bool | int | None) or (isinstance(short, float) and math.isfinite(short)):
        return short
    return _encodable(str(shortened(str(short))))


def _encodable(text: str) -> str:
    """Half of a character cannot be written as UTF-8."""
    return text.encode(errors="backslashreplace").decode()


def answer_errors(app: FastAPI) -> None:
    """Registers handlers, so that every failure has the same form."""

    @app.exception_handler(FlywheelError)
    async def known(_request: Request, error: FlywheelError) -> JSONResponse:
        status = (
            status_of(error) if isinstance(error, NotAllowed) else next((code for kind, code in STATUS if isinstance(error, kind)), 500)
        )
        headers = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
        if isinstance(error, TooManyRequests):
            headers["Retry-After"] = str(error.retry_after)
        return JSONResponse({"error": error_json(error)}, status_code=status, headers=headers)

    @app.exception_handler(RequestValidationError)
    async def invalid_request(_request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(shortened(part)) for part in first["loc"])
        named = InvalidInput(
            str(first["msg"]), where=where, value=shortened(first.get("input")), remedy="Correct the request; see deploy/docs."
        )
        return JSONResponse({"error": error_json(named)}, status_code=422)

    @app.exception_handler(HTTPException)
    async def no_such_route(request: Request, error: HTTPException) -> JSONResponse:
        at = f"{request.method} {shortened(request.url.path)}"
        named = NotFound(str(error.detail), where=at, remedy="See the routes in /openapi.json.")
        return JSONResponse({"error": error_json(named)}, status_code=error.status_code)

    @app.exception_handler(Exception)
    async def unexpected(request: Request, error: Exception) -> JSONResponse:
        """The log gets the places in the code, the caller one sentence."""
        if (why := disk_trouble(error)) is not None:
            log.warning("A request is refused: the disk cannot be written.", action="disk_refused", error=why)
            full = CannotRun(f"the disk cannot be written: {why}", where="data_dir", remedy="Try again when there is room.")
            return JSONResponse({"error": error_json(full)}, status_code=503)
        log.error(f"A route failed: {sentence_of(error)}", action="route_failed", route=request.url.path, trace=trace_of(error))
        named = FlywheelError(
            f"the api failed on this request ({type(error).__name__})",
            where=f"{request.method} {request.url.path}",
            remedy="The api's log has the places in the code; please report it.",
        )
        return JSONResponse({"error": error_json(named)}, status_code=500)
