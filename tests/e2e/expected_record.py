"""What the record of an exchange must say, worked out from the bytes that a client sent and received. Nothing here is the product's code.

In: a body as it was sent, an answer as it came, streamed or not. Out: request and answer in the record's form. The record leaves out
``model``, ``stream``, ``stream_options`` and log probabilities. Null and empty lists equal absent fields: in an answer in all fields, since
servers write each that there is, in a request's messages in those that the format knows.
"""

import base64
import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from hashlib import sha256
from types import MappingProxyType
from typing import Any

KNOWN = ("name", "tool_calls", "tool_call_id", "refusal")
NOT_KEPT = ("model", "stream", "stream_options")
PSEUDONYM = re.compile(r"<[A-Z_]+:[0-9a-f]{8}>")
LONGEST_TEXT = 100_000
"""Characters that are kept of a text in an event that is over 1 MB."""
BASE64 = re.compile(r"data:([a-z/]+);base64,([A-Za-z0-9+/=]+)")


def expected_request(
    body: Mapping[str, Any],
    *,
    added: Sequence[str] = (),
    system_prompt: str = "",
    values: Mapping[str, Any] = MappingProxyType({}),
    left_out: Sequence[str] = (),
) -> dict[str, Any]:
    """``added`` and ``left_out``: as the record marks it. ``values``: what the settings give for each marked field."""
    request = {name: value for name, value in body.items() if name not in NOT_KEPT}
    messages = [{"content": None} | _without_empty(one, KNOWN) for one in request["messages"]]
    for path in added:
        if path == "messages[0]":
            messages = [{"role": "system", "content": system_prompt}, *messages]
        else:
            request[path] = values[path]
    for path in left_out:
        if (found := re.fullmatch(r"request\.messages\[(\d+)\]\.content", path)) is not None:
            messages[int(found[1])]["content"] = messages[int(found[1])]["content"][:LONGEST_TEXT]
    return {**request, "messages": _with_digests(messages)}


def expected_answer(content: bytes, *, streamed: bool, end: Mapping[str, Any] | None = None) -> dict[str, Any] | None:
    """``end``: the chunk with the usage, which a client that did not ask for it does not get."""
    if not streamed:
        whole = json.loads(content)
        return _completion(whole, whole["choices"]) if "choices" in whole else None
    chunks = [one for one in events(content) if one.get("choices") is not None]
    if not any(chunk["choices"] for chunk in chunks):
        return None
    head: dict[str, Any] = {}
    for chunk in [*chunks, *([end] if end else [])]:
        head |= {name: value for name, value in chunk.items() if value is not None and name not in head}
    deltas: dict[int, list[dict[str, Any]]] = {}
    for chunk in chunks:
        for one in chunk["choices"]:
            deltas.setdefault(one["index"], []).append(one)
    return _completion(head, [_joined(index, pieces) for index, pieces in sorted(deltas.items())])


def events(content: bytes) -> list[dict[str, Any]]:
    """The JSON objects of a stream that are no error. Half of an event at the end is none."""
    whole = content.rpartition(b"\n\n")[0].decode()
    lines = [line.removeprefix("data: ") for line in whole.split("\n") if line.startswith("data: {")]
    return [value for line in lines if "error" not in (value := json.loads(line))]


def chunk_with_usage(content: bytes) -> dict[str, Any] | None:
    """None in a stream without usage."""
    return next((chunk for chunk in events(content) if chunk.get("usage")), None)


def differences(expected: Any, recorded: Any, *, personal: Sequence[str] = (), where: str = "$") -> Iterator[str]:
    """Paths at which the record is another. A pseudonym may stand in the place of one of ``personal``, and of nothing else."""
    if isinstance(expected, dict) and isinstance(recorded, dict):
        if expected.keys() != recorded.keys():
            yield f"{where}: {sorted(expected)} is recorded as {sorted(recorded)}"
        for name in expected.keys() & recorded.keys():
            yield from differences(expected[name], recorded[name], personal=personal, where=f"{where}.{name}")
    elif isinstance(expected, list) and isinstance(recorded, list) and len(expected) == len(recorded):
        for at, (one, other) in enumerate(zip(expected, recorded, strict=True)):
            yield from differences(one, other, personal=personal, where=f"{where}[{at}]")
    elif isinstance(expected, str) and isinstance(recorded, str) and personal:
        if not _same_but_for(personal, expected, recorded):
            yield f"{where}: {expected!r} is recorded as {recorded!r}"
    elif type(expected) is not type(recorded) or expected != recorded:
        yield f"{where}: {expected!r} is recorded as {recorded!r}"


def _same_but_for(personal: Sequence[str], expected: str, recorded: str) -> bool:
    """Whether the texts are equal once each personal value of the first is a pseudonym of the second. None of them may be left."""
    pattern = re.escape(expected)
    for value in personal:
        pattern = pattern.replace(re.escape(value), PSEUDONYM.pattern)
    return re.fullmatch(pattern, recorded) is not None


def _completion(head: Mapping[str, Any], choices: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    kept = {name: value for name, value in head.items() if value is not None and name not in ("model", "prompt_logprobs")}
    return {**kept, "object": "chat.completion", "choices": [_choice(one) for one in choices]}


def _choice(choice: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in choice.items() if value is not None and name != "logprobs"}
    message = choice["message"]
    told = {"content": None} | _without_empty(message, message.keys())
    return {**kept, "finish_reason": choice.get("finish_reason"), "message": told}


def _without_empty(message: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    return {name: value for name, value in message.items() if name not in names or not (value is None or value == [])}


def _joined(index: int, pieces: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A choice whose pieces came one after the other."""
    choice: dict[str, Any] = {"index": index, "finish_reason": None}
    texts: dict[str, list[str]] = {}
    calls: dict[int, dict[str, Any]] = {}
    for piece in pieces:
        choice |= {name: value for name, value in piece.items() if name not in ("delta", "index") and value is not None}
        for name, value in piece["delta"].items():
            if name == "tool_calls":
                for one in value or ():
                    _add_call(calls, one)
            elif isinstance(value, str) and name != "role":
                texts.setdefault(name, []).append(value)
    message: dict[str, Any] = {"role": "assistant", "content": None, **{name: "".join(held) for name, held in texts.items()}}
    if calls:
        message["tool_calls"] = [held for _, held in sorted(calls.items())]
    if not message["content"] and (calls or "reasoning" in message):
        message["content"] = None
    return {**choice, "message": message}


def _add_call(calls: dict[int, dict[str, Any]], piece: Mapping[str, Any]) -> None:
    held = calls.setdefault(piece["index"], {"id": piece.get("id"), "type": "function", "function": {"name": "", "arguments": ""}})
    for name in ("name", "arguments"):
        held["function"][name] += piece["function"].get(name) or ""


def _with_digests(value: Any) -> Any:
    """References in place of pictures."""
    if isinstance(value, str) and (found := BASE64.fullmatch(value)):
        content = base64.b64decode(found[2])
        return f"data:{found[1]};sha256={sha256(content).hexdigest()};bytes={len(content)}"
    if isinstance(value, list):
        return [_with_digests(one) for one in value]
    if isinstance(value, dict) and value.keys() == {"data", "format"}:
        return {**value, "data": _with_digests(f"data:audio/{value['format']};base64,{value['data']}")}
    if isinstance(value, dict):
        return {name: _with_digests(one) for name, one in value.items()}
    return value
