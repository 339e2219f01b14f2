"""Errors in OpenAI's form, ``{"error": {message, type, param, code}}``: ours, and those of whatever serves the models.

In: an error of ours, or the body of a model server's answer. Out: a response, or a body. Clients raise their own exceptions from it and
retry 408, 409, 429 and 5xx; ``Retry-After`` says when.
"""

import re
import traceback
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import orjson
import structlog
from aiohttp import web

from flywheel.errors import FlywheelError, InvalidInput, NotAllowed, NotFound, shortened
from services.process.request_limits import TooManyRequests

log = structlog.get_logger()
RETRY_AFTER_SECONDS = 5
"""While a model server starts or an adapter is loaded again. OpenAI's clients wait so long, and by default try twice again."""
MOST_OF_A_MESSAGE = 2000
NoteRefusal = Callable[[NotAllowed], None]
NOTE_REFUSAL: web.AppKey[NoteRefusal] = web.AppKey("note_refusal")
ANSWERED = web.RequestKey("answered", bool)
"""Key of a request whose answer has begun: it can only be broken off."""
NAMES = {400: "invalid_request_error", 401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
MARKUP = re.compile(r"<(style|script|head)\b.*?(?:</\1\s*>|\Z)|<[a-z!?/][^<>]*>", re.DOTALL | re.IGNORECASE)
"""Each byte is read about once, whatever is left open: the page comes from outside, and all requests wait meanwhile."""


def error_content(message: str, *, status: int, code: str | None = None, param: str | None = None, **ours: object) -> bytes:
    """The JSON of one error; ``ours`` stands beside OpenAI's four fields."""
    told = {"message": message, "type": type_of(status), "param": param, "code": code} | ours
    return orjson.dumps({"error": {name: _encodable(value) for name, value in told.items()}}, default=str)


def error_response(
    message: str,
    *,
    status: int,
    code: str | None = None,
    param: str | None = None,
    headers: Mapping[str, str] | None = None,
    **ours: object,
) -> web.Response:
    """503 tells when to try again."""
    after = {"Retry-After": str(RETRY_AFTER_SECONDS)} if status == 503 else {}
    content = error_content(message, status=status, code=code, param=param, **ours)
    return web.Response(body=content, status=status, content_type="application/json", headers={**after, **(headers or {})})


def model_not_ready(model: str, *, headers: Mapping[str, str]) -> web.Response:
    """The adapter that answers for this name is not loaded, as after a restart of the model server: 404 would be taken as final."""
    reason, remedy = "the model is being loaded", "Try again in a few seconds; `flywheel release status` shows what is loaded."
    return error_response(
        f"{reason} ({model}). {remedy}",
        status=503,
        code="model_not_ready",
        headers=headers,
        param="model",
        where="body.model",
        value=model,
        reason=reason,
        remedy=remedy,
    )


def type_of(status: int) -> str:
    return NAMES.get(status, "invalid_request_error" if status < 500 else "server_error")


def in_openai_form(content: bytes, *, status: int) -> tuple[bytes, str]:
    """A model server's error as clients get it, and its message. What has the form already stays as it is, byte by byte."""
    try:
        value = orjson.loads(content)
    except orjson.JSONDecodeError:
        value = " ".join(MARKUP.sub(" ", content[:20_000].decode("utf-8", "replace")).split())
    if isinstance(value, dict):
        held = value.get("error")
        if isinstance(held, dict) and has_the_form(held):
            return content, held["message"][:MOST_OF_A_MESSAGE]
        value = held or value.get("detail") or value
    error = completed(value, status=status)
    return orjson.dumps({"error": error}), error["message"]


def has_the_form(error: object) -> bool:
    return isinstance(error, dict) and isinstance(error.get("message"), str) and {"type", "param", "code"} <= error.keys()


def completed(error: object, *, status: int) -> dict[str, Any]:
    """OpenAI's four fields, from an object that has some of them, a list of faults, or a text."""
    held: dict[str, Any] = error if isinstance(error, dict) else {"message": error}
    message = next((held[name] for name in ("message", "detail", "error") if held.get(name)), "")
    text = message if isinstance(message, str) else orjson.dumps(message).decode()
    told = text.strip()[:MOST_OF_A_MESSAGE] or f"the model server answers {status}"
    kept = {name: value for name, value in held.items() if value is not None and (name != "type" or isinstance(value, str))}
    return {"message": told, "type": type_of(status), "param": None, "code": None} | kept | {"message": told}


async def mark_answered(request: web.Request, response: web.StreamResponse) -> None:  # noqa: ARG001 (the form of a signal)
    """Called when the first bytes of an answer leave."""
    request[ANSWERED] = True


@web.middleware
async def errors_as_json(request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> web.StreamResponse:
    """OpenAI's form, with where, value, reason and remedy beside it. An error that nobody foresaw is logged without its text."""
    try:
        return await handler(request)
    except FlywheelError as error:
        refusal = error if isinstance(error, NotAllowed) else error.__cause__
        if isinstance(refusal, NotAllowed) and (note := request.app.get(NOTE_REFUSAL)) is not None:
            note(refusal)
        return _own_error(error)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        message = f"{request.method} {request.path}: {error.reason}"
        ours = {"where": request.path, "value": None, "reason": error.reason, "remedy": "The manual's page on clients says what is served."}
        allowed = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
        return error_response(message, status=error.status, headers=allowed, **ours)
    except Exception as error:
        if request.get(ANSWERED):
            raise
        at = traceback.extract_tb(error.__traceback__)[-1]  # not the message, which may quote the user
        log.error("A request failed.", action="request_failed", error=type(error).__name__, at=f"{at.filename}:{at.lineno}")
        return error_response("the gateway failed; its log has the reason", status=500)


def _own_error(error: FlywheelError) -> web.Response:
    status = status_of(error)
    ours = {"where": error.where, "value": shortened(error.value), "reason": error.reason, "remedy": error.remedy}
    code = {401: "invalid_api_key", 404: "model_not_found", 429: "rate_limit_exceeded", 503: "model_not_ready"}.get(status)
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
    if isinstance(error, TooManyRequests):
        headers["Retry-After"] = str(error.retry_after)
    return error_response(str(error), status=status, code=code, headers=headers, param=error.where or None, **ours)


def status_of(error: FlywheelError) -> int:
    match error:
        case NotAllowed():
            return int(getattr(error, "status", 403))
        case NotFound():
            return 404
        case InvalidInput():
            return 400
        case TooManyRequests():
            return 429
        case _:
            return 503


def _encodable(value: object) -> object:
    """Half of a character, as a path or a header may hold it, cannot be written as UTF-8."""
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value
