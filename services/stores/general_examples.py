"""General instruction rows from a file: NDJSON, one {"messages": [{"role", "content"}], "completion": text} a line.

They are mixed into every training set, so that the model does not forget general tasks.
In: a path. Out: examples whose ids are derived from their content.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from flywheel.errors import InvalidInput
from flywheel.ids import derive
from flywheel.traffic.message import Message
from flywheel.training_set.example import GENERAL, Example


def read_general_rows(path: Path) -> Sequence[Example]:
    """Raises InvalidInput with the line that does not fit."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput("cannot be read", where=str(path), remedy="Set training.general_file to an NDJSON file.") from error
    return [_example(line, where=f"{path}:{number}") for number, line in enumerate(lines, start=1) if line.strip()]


def _example(line: str, *, where: str) -> Example:
    try:
        row = json.loads(line)
        messages = tuple(Message(role=str(message["role"]), content=str(message["content"])) for message in row["messages"])
        completion = row["completion"]
    except (ValueError, LookupError, TypeError) as error:
        raise InvalidInput(
            "is not a general instruction row",
            where=where,
            value=type(error).__name__,
            remedy='Write {"messages": [{"role", "content"}], "completion": text}.',
        ) from error
    if not messages or not isinstance(completion, str) or not completion.strip():
        raise InvalidInput("has no prompt or no completion", where=where, remedy="Give both.")
    identity = derive("general", *(f"{message.role}:{message.text}" for message in messages), completion)
    return Example(id=identity, messages=messages, completion=completion, entity=identity, source=GENERAL)
