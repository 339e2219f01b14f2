"""Assembles a streamed answer into the ChatCompletion that an unstreamed request would have got.

In: the bytes of a stream of server-sent events, in any pieces. Out: the completion's JSON. Does not pass the bytes on.
"""

from typing import Any

import orjson

KEEP_BYTES = 4 * 1024**2
"""Kept of one stream. An event is at most 1 MB, so more would be cut later anyway."""
HEAD = ("id", "created", "model", "system_fingerprint")


class Assembly:
    """Feed it every chunk; ask for the completion at the end, also when the stream broke off."""

    def __init__(self) -> None:
        self._rest = b""
        self._seen = 0
        self._head: dict[str, Any] = {}
        self._choices: dict[int, dict[str, Any]] = {}
        self._usage: object = None
        self.error: str | None = None
        self.ended = False  # the stream contained [DONE]

    def feed(self, piece: bytes) -> None:
        self._seen += len(piece)
        if self._seen > KEEP_BYTES:
            return
        *lines, self._rest = (self._rest + piece).split(b"\n")
        for line in lines:
            if line.startswith(b"data:"):
                self._data(line[5:].strip())

    def completion(self) -> dict[str, Any] | None:
        """None when no choice came."""
        if not self._choices:
            return None
        choices = [_closed(index, choice) for index, choice in sorted(self._choices.items())]
        usage = {"usage": self._usage} if self._usage is not None else {}
        return {"object": "chat.completion", **self._head, "choices": choices, **usage}

    def _data(self, data: bytes) -> None:
        if data == b"[DONE]":
            self.ended = True
            return
        try:
            chunk = orjson.loads(data)
        except orjson.JSONDecodeError:
            return  # the client got it as it came; we cannot read it
        if not isinstance(chunk, dict):
            return
        if "error" in chunk:
            self.error = str(chunk["error"])[:2000]
        self._head |= {name: chunk[name] for name in HEAD if chunk.get(name) is not None and name not in self._head}
        self._usage = chunk.get("usage") or self._usage
        for choice in chunk.get("choices") or ():
            if isinstance(choice, dict):
                self._add(choice)

    def _add(self, choice: dict[str, Any]) -> None:
        index = choice.get("index")
        kept = self._choices.setdefault(
            index if isinstance(index, int) else 0, {"role": "assistant", "content": [], "calls": {}, "finish_reason": None}
        )
        kept["finish_reason"] = choice.get("finish_reason") or kept["finish_reason"]
        delta = choice.get("delta")
        if not isinstance(delta, dict):
            return
        kept["role"] = delta.get("role") or kept["role"]
        if isinstance(delta.get("content"), str):
            kept["content"].append(delta["content"])
        for call in delta.get("tool_calls") or ():
            if isinstance(call, dict):
                _add_call(kept["calls"], call)


def _add_call(calls: dict[int, dict[str, Any]], delta: dict[str, Any]) -> None:
    index = delta.get("index")
    call = calls.setdefault(index if isinstance(index, int) else 0, {"id": "", "type": "function", "name": "", "arguments": ""})
    function = delta.get("function") if isinstance(delta.get("function"), dict) else {}
    assert isinstance(function, dict)
    call["id"] = delta.get("id") or call["id"]
    call["name"] += function.get("name") or ""
    call["arguments"] += function.get("arguments") or ""


def _closed(index: int, choice: dict[str, Any]) -> dict[str, Any]:
    message: dict[str, Any] = {"role": choice["role"], "content": "".join(choice["content"])}
    if choice["calls"]:
        message["tool_calls"] = [
            {"id": call["id"], "type": call["type"], "function": {"name": call["name"], "arguments": call["arguments"]}}
            for _, call in sorted(choice["calls"].items())
        ]
    return {"index": index, "message": message, "finish_reason": choice["finish_reason"]}
