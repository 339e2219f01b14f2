"""Finds telephone numbers: what Presidio's PhoneRecognizer finds, in a fraction of its time.

In: a text. Out: the places of all numbers that phonenumbers' matcher finds for one of the regions. Presidio runs that matcher once for each
region, and the matcher parses some twenty parts of each run of digits. Here the parts are collected once for all regions, and a part is
parsed only where its digits can be a number of the region. A test compares both on random texts.
"""

import re
from collections.abc import Iterator, Mapping
from functools import cache, lru_cache
from typing import Any

from phonenumbers import (
    COUNTRY_CODE_TO_REGION_CODE,
    Leniency,
    NumberParseException,
    PhoneMetadata,
    PhoneNumber,
    PhoneNumberMatch,
    PhoneNumberMatcher,
    is_valid_number,
    parse,
    phonenumberutil,
)

REGIONS = ("US", "GB", "DE", "FR", "IL", "IN", "CA", "BR")
"""As Presidio's PhoneRecognizer. Numbers that begin with a plus sign are found of every country."""
PHONE = "PHONE_NUMBER"
"""Presidio's name of the kind."""
SHORTEST = 4
"""Digits: no number of any country has fewer, as a test of phonenumbers' metadata says."""
LENIENCY = Leniency.VALID
CACHED, RUNS_CACHED = 16_384, 512  # numbers and runs of digits that were judged last: hostile texts repeat them
MINUTES = len(":59")  # so far behind a run the matcher looks: with minutes there, the run is a time
KINDS = ("fixed_line", "mobile", "toll_free", "premium_rate", "shared_cost", "personal_number", "voip", "pager", "uan", "voicemail")
CHAIN = re.compile(rf"\d(?:[{phonenumberutil._VALID_PUNCTUATION}]{{0,4}}\d){{{SHORTEST - 1}}}", re.IGNORECASE)
"""The digits of the shortest number, with what phonenumbers allows between two of them; every run in which it finds a number has them."""
LEAD = 10  # characters: two brackets or plus signs, each with four more, may stand before the first digit of a run
_ANY = PhoneNumberMatch(0, "0", PhoneNumber())  # ends the search of ``_find``
_NO_EXTENSION = re.compile(r"[+＋]?[\d\-‐-―−ー－-／ \u00a0\u00ad\u200b\u2060\u3000()（）［］.\[\]/]*")
"""A part whose meaning lies in its digits and its plus sign alone: no extension, no letters."""


def phone_numbers(text: str) -> list[tuple[int, int]]:
    """Start and end of each, in no order; numbers of several regions may overlap."""
    parts = _Parts(text)
    return list({place: None for region in REGIONS for place in parts.numbers(region)})


class _PartsOfRun(PhoneNumberMatcher):
    """The parts of one run of digits that the matcher would parse. ``by_region``: those that may be a number of it, each with its start."""

    def __init__(self, run: str, behind: str) -> None:
        super().__init__(run + behind, None, leniency=LENIENCY)
        self.by_region: dict[str, list[tuple[int, str]]] = {}
        self._extract_match(run, 0)

    def _parse_and_verify(self, candidate: str, offset: int) -> None:
        for region in _regions_of(candidate):
            self.by_region.setdefault(region, []).append((offset, candidate))


_parts_of_run = lru_cache(maxsize=RUNS_CACHED)(_PartsOfRun)


class _Parts(PhoneNumberMatcher):
    """The runs of digits in a text, and the parts of each that the matcher would parse. No part is parsed while they are collected."""

    def __init__(self, text: str) -> None:
        super().__init__(text, None, leniency=LENIENCY)
        self._known: dict[int, tuple[int, str] | None] = {}
        self._run = (0, "")
        self._stands_alone: dict[tuple[int, str], bool] = {}

    def numbers(self, region: str) -> Iterator[tuple[int, int]]:
        """As ``PhoneNumberMatcher(text, region)`` yields them."""
        at = 0
        while (found := self._run_after(at)) is not None:
            start, run = found
            at = start + len(run)
            for offset, part in _parts_of_run(run, self.text[at : at + MINUTES]).by_region.get(region, ()):
                if self._is_number(start + offset, part, region):
                    at = start + offset + len(part)
                    yield start + offset, at
                    break

    def _run_after(self, at: int) -> tuple[int, str] | None:
        """The next run with enough digits for a number, and its start."""
        if at not in self._known:
            self._known[at] = self._next_run(at)
        return self._known[at]

    def _next_run(self, at: int) -> tuple[int, str] | None:
        digits = CHAIN.search(self.text, at)
        at = max(at, digits.start() - LEAD) if digits is not None else at
        while digits is not None and self._find(at) is not None:
            start, run = self._run
            at = start + len(run)
            if at > digits.start():
                return self._run
        return None

    def _extract_match(self, candidate: str, offset: int) -> PhoneNumberMatch | None:
        self._run = (offset, candidate)
        return _ANY

    def _is_number(self, start: int, part: str, region: str) -> bool:
        end = start + len(part)
        before, after = self.text[start - 1 : start] if start else "", self.text[end : end + 1]
        number = _digits_of(part)
        if number is None:
            return _verified(part, region, before, after)
        if not _is_valid(*number, region):
            return False
        if (start, part) not in self._stands_alone:  # what stands before and behind it matters, and is the same for every region
            self._stands_alone[start, part] = _verified(part, region, before, after)
        return self._stands_alone[start, part]


@lru_cache(maxsize=CACHED)
def _verified(part: str, region: str, before: str = "", after: str = "") -> bool:
    """Whether phonenumbers takes the part for a number. ``before``, ``after``: the characters around it; it looks at no others."""
    matcher = PhoneNumberMatcher(before + part + after, region, leniency=LENIENCY)
    return matcher._parse_and_verify(part, len(before)) is not None


@lru_cache(maxsize=CACHED)
def _regions_of(part: str) -> tuple[str, ...]:
    """The regions of which the part may be a number: a cheap test before it is parsed for each."""
    number = _digits_of(part)
    if number is None:
        return REGIONS
    return tuple(region for region in REGIONS if _may_be_valid(*number, region)) if len(number[0]) >= SHORTEST else ()


@lru_cache(maxsize=CACHED)
def _digits_of(part: str) -> tuple[str, bool] | None:
    """The part's digits, and whether a plus sign stands before them. None where that is not all that counts."""
    if _NO_EXTENSION.fullmatch(part) is None:
        return None
    digits = "".join(character for character in part if character.isdecimal())
    if not digits.isascii():
        digits = "".join(str(int(character)) for character in digits)
    return digits, part[:1] in ("+", "＋")


@lru_cache(maxsize=CACHED)
def _is_valid(digits: str, plus: bool, region: str) -> bool:
    """Whether these digits alone are a valid number in the region."""
    if (international := _international(digits, plus, region)) is not None:
        return _is_international(international)
    number = f"+{digits}" if plus else digits
    return _may_be_valid(digits, plus, region) and _verified(number, region)


def _may_be_valid(digits: str, plus: bool, region: str) -> bool:
    """False only where phonenumbers' parser and its patterns can find no valid number: a cheap test before them."""
    return _international(digits, plus, region) is not None or _rules(region)["national"].fullmatch(digits) is not None


def _international(digits: str, plus: bool, region: str) -> str | None:
    """The digits from the country code on, of a number that is dialled with one; None of others."""
    if plus and not digits.startswith("0") and any(int(digits[:n] or 0) in COUNTRY_CODE_TO_REGION_CODE for n in (1, 2, 3)):
        return digits
    dialled = _rules(region)["international_prefix"].match(digits)
    return digits[dialled.end() :] if dialled and not digits.startswith("0", dialled.end()) else None


@lru_cache(maxsize=CACHED)
def _is_international(digits: str) -> bool:
    try:
        return bool(is_valid_number(parse(f"+{digits}")))
    except NumberParseException:
        return False


@cache
def _rules(region: str) -> Mapping[str, "re.Pattern[str]"]:
    """``national``: the digits of every valid number of the region's country code, with or without that code and national prefixes."""
    held: Any = PhoneMetadata.metadata_for_region(region)
    same_code: list[Any] = [PhoneMetadata.metadata_for_region(one) for one in COUNTRY_CODE_TO_REGION_CODE[held.country_code]]
    described = (getattr(one, kind) for one in same_code for kind in KINDS)
    numbers = sorted({one.national_number_pattern for one in described if one is not None and one.national_number_pattern})
    prefix = (held.national_prefix_for_parsing or "").replace(r"(\d{10,11})", "")  # Brazil's prefix holds the number behind it
    national = f"(?:{held.country_code})?(?:{prefix}){{0,2}}(?:{'|'.join(numbers)})"
    return {"international_prefix": re.compile(held.international_prefix), "national": re.compile(national)}
