"""Changes a stream of server-sent events on its way to the user, as little as possible.

In: the bytes of a stream, in any pieces. Out: whole events, byte by byte as they came, but for three things: ``model`` is the name that was
asked, an error has OpenAI's form, and the usage is left out where the client did not ask for it.
"""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import orjson

from services.gateway.error_responses import completed, has_the_form
from services.gateway.event_stream import DONE, LARGEST_EVENT, whole_events

END_OF_EVENT = re.compile(rb"(?:\r\n|\n|\r(?!\n)){2}")


class StreamRewrite:
    """Feed it every piece; write what it returns, and at the end what ``end`` returns."""

    def __init__(self, *, shown_as: str, is_chat: bool, keep_usage: bool) -> None:
        self._shown_as, self._is_chat, self._keep_usage = shown_as, is_chat, keep_usage
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._seam = b""  # the last bytes held: the end of an event may be spread over several pieces
        self.error: dict[str, Any] | None = None
        """The stream's own error."""
        self.has_chunks = False
        self.done = False
        """The stream contained [DONE]."""

    def feed(self, piece: bytes) -> bytes:
        """The bytes to write now; empty while an event is not whole."""
        if not self._held_bytes and (events := whole_events(piece)) is not None:
            return b"".join([self._rewritten(event, b"\n\n", lines=[event]) for event in events])  # the rest would only be slower
        seam, self._seam = self._seam, (self._seam + piece)[-3:]
        if END_OF_EVENT.search(seam + piece) is None and self._held_bytes < LARGEST_EVENT:
            self._held.append(piece)
            self._held_bytes += len(piece)
            return b""
        whole = b"".join((*self._held, piece))
        out, start = [], 0
        for end in END_OF_EVENT.finditer(whole):
            out.append(self._rewritten(whole[start : end.start()], end.group()))
            start = end.end()
        if start == 0:  # too large to be kept
            out.append(whole)
            start = len(whole)
        self._held, self._held_bytes, self._seam = [whole[start:]], len(whole) - start, whole[start:][-3:]
        return b"".join(out)

    def end(self) -> bytes:
        """At the end of the stream: an event that no empty line closed. Readers may take it all the same, if it is whole."""
        last, self._held = b"".join(self._held), []
        return self._rewritten(last, b"\n\n", is_whole=False) if last.strip() else b""

    def _rewritten(self, event: bytes, end: bytes, *, lines: Sequence[bytes] | None = None, is_whole: bool = True) -> bytes:
        lines = event.splitlines() if lines is None else lines
        data = b"\n".join(line[5:].strip() for line in lines if line.startswith(b"data:"))
        if data == DONE:
            self.done = True
        is_error = self._is_chat and any(line.startswith(b"event:") and line[6:].strip() == b"error" for line in lines)
        try:
            chunk = orjson.loads(data) if data.startswith(b"{") or is_error else None
        except orjson.JSONDecodeError:
            if not is_whole:
                return b""  # a part of an event, after which the stream broke off
            chunk = {"error": data.decode("utf-8", "replace")} if is_error else None
        if is_error and not (isinstance(chunk, dict) and chunk.get("error")):
            chunk = {"error": chunk}
        if not isinstance(chunk, dict):
            return event + end  # the client gets it as it came
        if chunk.get("error"):
            return self._error(chunk, event, lines) + end
        self.has_chunks = True
        if not self._keep_usage and chunk.get("usage") is not None:
            del chunk["usage"]
            if _says_nothing(chunk):
                return b""
            event = _with_data(lines, chunk)
        return with_model(event, chunk, shown_as=self._shown_as) + end

    def _error(self, chunk: dict[str, Any], event: bytes, lines: Sequence[bytes]) -> bytes:
        held = chunk["error"]
        status = held.get("code") if isinstance(held, dict) else None
        self.error = completed(held, status=status if isinstance(status, int) and 400 <= status < 600 else 502)
        if has_the_form(held):
            return event
        return _with_data(lines, {**chunk, "error": self.error})


def _says_nothing(chunk: Mapping[str, Any]) -> bool:
    """No choice, or only choices without content, as LiteLLM sends them beside the usage."""
    choices = chunk.get("choices")
    return isinstance(choices, list) and all(isinstance(choice, dict) and not _has_content(choice) for choice in choices)


def _has_content(choice: Mapping[str, Any]) -> bool:
    delta = choice.get("delta")
    return bool(choice.get("finish_reason")) or any(delta.values() if isinstance(delta, Mapping) else [delta])


def _with_data(lines: Sequence[bytes], data: Mapping[str, Any]) -> bytes:
    """An event of the same lines, with other data."""
    return b"\n".join([*(line for line in lines if not line.startswith(b"data:")), b"data: " + orjson.dumps(data)])


def with_model(content: bytes, value: Mapping[str, Any], *, shown_as: str) -> bytes:
    """``content`` with another name under ``model``, where it has one; ``value`` is its JSON. Nothing else is written anew."""
    inner = value.get("response")  # events of /v1/responses hold the whole response
    for holder in (value, inner if isinstance(inner, Mapping) else {}):
        name = holder.get("model")
        if isinstance(name, str) and name and name != shown_as:
            field, shown = b'"model":' + orjson.dumps(name), orjson.dumps(shown_as)
            if content.count(field) == 1 and b"\\" + field not in content:  # as most servers write it; faster
                content = content.replace(field, b'"model":' + shown)
            else:
                content = _model_field(name).sub(rb"\g<1>" + shown.replace(b"\\", rb"\\"), content)
    return content


@lru_cache(maxsize=256)
def _model_field(name: str) -> re.Pattern[bytes]:
    """The field as it stands in JSON. In a text of the answer its quotation marks would be escaped, so no text is changed."""
    return re.compile(rb'((?<!\\)"model"\s*:\s*)' + re.escape(orjson.dumps(name)))
