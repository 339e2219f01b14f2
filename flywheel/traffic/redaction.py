"""Replaces personal data by keyed pseudonyms: the same value always gets the same pseudonym.

In: a text, the personal data that a recogniser found in it, and the key. Out: the text with pseudonyms, and their number. Recognising
personal data is not done here. Without the key nobody can check a guess against a pseudonym. A part that could not be searched is cut, and
a mark stands in its place.
"""

import hmac
import re
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from flywheel.traffic.exchange import Exchange, exchange_from_wire
from flywheel.traffic.media import REFERENCE
from flywheel.traffic.message import Json
from flywheel.traffic.secrets import begins_like_token, holds_digit, names_secret

Redact = Callable[[str], tuple[str, int]]
"""A text -> the text with pseudonyms, and their number."""
NEVER_PERSONAL = frozenset({"id", "object", "model", "role", "type", "finish_reason", "system_fingerprint", "tool_call_id"})
"""Keys whose values are made by machines: redacting ``chatcmpl-4155550134`` would only break it. A value that no machine makes, such as an
address, is redacted there too."""
_MACHINE_MADE = re.compile(
    r"(?![A-Z]{2}\d\d[A-Z\d]{11,30}$|(?:bc1|BC1)[a-zA-Z\d]{25,}$|[13][a-zA-HJ-NP-Z1-9]{25,}$)"  # an IBAN, a wallet
    r"(?=[^A-Za-z]{0,199}[A-Za-z])(?![^:]{0,4}(?::[^:]{0,4}){2,}$)"  # with a letter; no IPv6 address
    r"[\w.:/+=~-]{1,200}",
    re.ASCII,
)
"""With a letter: digits and dashes alone may be a telephone or card number."""
PIECE, OVERLAP = 1_000, 256  # characters; an e-mail address has at most 254
EMAIL = "EMAIL_ADDRESS"
UNSEARCHED = "NOT_SEARCHED"
"""The kind of a part that could not be searched for personal data."""
CUT_MARK = f"<{UNSEARCHED}>"
"""What stands in its place. A text that holds it never trains."""
_PSEUDONYM = re.compile(r"<[A-Z][A-Z_]*:[0-9a-f]{8}>")
_INDEX = re.compile(r"\[\d+\]")


class PersonalDataSpan(NamedTuple):
    """Where in a text personal data is. ``end`` is exclusive."""

    start: int
    end: int
    kind: str  # e.g. "EMAIL_ADDRESS"


def pseudonymise(text: str, findings: Sequence[PersonalDataSpan], key: bytes) -> tuple[str, int]:
    """Of overlapping spans the longest is replaced; pseudonyms that are there already stay. What could not be searched is cut, with every
    finding that reaches into it."""
    there = [PersonalDataSpan(start=match.start(), end=match.end(), kind="") for match in _PSEUDONYM.finditer(text)]
    chosen = _cuts([*there, *findings]) if any(finding.kind == UNSEARCHED for finding in findings) else []
    uncut = (span for span in there if not _is_inside(span, chosen))
    taken = sorted((span.start, span.end) for span in (*uncut, *chosen))  # none overlaps another
    for finding in sorted(findings, key=lambda f: (f.start - f.end, f.start, f.kind)):
        start, end = max(finding.start, 0), min(finding.end, len(text))
        at = bisect_left(taken, (start, end))
        if start >= end or (at < len(taken) and taken[at][0] < end) or (at > 0 and start < taken[at - 1][1]):
            continue
        taken.insert(at, (start, end))
        chosen.append(PersonalDataSpan(start=start, end=end, kind=finding.kind))
    parts, done = [], 0
    for finding in sorted(chosen, key=lambda f: f.start):
        found = text[finding.start : finding.end]
        parts += [text[done : finding.start], CUT_MARK if finding.kind == UNSEARCHED else pseudonym(found, kind=finding.kind, key=key)]
        done = finding.end
    return "".join((*parts, text[done:])), len(chosen)


def _cuts(spans: Sequence[PersonalDataSpan]) -> list[PersonalDataSpan]:
    """The parts to cut, in order, none overlaps another: each with all spans that overlap it."""
    cuts: list[PersonalDataSpan] = []
    start, end, is_cut = 0, 0, False
    for span in (*sorted(spans, key=lambda one: one.start), None):
        if span is not None and span.start < end:
            end, is_cut = max(end, span.end), is_cut or span.kind == UNSEARCHED
            continue
        if is_cut:
            cuts.append(PersonalDataSpan(start=start, end=end, kind=UNSEARCHED))
        if span is not None:
            start, end, is_cut = span.start, span.end, span.kind == UNSEARCHED
    return cuts


def _is_inside(span: PersonalDataSpan, cuts: Sequence[PersonalDataSpan]) -> bool:
    at = bisect_left(cuts, span.end, key=lambda cut: cut.end)
    return at < len(cuts) and cuts[at].start <= span.start


def found_in_pieces(text: str, find: Callable[[str], Sequence[PersonalDataSpan]], *, every: bool = False) -> list[PersonalDataSpan]:
    """What ``find`` finds in overlapping pieces of the text: a recogniser whose time grows with the square of a text's length then takes a
    time that grows with the length. Personal data of up to ``OVERLAP`` characters is whole in one of the pieces. ``every``: also pieces
    without a digit or an at sign.
    """
    found: dict[PersonalDataSpan, None] = {}
    for start, end in _pieces(text):
        piece = text[start:end]
        if every or worth_searching(piece):
            whole = (PersonalDataSpan(start=start + one.start, end=start + one.end, kind=one.kind) for one in find(piece))
            found |= {one: None for one in whole if not _cut_out_of_a_number(text, one, start, end)}
    return list(found)


def _pieces(text: str) -> Iterator[tuple[int, int]]:
    """Start and end of pieces of at most ``PIECE`` characters, cut behind white space where there is some near."""

    def cut(wanted: int) -> int:
        return next((at for at in range(wanted, max(wanted - OVERLAP, 1), -1) if text[at - 1].isspace()), wanted)

    start, end = 0, 0
    while end < len(text):
        end = cut(start + PIECE) if start + PIECE < len(text) else len(text)
        yield start, end
        start = cut(end - OVERLAP)


def _cut_out_of_a_number(text: str, found: PersonalDataSpan, start: int, end: int) -> bool:
    """Part of a longer number that goes on in the next piece, which has it whole. An address is kept: it may be longer than a piece."""
    begins = found.start == start > 0 and text[start - 1 : start + 1].isdecimal()
    ends = found.end == end < len(text) and text[end - 1 : end + 1].isdecimal()
    return found.kind not in (EMAIL, UNSEARCHED) and (begins or ends)


def pseudonym(value: str, *, kind: str, key: bytes) -> str:
    """``<KIND:8 hex digits>``; the same for any case and spacing of the value."""
    normal = "".join(value.split()).casefold()
    keyed = _keyed(key).copy()
    keyed.update(f"{kind}:{normal}".encode())
    return f"<{kind}:{keyed.hexdigest()[:8]}>"


@lru_cache(maxsize=8)
def _keyed(key: bytes) -> "hmac.HMAC":
    return hmac.new(key, digestmod="sha256")


def redacted_json(value: Json, redact: Redact) -> Json:
    """Every text in the JSON, keys too: personal data also stands in tool arguments, names and metadata. References to media stay."""
    if isinstance(value, str):
        if ";" not in value or ";sha256=" not in value:  # no reference; the first test is many times as fast
            return redact(value)[0] if value else value
        return "".join(piece if REFERENCE.fullmatch(piece) else redact(piece)[0] for piece in REFERENCE.split(value) if piece)
    if isinstance(value, Mapping):
        return {redact(key)[0]: _redacted_field(key, one, redact) for key, one in value.items()}
    if isinstance(value, list):
        return [redacted_json(one, redact) for one in value]
    return value


def _redacted_field(key: str, value: Json, redact: Redact) -> Json:
    """The value under a key of a mapping. One such as `password` says of its text that it is a secret."""
    if not isinstance(value, str):
        return redacted_json(value, redact)
    if key in NEVER_PERSONAL and is_made_by_machine(value):
        return value
    if names_secret(key):
        named = f'{key}="'
        told = redact(f'{named}{value}"')[0]
        if told.startswith(named) and _PSEUDONYM.fullmatch(told[len(named) : -1]):
            return told[len(named) : -1]
    return redacted_json(value, redact)


def is_made_by_machine(id: str) -> bool:
    """False for an id that may be an address, a number or a token: it is redacted like any text."""
    return _MACHINE_MADE.fullmatch(id) is not None and not begins_like_token(id)


def unsearched_paths(value: Json, where: str) -> list[str]:
    """Paths of the texts in redacted JSON of which a part could not be searched. ``where``: the path of ``value``."""
    if isinstance(value, str):
        return [where] if CUT_MARK in value else []
    if isinstance(value, list):
        return [path for at, one in enumerate(value) for path in unsearched_paths(one, f"{where}[{at}]")]
    if isinstance(value, Mapping):
        return [path for key, one in value.items() for path in (unsearched_paths(key, where) or unsearched_paths(one, f"{where}.{key}"))]
    return []


def redacted_exchange(exchange: Exchange, redact: Redact) -> Exchange:
    """The exchange with pseudonyms in all of its texts; the same exchange where nothing was replaced, as in most. Where a part could not be
    searched, its path is left out."""
    request, response = exchange.prompt.to_wire(), exchange.response_to_wire()
    redacted_request, redacted_response = redacted_json(request, redact), redacted_json(response, redact)
    if redacted_request == request and redacted_response == response:
        return exchange
    return exchange_from_wire(
        redacted_request,
        redacted_response,
        where="$",
        added=exchange.added,
        left_out=(*exchange.left_out, *unsearched_paths(redacted_request, "request"), *unsearched_paths(redacted_response, "response")),
    )


def redacted_fault(told: str, redact: Redact) -> str:
    """The reason or path of a fault: either may repeat a key that a producer wrote. Most hold nothing to search for, and ``redact``, which
    may have to import its recognisers, is not called."""
    return redact(told)[0] if worth_searching(_INDEX.sub("", told)) else told


def holds_pseudonym(text: str) -> bool:
    """True when the text has a pseudonym."""
    return _PSEUDONYM.search(text) is not None


def worth_searching(text: str) -> bool:
    """A cheap test before the recogniser runs: every kind that it finds has an at sign, a digit or ``://``."""
    return "@" in text or "://" in text or holds_digit(text)
