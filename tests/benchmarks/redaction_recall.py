"""Recall and precision of the redactor on texts with planted values.

A value is found when a pseudonym covers all of it. A pseudonym is right when it stands on a planted value, of whatever kind.
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tests.benchmarks.redaction_texts import Planted

PSEUDONYM = re.compile(r"<([A-Z_]+)(?::[0-9a-f]{8})?>")


@dataclass
class Measured:
    """Counts by kind, and of what was found by kind and form."""

    planted: Counter[str] = field(default_factory=Counter)
    found: Counter[str] = field(default_factory=Counter)
    replaced: Counter[str] = field(default_factory=Counter)
    right: Counter[str] = field(default_factory=Counter)
    by_form: Counter[tuple[str, str, bool]] = field(default_factory=Counter)
    missed: list[Planted] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def recall(self, kind: str) -> float:
        return self.found[kind] / max(1, self.planted[kind])

    def precision(self, kind: str) -> float:
        return self.right[kind] / max(1, self.replaced[kind])


def replaced_places(text: str, clean: str) -> list[tuple[int, int, str]]:
    """Where in the text the pseudonyms of the redacted text stand."""
    kept = PSEUDONYM.split(clean)[::2]
    found = re.fullmatch("(.+?)".join(map(re.escape, kept)), text, re.DOTALL)
    assert found is not None
    return [(*found.span(at + 1), kind) for at, kind in enumerate(PSEUDONYM.findall(clean))]


def measured(texts: Sequence[Planted], redact: Callable[[str, tuple[str, ...]], tuple[str, int]]) -> Measured:
    """Redacts each text with the names that its exchange knows."""
    result = Measured()
    for one in texts:
        clean, _ = redact(one.text, one.names)
        places = replaced_places(one.text, clean)
        uncovered = set(range(one.start, one.end)) - {at for start, end, _ in places for at in range(start, end)}
        is_found = not any(one.text[at].isalnum() for at in uncovered)
        result.planted[one.kind] += 1
        result.found[one.kind] += is_found
        result.by_form[one.kind, one.form, is_found] += 1
        if not is_found:
            result.missed.append(one)
        for start, end, kind in places:
            is_right = start < one.end and one.start < end
            result.replaced[kind] += 1
            result.right[kind] += is_right
            if not is_right:
                result.wrong.append(f"{kind}: {one.text[max(0, start - 20) : end + 20]!r}")
    return result
