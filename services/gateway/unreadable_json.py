"""Says what is wrong with a body that is not JSON, or that would not stay the same JSON, at which path.

In: the bytes, and the parser's error. Out: the error for the client. Python's own parser accepts more than JSON (NaN, halves of
characters), so it finds where they stand; it reads only what was refused already.
"""

import json
import math
import re
from collections.abc import Iterator
from typing import Any

import orjson

from flywheel.errors import InvalidInput

MOST_READ = 100_000
"""Bytes. In a larger body the place is told by line and column alone."""
MOST_LEVELS_READ, LONGEST_PATH = 200, 200
FEWEST_DIGITS_ROUNDED = 19
_MANY_DIGITS = re.compile(rb"\d{%d}" % FEWEST_DIGITS_ROUNDED)
AROUND = 20
"""Characters before and after the place that the message shows."""


def unreadable_json(raw: bytes, error: orjson.JSONDecodeError) -> InvalidInput:
    """InvalidInput with ``body`` or a path below it, and the value, or the text around the place."""
    found = _unencodable(raw)
    if found is not None:
        where, value, reason = found
        return InvalidInput(reason, where=where, value=value, remedy="Send finite numbers and whole characters, as JSON in UTF-8 has them.")
    text = error.doc if isinstance(error.doc, str) else raw[:MOST_READ].decode("utf-8", "backslashreplace")
    excerpt = text[max(0, error.pos - AROUND) : error.pos + AROUND]
    return InvalidInput(f"is not JSON in UTF-8: {error}", where="body", value=excerpt, remedy="Send a JSON object.")


def rounded_number(raw: bytes) -> InvalidInput | None:
    """InvalidInput for the first whole number of over 64 bits: the fast parser rounds it, and the model would get another number. None if
    there is none, or the body cannot be read at all."""
    if _MANY_DIGITS.search(raw) is None:
        return None
    try:
        value = json.loads(raw, parse_int=_WholeNumber)
    except (ValueError, RecursionError):
        return None
    for where, one in _leaves(value):
        if isinstance(one, _WholeNumber) and not one.fits:
            reason = "is a whole number of over 64 bits, which many readers of JSON round"
            return InvalidInput(reason, where=where, value=one[:80], remedy="Send it as a text.")
    return None


class _WholeNumber(str):
    """Its digits: Python refuses to read numbers of thousands of them."""

    __slots__ = ()

    @property
    def fits(self) -> bool:
        return len(self) <= FEWEST_DIGITS_ROUNDED or (len(self) <= FEWEST_DIGITS_ROUNDED + 2 and -(2**63) <= int(self) < 2**64)


def _unencodable(raw: bytes) -> tuple[str, str, str] | None:
    """Path, value and reason of the first value that JSON cannot hold; None if that is not what is wrong."""
    if len(raw) > MOST_READ:
        return None
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    for where, one in _leaves(value):
        if isinstance(one, float) and not math.isfinite(one):
            return where, str(one), "is not a finite number"
        if isinstance(one, str) and not _is_whole(one):
            return where, one.encode("utf-8", "backslashreplace").decode()[:80], "holds half of a character (a lone surrogate)"
    return None


def _leaves(value: Any) -> Iterator[tuple[str, Any]]:
    """Paths, and the numbers and texts that stand there; names of fields are texts too. In the order of the body."""
    left: list[tuple[str, Any, int]] = [("body", value, 0)]
    while left:
        where, one, level = left.pop()
        if level > MOST_LEVELS_READ:
            continue
        if isinstance(one, dict):
            for name in one:
                yield where, name
            left += [(f"{where}.{name}"[:LONGEST_PATH], held, level + 1) for name, held in reversed(one.items())]
        elif isinstance(one, list):
            left += [(f"{where}[{at}]"[:LONGEST_PATH], held, level + 1) for at, held in reversed(list(enumerate(one)))]
        else:
            yield where, one


def _is_whole(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
