"""Redacts a request and its answer, and cuts them to the size of an event.

In: a request's body and a completion, as JSON, and the redactor. Out: the same with pseudonyms, small enough, and the paths at which
something is missing. The prompt is cut before the answer, long texts before messages. What is cut away is not searched for personal data:
that would take minutes.
"""

from collections.abc import Mapping
from typing import Any

import orjson

from flywheel.traffic.exchange import CUT
from flywheel.traffic.message import Json
from flywheel.traffic.redaction import Redact, redacted_json

LONGEST_TEXTS = (100_000, 20_000, 2_000)
"""Characters that are kept of each text, tried in this order."""
MARGIN = 300
"""Characters before a cut that are redacted and then left out: the cut may halve personal data, which half nobody would recognise."""
MOST_PATHS = 100
"""More paths than these are one: of the whole request or answer."""
END_OF_REQUEST_BYTES, HEAD_OF_ANSWER_BYTES = 110_000, 40_000
"""What is kept if nothing else helps. JSON may write one byte as six, so the sum stays below 1 MB for any text."""
GROWTH = 40
"""Bytes by which a pseudonym is longer than what it stands for, at most."""


def redacted_to_size(
    request: Mapping[str, Json], response: Mapping[str, Json] | None, *, redact: Redact, most_bytes: int
) -> tuple[Json, Json, tuple[str, ...]]:
    """``(request, response, paths)``; no path if nothing had to be cut."""
    found = 0

    def counted(text: str) -> tuple[str, int]:
        nonlocal found
        clean, replaced = redact(text)
        found += replaced
        return clean, replaced

    size = _size(request) + _size(response)
    if size <= most_bytes:
        kept = redacted_json(request, counted), redacted_json(response, counted)
        if size + GROWTH * found <= most_bytes or _size(kept[0]) + _size(kept[1]) <= most_bytes:
            return *kept, ()
    for longest in LONGEST_TEXTS:
        for cuts_answer in (False, True):
            paths: list[str] = []
            of_answer = longest if cuts_answer else None
            plain = _shortened(request, "request", longest, paths), _shortened(response, "response", of_answer, paths)
            if _size(plain[0]) + _size(plain[1]) > most_bytes:
                continue
            clean_request = redacted_json(_shortened(request, "request", longest, [], redact), redact)
            clean_response = redacted_json(_shortened(response, "response", of_answer, [], redact), redact)
            if _size(clean_request) + _size(clean_response) <= most_bytes:
                return clean_request, clean_response, _few(paths)
    return redacted_json(_end_of(request, redact), redact), redacted_json(_head_of(response, redact), redact), CUT


def _size(value: Json) -> int:
    return len(orjson.dumps(value))


def _few(paths: list[str]) -> tuple[str, ...]:
    if len(paths) <= MOST_PATHS:
        return tuple(paths)
    return tuple(sorted({path.partition(".")[0] for path in paths}))


def _shortened(value: Json, where: str, longest: int | None, paths: list[str], redact: Redact | None = None) -> Json:
    """The JSON with its long texts cut, and redacted where they are cut; their paths are added to ``paths``."""
    if isinstance(value, str) and longest is not None and len(value) > longest:
        paths.append(where)
        return _head(value, longest, redact) if redact is not None else value[:longest]
    if isinstance(value, list):
        return [_shortened(one, f"{where}[{at}]", longest, paths, redact) for at, one in enumerate(value)]
    if isinstance(value, Mapping):
        return {key: _shortened(one, f"{where}.{key}", longest, paths, redact) for key, one in value.items()}
    return value


def _head(text: str, longest: int, redact: Redact) -> str:
    """The beginning of a text, redacted, without what the cut may have halved."""
    if len(text) <= longest:
        return text
    clean = redacted_json(text[: longest + MARGIN], redact)
    return str(clean)[:-MARGIN][:longest]


def _end_of(request: Mapping[str, Json], redact: Redact) -> Json:
    """Roles and texts of the last messages."""
    left, messages = END_OF_REQUEST_BYTES, []
    for message in reversed(request["messages"]):
        text = _some(text_of_content(message.get("content")), left, redact)
        messages.append({"role": message["role"][:40], "content": text})
        left -= len(text.encode()) + 100  # the role and the punctuation
        if left <= 0:
            break
    return {"messages": messages[::-1]}


def _head_of(response: Mapping[str, Json] | None, redact: Redact) -> Json:
    """The beginning of the first answer's text."""
    if response is None or not response["choices"]:
        return None
    first = response["choices"][0]
    text = _some(text_of_content(first["message"].get("content")), HEAD_OF_ANSWER_BYTES, redact)
    kept = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": first.get("finish_reason")}
    return {"id": response.get("id", "")[:200], "object": "chat.completion", "choices": [kept]}


def _some(text: str, most_bytes: int, redact: Redact) -> str:
    fits = text.encode()[: max(most_bytes, 0)].decode("utf-8", "ignore")
    return _head(text, len(fits), redact)


def text_of_content(content: Any) -> str:
    """The text of a message's ``content`` on the wire: text parts joined by line breaks; other parts are left out."""
    if isinstance(content, list):
        return "\n".join(part["text"] for part in content if isinstance(part, dict) and isinstance(part.get("text"), str))
    return content if isinstance(content, str) else ""
