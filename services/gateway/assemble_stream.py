"""Assembles a streamed answer into the ChatCompletion that an unstreamed request would have got.

In: the bytes of a stream, in any pieces. Out: the completion's JSON, whether the answer came to its end, and what of it was left out: the
limit is on the content, however many bytes carried it. Log probabilities are not kept. Does not pass the bytes on.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from flywheel.traffic.message import Json
from services.gateway.event_stream import DONE, EventStream, StreamEvent

KEPT_CHARACTERS = 8 * 1024**2
"""Of one answer. An event is at most 1 MB, so more would be cut later anyway."""
OVERHEAD = 64
"""Characters that any value counts for beside its text."""
_NOT_CONTENT = frozenset({"choices", "object", "error", "obfuscation"})
"""Of a chunk. ``obfuscation`` is padding."""
_FIRST = ("id", "created", "model")
"""Of a chunk: what came first counts, of all else what came last."""
_OF_CHOICE = frozenset({"index", "delta", "finish_reason", "logprobs"})
_NOT_FRAGMENTS = frozenset({"role", "type", "id", "index", "format", "signature"})
"""Keys whose texts come whole. All other texts come in fragments."""
_NOTHING: tuple[Json, ...] = ("", [], {})
_GROWING_PARTS = frozenset({"text", "thinking"})
_EMPTY_IS_ABSENT = ("reasoning", "reasoning_content", "refusal")


class Assembly:
    """Feed it every piece; ask for the completion at the end, also when the stream broke off."""

    def __init__(self) -> None:
        self._events = EventStream()
        self._head: dict[str, Any] = {}
        self._choices: dict[int, _Choice] = {}
        self._room = _Room()
        self._done = self._failed = False

    def feed(self, piece: bytes) -> None:
        for event in self._events.feed(piece):
            self._take(event)

    def completion(self) -> dict[str, Any] | None:
        """None when no choice came."""
        self._finish()
        if not self._choices:
            return None
        choices = [choice.closed(index) for index, choice in sorted(self._choices.items())]
        return {**self._head, "object": "chat.completion", "choices": choices}

    @property
    def ended(self) -> bool:
        """The answer is whole: [DONE] came, or every choice has its finish reason, since some servers leave [DONE] out."""
        self._finish()
        if not self._choices or self._failed:
            return False
        return self._done or all(choice.finish_reason for choice in self._choices.values())

    @property
    def left_out(self) -> tuple[str, ...]:
        """Paths of what was beyond the limits or could not be read; ``response`` where nobody knows what it was."""
        self._finish()
        return ("response", *self._room.left_out) if self._events.lost_an_event else tuple(self._room.left_out)

    def _finish(self) -> None:
        for event in self._events.end():
            self._take(event, is_last=True)

    def _take(self, event: StreamEvent, *, is_last: bool = False) -> None:
        """An event that cannot be read may have held a part of the answer; half of a last one says only that the stream broke off."""
        if event.data == DONE:
            self._done = True
            return
        try:
            chunk = _read_json(event.data)
        except ValueError:
            if event.name == b"error":
                self._failed = True
            elif event.data.strip() and not is_last:
                self._room.mark("response")
            return
        if event.name == b"error" or (isinstance(chunk, dict) and chunk.get("error")):
            self._failed = True
        elif isinstance(chunk, dict):
            self._add(chunk)

    def _add(self, chunk: dict[str, Any]) -> None:
        for key, value in chunk.items():
            if key not in _NOT_CONTENT and value is not None and not (key in _FIRST and self._head.get(key)):
                self._head[key] = value
        choices = chunk.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            if isinstance(choice, dict):
                index = choice.get("index")
                index = index if isinstance(index, int) else 0
                held = self._choices.get(index)
                if held is None:
                    if not self._room.takes(OVERHEAD):
                        self._room.mark("response.choices")
                        continue
                    held = self._choices[index] = _Choice(f"response.choices[{index}]", self._room)
                held.add(choice)


class _Room:
    """How much more is kept, and the paths at which something was left out. Once anything is, all that follows is."""

    def __init__(self) -> None:
        self._left = KEPT_CHARACTERS
        self.left_out: dict[str, None] = {}

    def takes(self, size: int) -> bool:
        self._left = self._left - size if self._left >= size else -1
        return self._left >= 0

    def mark(self, where: str) -> None:
        """Something at this path was left out."""
        self.left_out[where] = None


class _Text(list[str]):
    """Fragments of a text."""


class _Choice:
    """One choice as far as it came. ``where``: its path."""

    def __init__(self, where: str, room: _Room) -> None:
        self._where, self._where_message, self._room = where, f"{where}.message", room
        self._message: dict[str, Any] = {}
        self._calls: list[tuple[int, dict[str, Any]]] = []  # by the index that the server gave
        self._more: dict[str, Any] = {}
        self.finish_reason: str | None = None

    def add(self, choice: Mapping[str, Any]) -> None:
        self.finish_reason = choice.get("finish_reason") or self.finish_reason
        if not choice.keys() <= _OF_CHOICE:
            for key in choice.keys() - _OF_CHOICE:
                self._note(key, choice[key])
        delta = choice.get("delta")
        if not isinstance(delta, dict):
            return
        calls = delta.get("tool_calls")
        if isinstance(calls, list):
            delta = {key: value for key, value in delta.items() if key != "tool_calls"}
            for call in calls:
                if isinstance(call, dict):
                    self._add_call(call)
        self._merge(self._message, delta, self._where_message)

    def closed(self, index: int) -> dict[str, Any]:
        message = {"role": "assistant", "content": None, **_closed(self._message)}
        if self._calls:
            in_order = sorted(self._calls, key=lambda held: held[0])
            message["tool_calls"] = [_closed_call(call) for _, call in in_order]
        for key in _EMPTY_IS_ABSENT:
            if message.get(key) == "":
                del message[key]
        if message["content"] == "" and any(key in message for key in ("tool_calls", "function_call", *_EMPTY_IS_ABSENT)):
            message["content"] = None  # a stream begins with "" where an unstreamed answer has null
        return {"index": index, "message": message, "finish_reason": self.finish_reason, **self._more}

    def _note(self, key: str, value: Any) -> None:
        """A field beside the delta: of lists of numbers, as token ids, each chunk brings some; else the last one counts."""
        held = self._more.get(key)
        if value is None:
            return
        if not self._room.takes(8 * len(value) if isinstance(value, list) else OVERHEAD):
            self._room.mark(f"{self._where}.{key}")
            return
        if isinstance(held, list) and isinstance(value, list) and all(isinstance(one, int) for one in value):
            held.extend(value)
        else:
            self._more[key] = list(value) if isinstance(value, list) else value

    def _add_call(self, delta: dict[str, Any]) -> None:
        """A fragment of a tool call belongs to the newest call of its index. Some servers give every call the index 0, others none: a call
        begins where a name comes with another id."""
        index, call_id = delta.get("index"), delta.get("id")
        if not isinstance(index, int):
            same = [at for at, call in self._calls if call_id and call.get("id") == call_id]
            index = same[-1] if same else self._next_index(begins=bool(call_id) or not self._calls)
        held = next((call for at, call in reversed(self._calls) if at == index), None)
        if held is None or (call_id and held.get("id") not in (None, "", call_id) and _name_in(delta)):
            if not self._room.takes(OVERHEAD):
                self._room.mark(f"{self._where}.message.tool_calls")
                return
            held = {}
            self._calls.append((index, held))
        fragment = {key: value for key, value in delta.items() if key != "index"}
        self._merge(held, fragment, f"{self._where}.message.tool_calls[{index}]")

    def _next_index(self, *, begins: bool) -> int:
        highest = max((at for at, _ in self._calls), default=-1)
        return highest + 1 if begins else highest

    def _merge(self, held: dict[str, Any], delta: Mapping[str, Any], where: str) -> None:
        """Adds a fragment of an object. Texts grow, objects and lists are merged, everything else is replaced."""
        for key, value in delta.items():
            found = held.get(key)
            if value is None or (key in _NOT_FRAGMENTS and found) or (found is not None and value in _NOTHING):
                continue
            if not self._room.takes(len(value) if isinstance(value, str) else OVERHEAD):
                self._room.mark(f"{where}.{key}")
            elif isinstance(value, str) and key not in _NOT_FRAGMENTS:
                self._grow(held, key, value)
            elif isinstance(value, dict):
                inner = held[key] = found if isinstance(found, dict) else {}
                self._merge(inner, value, f"{where}.{key}")
            elif isinstance(value, list):
                held[key] = self._extended(found, value, f"{where}.{key}")
            else:
                held[key] = value

    @staticmethod
    def _grow(held: dict[str, Any], key: str, fragment: str) -> None:
        found = held.get(key)
        if isinstance(found, _Text):
            if key != "name" or "".join(found) != fragment:  # some servers repeat the whole name
                found.append(fragment)
        elif isinstance(found, list):  # content that began as parts
            found.append({"type": "text", "text": _Text([fragment])})
        else:
            held[key] = _Text([fragment])

    def _extended(self, found: Any, new: list[Any], where: str) -> list[Any]:
        """A list with more elements: with the same ``index`` they are one, and so are a part of text and the next part of its kind."""
        if isinstance(found, _Text):  # content that began as a text
            found = [{"type": "text", "text": found}] if any(found) else []
        held: list[Any] = found if isinstance(found, list) else []
        for one in new:
            if not isinstance(one, dict):
                if self._room.takes(len(one) if isinstance(one, str) else OVERHEAD):
                    held.append(one)
                else:
                    self._room.mark(where)
                continue
            before = next(_same(held, one), None)
            if before is None:
                before = {}
                held.append(before)
            self._merge(before, one, where)
        return held


def read_whole_json(raw: bytes) -> tuple[Any, bool]:
    """The body of an answer, and whether it is kept as it came: halves of characters, as ``\\ud83d``, become U+FFFD. Raises ValueError."""
    try:
        return orjson.loads(raw), True
    except orjson.JSONDecodeError:
        return _closed(_read_json(raw)), False


def _read_json(raw: bytes) -> Any:
    """Raises ValueError. Halves of characters stay: a server may cut a text between them."""
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        if b"\\u" not in raw:
            raise
    try:
        return json.loads(raw)
    except RecursionError:
        raise ValueError("is nested too deeply") from None


def _same(held: list[Any], new: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Elements of a list of which ``new`` is a further fragment."""
    index = new.get("index")
    if isinstance(index, int):
        yield from (one for one in held if isinstance(one, dict) and one.get("index") == index)
    elif new.get("type") in _GROWING_PARTS and held and isinstance(held[-1], dict) and held[-1].get("type") == new["type"]:
        yield held[-1]


def _name_in(call: Mapping[str, Any]) -> bool:
    return any(isinstance(held, dict) and held.get("name") for held in (call.get("function"), call.get("custom")))


def _closed_call(call: dict[str, Any]) -> dict[str, Any]:
    closed: dict[str, Any] = _closed(call)
    kind = {} if "type" in closed else {"type": "function"}
    function = closed.get("function")
    if isinstance(function, dict):
        closed["function"] = {"arguments": "", **function}
    return kind | closed


def _closed(value: Any) -> Any:
    """With whole texts in place of fragments."""
    if isinstance(value, _Text):
        return _whole("".join(value))
    if isinstance(value, dict):
        return {key: _closed(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_closed(one) for one in value]
    return _whole(value) if isinstance(value, str) else value


def _whole(text: str) -> str:
    """Halves of a character that came one after the other are the character; a half that is alone becomes U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
