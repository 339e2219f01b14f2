"""Reads a user's request: its body, session and dimensions, and the route in force for it.

In: headers and body. Out: a UserRequest, and a RoutedRequest once its workload and route are known. Does not query a model.
"""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from flywheel.errors import InvalidInput
from flywheel.ids import Person, RequestId, WorkloadId
from flywheel.rollout.release import Route

SESSION_HEADER = "X-Flywheel-Session"
DIMENSION_PREFIX = "x-flywheel-dim-"
MOST_DIMENSIONS = 20


@dataclass(frozen=True, kw_only=True)
class UserRequest:
    """One HTTP request, as it arrived."""

    id: RequestId
    client: Person  # the token's name
    arrived_at: datetime
    path: str
    body: Mapping[str, Any]  # as the client sent it, with an alias or an adapter's name in ``model``
    size: int  # bytes of the body


@dataclass(frozen=True, kw_only=True)
class RoutedRequest:
    """A request for a workload, over the route that was in force when it arrived."""

    request: UserRequest
    workload: WorkloadId
    route: Route
    session: str
    dimensions: Mapping[str, str]
    captured: bool  # chat is recorded; everything else is only passed on


def new_request_id() -> RequestId:
    return RequestId(uuid.uuid4().hex)


def read_body(raw: bytes) -> dict[str, Any]:
    """The JSON object. Raises InvalidInput; vLLM checks everything but ``model``."""
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"is not JSON in UTF-8: {error}", where="body", remedy="Send a JSON object.") from None
    if not isinstance(body, dict):
        raise InvalidInput(
            "must be a JSON object", where="body", value=type(body).__name__, remedy="Send an object with model and messages."
        )
    if not isinstance(body.get("model"), str) or not body["model"]:
        raise InvalidInput(
            "must be a string", where="body.model", value=body.get("model"), remedy="Name a model that GET /v1/models lists."
        )
    return body


def session_of(headers: Mapping[str, str], body: Mapping[str, Any], *, otherwise: str) -> str:
    """The session header, else OpenAI's ``user``, else ``otherwise``: the request is a session of its own."""
    user = body.get("user")
    return _text(headers.get(SESSION_HEADER, "")).strip() or (user.strip() if isinstance(user, str) else "") or otherwise


def dimensions_of(headers: Mapping[str, str]) -> dict[str, str]:
    """``X-Flywheel-Dim-Tenant: acme`` is {"tenant": "acme"}. Names are lower case, because header names have no case."""
    found = {
        name.lower().removeprefix(DIMENSION_PREFIX): _text(value).strip()[:200]
        for name, value in headers.items()
        if name.lower().startswith(DIMENSION_PREFIX) and value.strip()
    }
    return dict(sorted(found.items())[:MOST_DIMENSIONS])


def _text(header: str) -> str:
    """Bytes that are not UTF-8 arrive as lone surrogates, which can be neither hashed nor recorded."""
    return header.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
