"""General instruction rows from a file: NDJSON, one {"messages": [{"role", "content"}], "completion": text} a line.

They are mixed into every training set, so that the model does not forget general tasks. A row may hold ``tools``, and messages with calls
and results, as a chat request does; a completion that is calls is written as corrections write it: {"tool", "arguments"}, or a list.
In: a path. Out: examples whose ids are derived from their content.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from flywheel.errors import InvalidInput, shortened
from flywheel.ids import derive
from flywheel.traffic.message import Message, message_from_wire
from flywheel.training_set.example import GENERAL, Example

BYTE_ORDER_MARK = b"\xef\xbb\xbf"  # editors on Windows write it before the first line
UTF_16 = (b"\xff\xfe", b"\xfe\xff")
ROLES = ("system", "developer", "user", "assistant", "tool")
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
    tools = row.get("tools", [])
    if not isinstance(tools, list) or not all(isinstance(tool, dict) and isinstance(tool.get("function"), dict) for tool in tools):
        raise _unfit(f"{where}: tools", "must be a list of tools, as in a chat request", tools)
    said = [f"{one.role}:{one.text}" if one.content == one.text and not one.tool_calls else json.dumps(one.to_wire()) for one in messages]
    identity = derive("general", *said, completion, *(json.dumps(tool) for tool in tools))
    return Example(id=identity, messages=messages, completion=completion, entity=identity, source=GENERAL, tools=tuple(tools))


def _message(message: object, *, where: str) -> Message:
    if not isinstance(message, Mapping):
        raise _unfit(where, "must be an object with role and content", message)
    if message.get("role") not in ROLES:
        raise _unfit(f"{where}.role", f"must be one of {', '.join(ROLES)}", message.get("role"))
    found = message_from_wire(dict(message), where=where)
    if found.content is None and not found.tool_calls:
        raise _unfit(f"{where}.content", "must be text", message.get("content"))
    return found


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
