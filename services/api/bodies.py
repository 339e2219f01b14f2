"""What may stand in a request's body.

In: bytes from outside. Out: checked values, or InvalidInput with the path, the value and what to do.
"""

from collections.abc import Iterator

import orjson
from fastapi import Request
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from flywheel.errors import FlywheelError, InvalidInput

ONE_EVENT = 900_000  # bytes; with its envelope an event stays under the broker's 1 MB
MANY_LINES = 50_000_000  # bytes; an NDJSON file


class TooLarge(FlywheelError):
    """The body is longer than this route takes."""

    exit_code = 2


async def one_event(request: Request) -> bytes:
    """The raw body of a single submission."""
    return await _limited(request, ONE_EVENT)


async def many_lines(request: Request) -> bytes:
    """The raw body of an NDJSON upload."""
    return await _limited(request, MANY_LINES)


async def _limited(request: Request, limit: int) -> bytes:
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > limit:
            raise TooLarge("the body is too long", where="body", value=f"over {limit} bytes", remedy="Send less at a time.")
    return bytes(body)


def parsed(raw: bytes, *, where: str = "$") -> dict[str, object]:
    """Strict JSON: UTF-8, no NaN, no lone surrogates, an object."""
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"is not JSON: {error}", where=where, remedy="Send one JSON object in UTF-8.") from None
    if not isinstance(value, dict):
        raise InvalidInput("must be a JSON object", where=where, value=type(value).__name__, remedy="Send one JSON object in UTF-8.")
    return value


def lines(raw: bytes) -> Iterator[tuple[int, bytes]]:
    """The lines of NDJSON that are not empty, counted from 1."""
    for number, line in enumerate(raw.split(b"\n"), start=1):
        if line.strip():
            yield number, line.strip()


def brief(value: object) -> object:
    """Enough to recognise it by, never a whole text."""
    if isinstance(value, dict | list):
        return f"{type(value).__name__} of {len(value)}"
    if isinstance(value, str) and len(value) > 60:
        return value[:60] + "…"
    return value


class Body(BaseModel):
    """Unknown keys are errors here too."""

    model_config = ConfigDict(extra="forbid")


class Recorded(Body):
    ids: list[str] = Field(max_length=10_000)


class Ack(Body):
    note: str = Field(default="", max_length=2_000)
    hours: float | None = Field(default=None, gt=0, le=24 * 14)


class Pin(Body):
    workload: str
    start: AwareDatetime | None = None
    end: AwareDatetime | None = None
    reason: str = Field(min_length=1, max_length=2_000)


class ForWorkload(Body):
    workload: str


class Ask(Body):
    workload: str
    reason: str = Field(min_length=1, max_length=2_000)


class AskGate(Body):
    workload: str
    adapter: str = Field(min_length=1, max_length=200)


class Approve(Body):
    override_gate: bool = False
    reason: str = Field(min_length=1, max_length=2_000)


class Reason(Body):
    reason: str = Field(min_length=1, max_length=2_000)
