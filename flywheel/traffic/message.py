"""A chat message as the model got it or wrote it: roles, text, parts, tool calls and tool results, and its wire form.

In: a message in OpenAI's form, as parsed JSON. Out: a ``Message``, and the same JSON again by ``to_wire``. Nothing that was sent is lost:
what this module does not know stays in ``more``, unchanged. Known fields that are null or an empty list equal absent ones.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from flywheel.errors import InvalidInput, shortened

FIX = "Send messages in the form of OpenAI's chat completions."
LONGEST_ROLE = 40  # characters; OpenAI knows none over 10
_TEXTS = frozenset({"content", "name", "tool_call_id", "refusal"})
Json = Any
"""A JSON value: None, bool, int, float, str, list of these, dict from str to these. Never changed in place."""


@dataclass(frozen=True, kw_only=True)
class TextPart:
    """A part of a message's content that is text."""

    text: str
    more: Mapping[str, Json] = field(default_factory=dict)

    def to_wire(self) -> dict[str, Json]:
        return {"type": "text", "text": self.text, **self.more}


@dataclass(frozen=True, kw_only=True)
class OtherPart:
    """A picture, a sound, a file, or a part of a kind that is not known, as JSON. Its media are digests: see ``media``."""

    value: Json

    def to_wire(self) -> Json:
        return self.value


Content = str | tuple[TextPart | OtherPart, ...] | None


@dataclass(frozen=True, kw_only=True)
class ToolCall:
    """A call of a function. ``arguments``: the text exactly as it was sent, JSON or not; in rare requests a JSON object."""

    name: str
    arguments: Json = ""
    id: str = ""
    more: Mapping[str, Json] = field(default_factory=dict)  # under "function": further keys of the function

    @property
    def value(self) -> Json:
        """The parsed arguments; {} for an empty text. Raises ValueError for arguments that are not a JSON object."""
        parsed = self.arguments or {}
        if isinstance(parsed, str):
            parsed = orjson.loads(parsed) if parsed.strip() else {}
        if not isinstance(parsed, dict):
            raise ValueError(f"the arguments are {type(parsed).__name__} and no object")
        return parsed

    @property
    def is_broken(self) -> bool:
        """True when the arguments are not a JSON object, as after a cut by ``max_tokens``."""
        try:
            return not isinstance(self.value, dict)
        except ValueError:
            return True

    def as_json(self) -> dict[str, Json]:
        """``{"tool": name, "arguments": {...}}``; broken arguments stay a text."""
        return {"tool": self.name, "arguments": self.arguments if self.is_broken else self.value}

    def to_wire(self) -> dict[str, Json]:
        """OpenAI's form."""
        more = dict(self.more)
        function = {"name": self.name, "arguments": self.arguments, **more.pop("function", {})}
        return {**({"id": self.id} if self.id else {}), "type": "function", "function": function, **more}


@dataclass(frozen=True, kw_only=True)
class Message:
    """One chat message."""

    role: str
    content: Content = None
    name: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str = ""
    refusal: str | None = None
    more: Mapping[str, Json] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """Text of the content: its text parts, joined by line breaks."""
        if isinstance(self.content, tuple):
            return "\n".join(part.text for part in self.content if isinstance(part, TextPart))
        return self.content or ""

    @property
    def other_calls(self) -> Json:
        """Calls that are not of functions, or have another form, as they were sent; None if there are none."""
        return self.more.get("tool_calls") or self.more.get("function_call")

    def to_wire(self) -> dict[str, Json]:
        """OpenAI's form, without fields that are not set; ``content`` is always there."""
        content = [part.to_wire() for part in self.content] if isinstance(self.content, tuple) else self.content
        wire: dict[str, Json] = {"role": self.role, "content": content}
        if self.name:
            wire["name"] = self.name
        if self.tool_calls:
            wire["tool_calls"] = [call.to_wire() for call in self.tool_calls]
        if self.tool_call_id:
            wire["tool_call_id"] = self.tool_call_id
        if self.refusal is not None:
            wire["refusal"] = self.refusal
        return wire | dict(self.more)


def message_from_wire(value: Json, *, where: str) -> Message:
    """Raises InvalidInput, with the path, for a value that is not an object with a role."""
    told: dict[str, Any] = {"role": role_of(value, where=where)}
    more = {}
    for key, one in value.items():
        if key in _TEXTS and isinstance(one, str):
            told[key] = one
        elif key == "content" and isinstance(one, list):
            told[key] = tuple(map(_part, one))
        elif key == "tool_calls" and (calls := _calls(one)):
            told[key] = calls
        elif key != "role" and not (one is None and key in _TEXTS) and not (key == "tool_calls" and one in (None, [])):
            more[key] = one  # unknown, or of a type that we do not know
    return Message(**told, more=more)


def role_of(message: Json, *, where: str) -> str:
    """Raises InvalidInput, with the path, for a value that is not an object with a role."""
    if not isinstance(message, dict):
        raise InvalidInput("must be an object", where=where, value=shortened(message), remedy=FIX)
    role = message.get("role")
    if not isinstance(role, str) or not role:
        raise InvalidInput("must be a string", where=f"{where}.role", value=shortened(role), remedy=FIX)
    if len(role) > LONGEST_ROLE:
        raise InvalidInput(f"is longer than {LONGEST_ROLE} characters", where=f"{where}.role", value=shortened(role), remedy=FIX)
    return role


def calls_as_text(calls: tuple[ToolCall, ...]) -> str:
    """At least one call, as the JSON that graders and people read: one call as an object, several as a list."""
    values = [call.as_json() for call in calls]
    return json.dumps(values[0] if len(values) == 1 else values, ensure_ascii=False)


def _part(part: Json) -> TextPart | OtherPart:
    if isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str):
        return TextPart(text=part["text"], more={key: one for key, one in part.items() if key not in ("type", "text")})
    return OtherPart(value=part)


def _calls(value: Json) -> tuple[ToolCall, ...]:
    """() where one of them has not the form of a function call."""
    calls = []
    for one in value if isinstance(value, list) else ():
        function = one.get("function") if isinstance(one, dict) else None
        if not isinstance(function, dict) or one.get("type", "function") != "function":
            return ()
        name, arguments, call_id = function.get("name"), function.get("arguments"), one.get("id") or ""
        if not isinstance(name, str) or not isinstance(arguments, str | dict | None) or not isinstance(call_id, str):
            return ()
        more = {key: held for key, held in one.items() if key not in ("id", "type", "function")}
        if further := {key: held for key, held in function.items() if key not in ("name", "arguments")}:
            more["function"] = further
        calls.append(ToolCall(name=name, arguments=arguments or "", id=call_id, more=more))
    return tuple(calls)
