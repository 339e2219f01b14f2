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


class PatternSearch:
    """One recogniser's patterns and checks. ``kind``: Presidio's name of what it finds."""

    def __init__(self, recogniser: Any) -> None:
        (self.kind,) = recogniser.supported_entities
        flags = recogniser.global_regex_flags
        patterns = [(regex.compile(pattern.regex, flags), pattern.score) for pattern in recogniser.patterns]
        judges = type(recogniser).validate_result is not _of_any(recogniser).validate_result
        self._patterns = [(pattern, confidence) for pattern, confidence in patterns if judges or confidence >= MINIMUM_SCORE]
        self._recogniser, self._confidence = recogniser, lru_cache(maxsize=JUDGED)(self._judged)

    def places(self, piece: str) -> Iterator[tuple[int, int]]:
        """Start and end (exclusive) of each. Raises TimeoutError, and whatever a check of the recogniser raises."""
        for pattern, base in self._patterns:
            for match in pattern.finditer(piece, timeout=PATTERN_SECONDS):
                start = match.start()
                for end in self._ends(match):
                    confidence = self._confidence(piece[start:end], base) if end > start else 0.0
                    if confidence >= MINIMUM_SCORE:
                        yield start, end
                    if confidence > 0:
                        break

    def _ends(self, match: Any) -> Iterator[int]:
        """An account number is tried without its last groups too, as Presidio's recogniser does: they may be the next words."""
        if self.kind != "IBAN_CODE":
            yield match.end()
        else:
            yield from (match.end(group) if match.end(group) > 0 else match.end() for group in range(len(match.groups()), 0, -1))

    def _judged(self, value: str, base: float) -> float:
        valid = self._recogniser.validate_result(value)
        if self._recogniser.invalidate_result(value):
            return 0.0
        return base if valid is None else float(valid)


def _of_any(recogniser: Any) -> Any:
    """Presidio's class of recognisers by patterns, which checks nothing by itself."""
    return next(one for one in type(recogniser).__mro__ if one.__name__ == "PatternRecognizer")
