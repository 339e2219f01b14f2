"""Changes a stream of server-sent events on its way to the user, as little as possible.

In: the bytes of a stream, in any pieces. Out: whole events, byte by byte as they came, but for three things: ``model`` is the name that was
asked, an error has OpenAI's form, and a chunk that holds only the usage is left out where the client did not ask for it.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import orjson

from services.gateway.error_responses import completed, has_the_form

END_OF_EVENT = re.compile(rb"\r?\n\r?\n")
LARGEST_EVENT = 16 * 1024**2
"""Bytes. A larger event is passed on as it comes."""


class StreamRewrite:
    """Feed it every piece; write what it returns, and at the end what ``end`` returns."""

    def __init__(self, *, shown_as: str, keep_usage: bool) -> None:
        self._shown_as, self._keep_usage = shown_as, keep_usage
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._seam = b""  # the last bytes held: the end of an event may be spread over several pieces
        self._open = set[int]()  # choices that have begun and not ended
        self._ended = set[int]()
        self.error: dict[str, Any] | None = None
        """The stream's own error."""
        self.has_chunks = False
        self.done = False
        """The stream contained [DONE]."""

    @property
    def is_complete(self) -> bool:
        """[DONE] came, or every choice has its finish reason: some servers leave [DONE] out."""
        return self.done or (bool(self._ended) and not self._open)

    def feed(self, piece: bytes) -> bytes:
        """The bytes to write now; empty while an event is not whole."""
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

    def _rewritten(self, event: bytes, end: bytes, *, is_whole: bool = True) -> bytes:
        lines = event.splitlines()
        data = b"\n".join(line[5:].strip() for line in lines if line.startswith(b"data:"))
        if data == b"[DONE]":
            self.done = True
        if not data.startswith(b"{"):
            return event + end
        try:
            chunk = orjson.loads(data)
        except orjson.JSONDecodeError:
            return event + end if is_whole else b""  # the client gets it as it came
        if chunk.get("error"):
            return self._error(chunk, event, lines) + end
        self.has_chunks = True
        if not self._keep_usage and chunk.get("choices") == [] and chunk.get("usage") is not None:
            return b""
        self._note_ends(chunk)
        return with_model(event, chunk, shown_as=self._shown_as) + end

    def _error(self, chunk: dict[str, Any], event: bytes, lines: list[bytes]) -> bytes:
        held = chunk["error"]
        status = held.get("code") if isinstance(held, dict) else None
        self.error = completed(held, status=status if isinstance(status, int) and 400 <= status < 600 else 502)
        if has_the_form(held):
            return event
        others = [line for line in lines if not line.startswith(b"data:")]
        return b"\n".join([*others, b"data: " + orjson.dumps({**chunk, "error": self.error})])

    def _note_ends(self, chunk: dict[str, Any]) -> None:
        choices = chunk.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            if isinstance(choice, dict):
                index = choice.get("index")
                index = index if isinstance(index, int) else 0
                if choice.get("finish_reason"):
                    self._ended.add(index)
                    self._open.discard(index)
                elif index not in self._ended:
                    self._open.add(index)


def with_model(content: bytes, value: Mapping[str, Any], *, shown_as: str) -> bytes:
    """``content`` with another name under ``model``, where it has one; ``value`` is its JSON. Nothing else is written anew."""
    inner = value.get("response")  # events of /v1/responses hold the whole response
    for holder in (value, inner if isinstance(inner, Mapping) else {}):
        name = holder.get("model")
        if isinstance(name, str) and name and name != shown_as:
            content = _model_field(name).sub(lambda found: found.group(1) + orjson.dumps(shown_as), content)
    return content


@lru_cache(maxsize=256)
def _model_field(name: str) -> re.Pattern[bytes]:
    """The field as it stands in JSON. In a text of the answer its quotation marks would be escaped, so no text is changed."""
    return re.compile(rb'((?<!\\)"model"\s*:\s*)' + re.escape(orjson.dumps(name)))
