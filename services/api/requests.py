"""Request bodies: read within limits, parsed strictly.

In: bytes from outside. Out: checked values, or InvalidInput with the path, the value and what to do.
"""

import asyncio
import codecs
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated

import orjson
from fastapi import Header, Request
from pydantic import BaseModel, ConfigDict, Field

from flywheel.errors import FlywheelError, InvalidInput

SINGLE_BYTES = 900_000  # with its envelope an event stays under the broker's 1 MB
NDJSON_BYTES = 50_000_000
MOST_LEVELS = 100  # of JSON; libraries that write it have limits of their own above this
IdempotencyKey = Annotated[str | None, Header(alias="Idempotency-Key", max_length=200)]
"""The same key asks once: a caller that got no answer repeats its request with the same key."""


class TooLarge(FlywheelError):
    """The body is longer than this route accepts."""

    exit_code = 2


class TooSlow(FlywheelError):
    """The body did not arrive in time."""

    exit_code = 2


class RequestBody(BaseModel):
    """Refuses unknown keys and numbers that are not finite."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class ReasonedBody(RequestBody):
    workload: str
    reason: str = Field(min_length=1, max_length=2_000)


async def single_body(request: Request) -> bytes:
    """The raw body of a single submission."""
    return await _limited(request, SINGLE_BYTES)


async def ndjson_body(request: Request) -> bytes:
    """The raw body of an NDJSON upload."""
    return await _limited(request, NDJSON_BYTES)


@dataclass(frozen=True, kw_only=True)
class UploadedObject:
    """One object of an upload, or why it cannot be read. ``number``: of its line, or of its place in a list, from 1."""

    number: int
    body: dict[str, object] = field(default_factory=dict)
    error: FlywheelError | None = None

    def checked(self) -> dict[str, object]:
        """Raises the error."""
        if self.error is not None:
            raise self.error
        return self.body


async def with_json_body(request: Request) -> Request:
    """The same request, its body read within the limit and checked to be JSON. Raises TooLarge, InvalidInput.

    NaN and halves of characters are left to the body's model, which refuses them with their path.
    """
    raw = await single_body(request)
    if raw:
        kind = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            remedy = "Send JSON with the header `Content-Type: application/json`."
            raise InvalidInput("is not application/json", where="Content-Type", value=kind or None, remedy=remedy)
        _checked_depth(_leniently_parsed(raw), where="body")

    async def replay() -> dict[str, object]:
        return {"type": "http.request", "body": raw, "more_body": False}

    return Request(request.scope, replay)


def parsed_object(raw: bytes, *, line: int = 1) -> dict[str, object]:
    """Strict JSON: UTF-8, no NaN, no lone surrogates, an object. ``line``: the number of the first line, for messages."""
    return _object(_parsed(_in_utf_8(raw), line=line))


def uploaded_objects(raw: bytes) -> Iterator[UploadedObject]:
    """The objects of an NDJSON upload, of one JSON list, or of one object. Only a line feed ends a line; empty lines are passed over.

    A list that is broken anywhere is one fault, and nothing of it is taken.
    """
    try:
        pieces = _pieces(_in_utf_8(raw))
    except InvalidInput as error:
        yield UploadedObject(number=1, error=error)
        return
    for number, piece in pieces:
        try:
            yield UploadedObject(number=number, body=_read(piece, number))
        except (InvalidInput, TooLarge) as error:
            yield UploadedObject(number=number, error=error)


def _pieces(content: bytes) -> list[tuple[int, object]]:
    """Lines as bytes, or entries of a list as JSON values. Raises InvalidInput for a list that is broken."""
    try:
        whole = orjson.loads(content)
    except orjson.JSONDecodeError:
        first = content.lstrip().partition(b"\n")[0]
        if first.startswith(b"[") and not _is_json(first):
            _parsed(content, line=1)  # raises: the whole is meant to be one list
        return [(number, line) for number, line in enumerate(content.split(b"\n"), start=1) if line.strip()]
    return list(enumerate(whole if isinstance(whole, list) else [whole], start=1))


def _read(piece: object, number: int) -> dict[str, object]:
    try:
        size = len(piece if isinstance(piece, bytes) else orjson.dumps(piece))
    except orjson.JSONEncodeError:
        raise InvalidInput("is nested too deeply", where="$", remedy="Send a flatter object.") from None
    if size > SINGLE_BYTES:
        raise TooLarge("is too long", where=f"line {number}", value=f"{size} bytes", remedy=f"Send at most {SINGLE_BYTES} bytes for each.")
    return parsed_object(piece, line=number) if isinstance(piece, bytes) else _object(piece)


def _is_json(text: bytes) -> bool:
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return True


def _in_utf_8(raw: bytes) -> bytes:
    """Without the byte order mark that tools on Windows write."""
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise InvalidInput("is text in UTF-16", where="line 1", remedy="Save it in UTF-8.")
    return raw.removeprefix(codecs.BOM_UTF8)


def _parsed(raw: bytes, *, line: int) -> object:
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        at = f"line {line + error.lineno - 1}, column {error.colno}"
        reason = error.msg
    try:
        raw.decode()
    except UnicodeDecodeError as fault:
        before = raw[: fault.start].decode()
        at = f"line {line + before.count(chr(10))}, column {len(before) - before.rfind(chr(10))}"
        reason = "it is not UTF-8"
    remedy = 'Send JSON in UTF-8; in a text a line break is \\n and a quote is \\".'
    raise InvalidInput(f"is not JSON: {reason}", where=at, remedy=remedy)


def _leniently_parsed(raw: bytes) -> object:
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        return _parsed(raw, line=1)


def _checked_depth(value: object, *, where: str) -> None:
    """Raises InvalidInput for JSON that could be read but not written again."""
    level = [value]
    for _ in range(MOST_LEVELS):  # level by level: recursion would end at Python's own limit
        level = [inner for one in level if isinstance(one, dict | list) for inner in (one.values() if isinstance(one, dict) else one)]
        if not level:
            return
    raise InvalidInput(f"is nested over {MOST_LEVELS} levels deep", where=where, remedy="Send it flatter, or as a text.")


def _object(value: object) -> dict[str, object]:
    if not isinstance(value, dict):
        remedy = (
            "Send one JSON object; a list of them goes to /v1/corrections:batch." if isinstance(value, list) else "Send one JSON object."
        )
        raise InvalidInput("must be a JSON object", where="$", value=type(value).__name__, remedy=remedy)
    _checked_depth(value, where="$")
    return value


async def _limited(request: Request, limit: int) -> bytes:
    body, seconds = bytearray(), request.app.state.body_seconds
    try:
        async with asyncio.timeout(seconds):
            async for piece in request.stream():
                body += piece
                if len(body) > limit:
                    raise TooLarge("the body is too long", where="body", value=f"over {limit} bytes", remedy="Send less at a time.")
    except TimeoutError:
        raise TooSlow(f"did not arrive within {seconds:g} seconds", where="body", remedy="Send less, or faster.") from None
    return bytes(body)
