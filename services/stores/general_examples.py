"""General instruction rows from a file: NDJSON, one {"messages": [{"role", "content"}], "completion": text} a line.

They are mixed into every training set, so that the model does not forget general tasks.
In: a path. Out: examples whose ids are derived from their content.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from flywheel.errors import InvalidInput, shortened
from flywheel.ids import derive
from flywheel.traffic.message import Message
from flywheel.training_set.example import GENERAL, Example

BYTE_ORDER_MARK = b"\xef\xbb\xbf"  # editors on Windows write it before the first line
UTF_16 = (b"\xff\xfe", b"\xfe\xff")
ROLES = ("system", "developer", "user", "assistant")
FORM = 'Write {"messages": [{"role", "content"}], "completion": text}, one object a line.'


def read_general_rows(path: Path) -> Sequence[Example]:
    """Raises InvalidInput with the line that does not fit. Only a line feed ends a line: U+2028 and others may stand in a text."""
    try:
        content = path.read_bytes()
    except OSError as error:
        reason = f"cannot be read: {error.strerror}"
        raise InvalidInput(reason, where=str(path), remedy="Set training.general_file to an NDJSON file.") from None
    if content.startswith(UTF_16):
        raise InvalidInput("is text in UTF-16", where=str(path), remedy="Save it in UTF-8.")
    lines = content.removeprefix(BYTE_ORDER_MARK).split(b"\n")
    return [_example(line, where=f"{path}:{number}") for number, line in enumerate(lines, start=1) if line.strip()]


def _example(line: bytes, *, where: str) -> Example:
    row = _object(line, where=where)
    given = row.get("messages")
    if not isinstance(given, list) or not given:
        raise _unfit(f"{where}: messages", "must be a list of messages", given)
    messages = tuple(_message(message, where=f"{where}: messages.{index}") for index, message in enumerate(given))
    completion = row.get("completion")
    if not isinstance(completion, str) or not completion.strip():
        raise _unfit(f"{where}: completion", "must be a text that is not empty", completion)
    identity = derive("general", *(f"{message.role}:{message.content}" for message in messages), completion)
    return Example(id=identity, messages=messages, completion=completion, entity=identity, source=GENERAL)


def _message(message: object, *, where: str) -> Message:
    if not isinstance(message, Mapping):
        raise _unfit(where, "must be an object with role and content", message)
    role, content = message.get("role"), message.get("content")
    if role not in ROLES:
        raise _unfit(f"{where}.role", f"must be one of {', '.join(ROLES)}", role)
    if not isinstance(content, str):
        raise _unfit(f"{where}.content", "must be text", content)
    return Message(role=role, content=content)


def _object(line: bytes, *, where: str) -> Mapping[str, Any]:
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise _unfit(where, f"is not JSON: {error}", f"{len(line)} bytes") from None
    if not isinstance(row, dict):
        raise _unfit(where, "must be a JSON object", row)
    return row


def _unfit(where: str, reason: str, value: object) -> InvalidInput:
    return InvalidInput(f"is not a general instruction row: {reason}", where=where, value=shortened(value), remedy=FORM)
