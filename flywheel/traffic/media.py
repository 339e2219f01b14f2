"""Media in an exchange are kept by digest and type, never by their bytes.

In: JSON of a request or an answer. Out: the same JSON with a reference in place of each base64 text of a picture, a sound or a file:
``data:image/png;sha256=<64 hex digits>;bytes=<size>``. A reference is left as it is.
"""

import binascii
import re
from base64 import b64decode
from collections.abc import Iterator, Mapping
from hashlib import sha256

from flywheel.errors import InvalidInput
from flywheel.traffic.message import Json

MOST_LEVELS = 100
_DATA_URL = re.compile(r"data:([\w.+-]{1,80}/[\w.+-]{1,80}|)(?:;[\w.+-]{1,40}=[\w.+-]{1,80}){0,3};base64,([A-Za-z0-9+/_=-]{64,})")
REFERENCE = re.compile(r"(data:[\w.+/-]{0,161};sha256=[0-9a-f]{64};bytes=\d{1,12})")
_RAW = {"input_audio": "data", "audio": "data", "file": "file_data", "source": "data"}
"""Objects that may hold base64 text without ``data:`` before it, and its key."""
_RAW_KEYS = frozenset(_RAW)
_WITHOUT_TEXT = frozenset({int, float, bool, type(None)})
_MEDIA_TYPE = re.compile(r"[\w.+-]{1,80}/[\w.+-]{1,80}")
_BASE64 = re.compile(r"[A-Za-z0-9+/_=\s-]{64,}")


def without_media(value: Json, *, where: str) -> tuple[Json, tuple[str, ...]]:
    """The JSON with references, and the paths at which they stand. Raises InvalidInput for JSON of over ``MOST_LEVELS`` levels."""
    if not _may_hold_media(value, levels=MOST_LEVELS):
        return value, ()
    found: list[str] = []
    return _reduced(value, where, found, levels=MOST_LEVELS), tuple(found)


def _may_hold_media(value: Json, *, levels: int) -> bool:
    """False for most exchanges, in a fraction of the time that ``_reduced`` takes. True also for what is nested too deeply, or not
    made of the types of parsed JSON.

    Level by level, because a call for each list and object would take most of the time.
    """
    held = [value]
    for left in range(levels, -1, -1):
        inside: list[Json] = []
        for one in held:
            kind = type(one)
            if kind is str:
                if ";" in one and ";base64," in one:  # the first test is many times as fast as the second
                    return True
            elif kind not in _WITHOUT_TEXT:
                if not left or (kind is not list and (kind is not dict or not _RAW_KEYS.isdisjoint(one))):
                    return True
                inside += one if kind is list else one.values()
        if not inside:
            return False
        held = inside
    return False


def _reduced(value: Json, where: str, found: list[str], *, levels: int) -> Json:
    if not levels:
        raise InvalidInput(f"is nested over {MOST_LEVELS} levels", where=where[:200], remedy="Send a flatter value.")
    if isinstance(value, str):
        return _text(value, where, found)
    if isinstance(value, list):
        return [_reduced(one, f"{where}[{at}]", found, levels=levels - 1) for at, one in enumerate(value)]
    if not isinstance(value, dict):
        return value
    reduced = {key: _reduced(one, f"{where}.{key}", found, levels=levels - 1) for key, one in value.items()}
    for name, key in _RAW.items():
        held = reduced.get(name)
        if isinstance(held, dict) and isinstance(held.get(key), str) and _BASE64.fullmatch(held[key]):
            reduced[name] = held | {key: _reference(_kind_of(held), held[key])}
            found.append(f"{where}.{name}.{key}")
    return reduced


def _kind_of(media: Mapping[str, Json]) -> str:
    """As the object itself says; "" where it does not."""
    sound, media_type = media.get("format"), media.get("media_type")
    if isinstance(media_type, str) and _MEDIA_TYPE.fullmatch(media_type):
        return media_type
    return f"audio/{sound}" if isinstance(sound, str) and sound.isalnum() and len(sound) <= 20 else ""


def _text(text: str, where: str, found: list[str]) -> str:
    if ";base64," not in text:
        return text
    reduced = "".join(_pieces(text))
    if reduced != text:
        found.append(where)
    return reduced


def _pieces(text: str) -> Iterator[str]:
    end = 0
    for match in _DATA_URL.finditer(text):
        yield text[end : match.start()]
        yield _reference(match[1], match[2])
        end = match.end()
    yield text[end:]


def _reference(kind: str, encoded: str) -> str:
    """By the digest of the bytes; of the text itself where it is not base64."""
    try:
        content = b64decode(encoded.translate(_URL_SAFE) + "=" * (-len(encoded) % 4))
    except (binascii.Error, ValueError):
        content = encoded.encode()
    return f"data:{kind};sha256={sha256(content).hexdigest()};bytes={len(content)}"


_URL_SAFE = str.maketrans("-_", "+/")
