"""Searches a piece of text by the patterns of one of Presidio's recognisers: what Presidio finds, in a fraction of its time.

In: a recogniser; a piece of text. Out: the places of what it finds with at least the minimum score. Presidio builds an explanation for each
match, and when a pattern runs into its time limit it logs that and goes on as if nothing had been found; here that is an error. A test
compares both on generated texts.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import regex  # Presidio's own engine

MINIMUM_SCORE = 0.4
PATTERN_SECONDS = 5.0
"""CPU time after which the search for one pattern in one piece is given up; the slowest takes some milliseconds."""
JUDGED = 16_384  # matches whose score is remembered: hostile texts repeat them
_NEEDED = {"IPv4_mapped": "::", "IPv4_embedded": ":", "IPv6": ":", "IPv6_unspecified": "::"}
"""By the pattern's name, what every match of it contains: these patterns take ten times as long as the others."""
IN_GROUPS = frozenset({"CREDIT_CARD", "IBAN_CODE"})
"""Kinds with check digits, whose groups may also stand on lines of their own, and their digits be full-width ones."""
_PLAIN = {ord("\n"): " "} | {ord("０") + digit: str(digit) for digit in range(10)}
_CARD_OF_ANY_LENGTH = regex.compile(r"(?<![\w.-])(?:2[2-7]|[3-6]\d)\d\d(?:[ -]?\d){8,15}(?!\w|[.-]\d)")
"""12 to 19 digits, as ISO/IEC 7812 allows, in any groups; Presidio knows 14 to 16 in its own groups, and no series that begins with 2."""
_BEFORE_ADDRESS = regex.compile(r"[^@]*[/?=&|#]")


class PatternSearch:
    """One recogniser's patterns and checks. ``kind``: Presidio's name of what it finds."""

    def __init__(self, recogniser: Any) -> None:
        (self.kind,) = recogniser.supported_entities
        flags = recogniser.global_regex_flags
        patterns = [(regex.compile(one.regex, flags), one.score, _NEEDED.get(one.name, "")) for one in recogniser.patterns]
        if self.kind == "CREDIT_CARD":
            patterns.append((_CARD_OF_ANY_LENGTH, MINIMUM_SCORE, ""))
        judges = type(recogniser).validate_result is not _of_any(recogniser).validate_result
        self._patterns = [one for one in patterns if judges or one[1] >= MINIMUM_SCORE]
        self._recogniser, self._confidence = recogniser, lru_cache(maxsize=JUDGED)(self._judged)

    def places(self, piece: str) -> Iterator[tuple[int, int]]:
        """Start and end (exclusive) of each. Raises TimeoutError, and whatever a check of the recogniser raises."""
        piece = plain(piece) if self.kind in IN_GROUPS else piece
        for pattern, base, needed in self._patterns:
            for match in pattern.finditer(piece, timeout=PATTERN_SECONDS) if needed in piece else ():
                for start, end in self._readings(match):
                    confidence = self._confidence(piece[start:end], base) if end > start else 0.0
                    if confidence >= MINIMUM_SCORE:
                        yield start, end
                    if confidence > 0:
                        break

    def _readings(self, match: Any) -> Iterator[tuple[int, int]]:
        """Where the finding may stand. An account number is tried without its last groups too: they may be the next words. An address is
        tried without what stands before it in a URL, which Presidio takes for a part of it and then refuses."""
        start, end = match.span()
        if self.kind == "IBAN_CODE":
            yield from ((start, match.end(group) if match.end(group) > 0 else end) for group in range(len(match.groups()), 0, -1))
            return
        yield start, end
        if self.kind == "EMAIL_ADDRESS" and (in_url := _BEFORE_ADDRESS.match(match[0])) is not None:
            yield start + in_url.end(), end

    def _judged(self, value: str, base: float) -> float:
        valid = self._recogniser.validate_result(value)
        if self._recogniser.invalidate_result(value):
            return 0.0
        return base if valid is None else float(valid)


def plain(piece: str) -> str:
    """The piece with blanks for line breaks and with ASCII digits, of the same length."""
    return piece.translate(_PLAIN)


def _of_any(recogniser: Any) -> Any:
    """Presidio's class of recognisers by patterns, which checks nothing by itself."""
    return next(one for one in type(recogniser).__mro__ if one.__name__ == "PatternRecognizer")
