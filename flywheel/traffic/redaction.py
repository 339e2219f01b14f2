"""Personal data becomes keyed pseudonyms: the same person reads as the same name, and nobody can tell who.

In: a text, what a recogniser found in it, and the key. Out: the text with pseudonyms, and how many were put in. Finding
personal data is not done here. Without the key a pseudonym cannot be recomputed from a guess.
"""

import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass

_PSEUDONYM = re.compile(r"<[A-Z][A-Z_]*:[0-9a-f]{8}>")
_SCREEN = re.compile(r"[@\d]|://")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One stretch of the text that is personal data. ``end`` is exclusive."""

    start: int
    end: int
    kind: str  # e.g. "EMAIL_ADDRESS"


def pseudonymise(text: str, findings: Sequence[Finding], key: bytes) -> tuple[str, int]:
    """Of findings that overlap the longest counts; a pseudonym that stands there already is left alone."""
    taken = [(match.start(), match.end()) for match in _PSEUDONYM.finditer(text)]
    chosen: list[Finding] = []
    for finding in sorted(findings, key=lambda f: (f.start - f.end, f.start, f.kind)):
        start, end = max(finding.start, 0), min(finding.end, len(text))
        if start >= end or any(start < until and begin < end for begin, until in taken):
            continue
        taken.append((start, end))
        chosen.append(Finding(start=start, end=end, kind=finding.kind))
    for finding in sorted(chosen, key=lambda f: f.start, reverse=True):
        text = text[: finding.start] + pseudonym(text[finding.start : finding.end], kind=finding.kind, key=key) + text[finding.end :]
    return text, len(chosen)


def pseudonym(value: str, *, kind: str, key: bytes) -> str:
    """``<KIND:8 hex digits>``. Case and spaces do not matter: they change from one mention to the next."""
    normal = "".join(value.split()).casefold()
    return f"<{kind}:{hmac.new(key, f'{kind}:{normal}'.encode(), 'sha256').hexdigest()[:8]}>"


def holds_pseudonym(text: str) -> bool:
    """Was something replaced in it?"""
    return _PSEUDONYM.search(text) is not None


def worth_searching(text: str) -> bool:
    """The cheap test before the dear one: every kind that is searched for has an at sign, a digit or ``://`` in it."""
    return _SCREEN.search(text) is not None
