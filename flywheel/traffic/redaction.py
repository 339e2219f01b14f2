"""Replaces personal data by keyed pseudonyms: the same value always gets the same pseudonym.

In: a text, the personal data that a recogniser found in it, and the key. Out: the text with pseudonyms, and their number. Recognising
personal data is not done here. Without the key nobody can check a guess against a pseudonym.
"""

import hmac
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from flywheel.traffic.exchange import Exchange, exchange_from_wire
from flywheel.traffic.media import REFERENCE
from flywheel.traffic.message import Json

Redact = Callable[[str], tuple[str, int]]
"""A text -> the text with pseudonyms, and their number."""
NEVER_PERSONAL = frozenset({"id", "object", "model", "role", "type", "finish_reason", "system_fingerprint", "tool_call_id"})
"""Keys whose values are made by machines: redacting ``chatcmpl-4155550134`` would only break it."""
_PSEUDONYM = re.compile(r"<[A-Z][A-Z_]*:[0-9a-f]{8}>")
_SCREEN = re.compile(r"[@\d]|://")


@dataclass(frozen=True, kw_only=True)
class PersonalDataSpan:
    """Where in a text personal data is. ``end`` is exclusive."""

    start: int
    end: int
    kind: str  # e.g. "EMAIL_ADDRESS"


def pseudonymise(text: str, findings: Sequence[PersonalDataSpan], key: bytes) -> tuple[str, int]:
    """Of overlapping spans the longest is replaced; pseudonyms that are there already stay."""
    taken = [(match.start(), match.end()) for match in _PSEUDONYM.finditer(text)]
    chosen: list[PersonalDataSpan] = []
    for finding in sorted(findings, key=lambda f: (f.start - f.end, f.start, f.kind)):
        start, end = max(finding.start, 0), min(finding.end, len(text))
        if start >= end or any(start < until and begin < end for begin, until in taken):
            continue
        taken.append((start, end))
        chosen.append(PersonalDataSpan(start=start, end=end, kind=finding.kind))
    for finding in sorted(chosen, key=lambda f: f.start, reverse=True):
        text = text[: finding.start] + pseudonym(text[finding.start : finding.end], kind=finding.kind, key=key) + text[finding.end :]
    return text, len(chosen)


def pseudonym(value: str, *, kind: str, key: bytes) -> str:
    """``<KIND:8 hex digits>``; the same for any case and spacing of the value."""
    normal = "".join(value.split()).casefold()
    return f"<{kind}:{hmac.new(key, f'{kind}:{normal}'.encode(), 'sha256').hexdigest()[:8]}>"


def redacted_json(value: Json, redact: Redact) -> Json:
    """Every text in the JSON, keys too: personal data also stands in tool arguments, names and metadata. References to media stay."""
    if isinstance(value, str):
        if ";" not in value or ";sha256=" not in value:  # no reference; the first test is many times as fast
            return redact(value)[0] if value else value
        return "".join(piece if REFERENCE.fullmatch(piece) else redact(piece)[0] for piece in REFERENCE.split(value) if piece)
    if isinstance(value, Mapping):
        return {
            redact(key)[0]: one if key in NEVER_PERSONAL and isinstance(one, str) else redacted_json(one, redact)
            for key, one in value.items()
        }
    if isinstance(value, list):
        return [redacted_json(one, redact) for one in value]
    return value


def redacted_exchange(exchange: Exchange, redact: Redact) -> Exchange:
    """The exchange with pseudonyms in all of its texts."""
    return exchange_from_wire(
        redacted_json(exchange.prompt.to_wire(), redact),
        redacted_json(exchange.response_to_wire(), redact),
        where="$",
        added=exchange.added,
        left_out=exchange.left_out,
    )


def holds_pseudonym(text: str) -> bool:
    """True when the text has a pseudonym."""
    return _PSEUDONYM.search(text) is not None


def worth_searching(text: str) -> bool:
    """A cheap test before the recogniser runs: every kind that it finds has an at sign, a digit or ``://``."""
    return _SCREEN.search(text) is not None
