"""An answer as people and tools hand it in: a text, an assistant's message, or tool calls.

In: JSON. Out: the answer's text, as graders and training rows read it; tool calls are JSON in it. A corrected answer must be one that a
model may be taught, the model's own answer may be anything.
"""

from collections.abc import Mapping, Sequence

from flywheel.errors import InvalidInput, shortened
from flywheel.traffic.exchange import ModelAnswer
from flywheel.traffic.message import Json, Message, OtherPart, ToolCall, calls_as_text, message_from_wire

CALLS_REMEDY = 'Give each call as {"name": ..., "arguments": {...}}, or in OpenAI\'s form.'


def original_text(value: Json, *, where: str) -> str:
    """What the model answered. Raises InvalidInput, with the path, for a value that is neither text nor a message."""
    return value if isinstance(value, str) else ModelAnswer(message=_message(value, where)).text


def corrected_text(value: Json, *, where: str) -> str:
    """The correct answer, as text or as a message. Raises InvalidInput, with the path, for a message that cannot be taught."""
    if isinstance(value, str):
        return value
    message = _message(value, where)
    if message.role != "assistant":
        raise InvalidInput("must be a message of the assistant", where=f"{where}.role", value=message.role, remedy="Leave the role out.")
    if message.other_calls is not None:
        raise InvalidInput("must be calls of functions", where=f"{where}.tool_calls", remedy=CALLS_REMEDY)
    for at, part in enumerate(message.content if isinstance(message.content, tuple) else ()):
        if isinstance(part, OtherPart):
            raise InvalidInput("must be text", where=f"{where}.content[{at}]", remedy="A model is taught text and tool calls only.")
    _check_calls(message.tool_calls, where=f"{where}.tool_calls", key=".function.arguments")
    text = ModelAnswer(message=message).text
    if not text.strip():
        raise InvalidInput("has neither text nor tool calls", where=where, remedy="Give the correct answer.")
    return text


def calls_text(calls: Sequence[Mapping[str, Json]], *, where: str) -> str:
    """The correct calls, each with ``name`` and ``arguments`` (an object, or its JSON text). Raises InvalidInput, with the path."""
    found = tuple(ToolCall(name=call["name"], arguments=call["arguments"]) for call in calls)
    _check_calls(found, where=where, key=".arguments")
    return calls_as_text(found)


def _message(value: Json, where: str) -> Message:
    return message_from_wire({"role": "assistant", **value} if isinstance(value, dict) else value, where=where)


def _check_calls(calls: Sequence[ToolCall], *, where: str, key: str) -> None:
    for at, call in enumerate(calls):
        if call.is_broken:
            raise InvalidInput(
                "must be a JSON object", where=f"{where}[{at}]{key}", value=shortened(type(call.arguments).__name__), remedy=CALLS_REMEDY
            )
