"""Request bodies: read within limits, parsed strictly.

In: bytes from outside. Out: checked values, or InvalidInput with the path, the value and what to do.
"""

from collections.abc import Iterator
from typing import Annotated

import orjson
from fastapi import Header, Request
from pydantic import BaseModel, ConfigDict, Field

from flywheel.errors import FlywheelError, InvalidInput

SINGLE_BYTES = 900_000  # with its envelope an event stays under the broker's 1 MB
NDJSON_BYTES = 50_000_000
IdempotencyKey = Annotated[str | None, Header(alias="Idempotency-Key", max_length=200)]
"""The same key asks once: a caller that got no answer repeats its request with the same key."""


class TooLarge(FlywheelError):
    """The body is longer than this route accepts."""

    exit_code = 2


class RequestBody(BaseModel):
    """Refuses unknown keys."""

    model_config = ConfigDict(extra="forbid")


class ReasonedBody(RequestBody):
    workload: str
    reason: str = Field(min_length=1, max_length=2_000)


async def single_body(request: Request) -> bytes:
    """The raw body of a single submission."""
    return await _limited(request, SINGLE_BYTES)


async def ndjson_body(request: Request) -> bytes:
    """The raw body of an NDJSON upload."""
    return await _limited(request, NDJSON_BYTES)


def parsed_object(raw: bytes, *, where: str = "$") -> dict[str, object]:
    """Strict JSON: UTF-8, no NaN, no lone surrogates, an object."""
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"is not JSON: {error}", where=where, remedy="Send one JSON object in UTF-8.") from None
    if not isinstance(value, dict):
        raise InvalidInput("must be a JSON object", where=where, value=type(value).__name__, remedy="Send one JSON object in UTF-8.")
    return value


def ndjson_lines(raw: bytes) -> Iterator[tuple[int, bytes]]:
    """(number, line) of the lines that are not empty, counted from 1."""
    for number, line in enumerate(raw.split(b"\n"), start=1):
        if line.strip():
            yield number, line.strip()


async def _limited(request: Request, limit: int) -> bytes:
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > limit:
            raise TooLarge("the body is too long", where="body", value=f"over {limit} bytes", remedy="Send less at a time.")
    return bytes(body)
