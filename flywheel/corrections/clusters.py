"""Which texts ask nearly the same thing?

In: prompts, one by one. Out: the keys of those whose wording overlaps by at least a threshold (Jaccard over 5-character
shingles). MinHash only finds candidates; the exact overlap decides, so the answer does not hang on a lucky hash.
Meaning (embeddings) is not looked at here.
"""

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from flywheel.traffic.inference import Message

if TYPE_CHECKING:  # loaded at first use: it brings scipy, seconds at the start of every process that knows a golden set
    from datasketch import MinHash

SHINGLE = 5
PERMUTATIONS = 128
BANDS = (32, 4)  # at an overlap of 0.7 a pair becomes a candidate with probability 0.9998, at 0.3 with 0.23
LOOSE_BANDS = (64, 2)  # for thresholds under 0.6
TOOL_LINE = re.compile(r"^\s*(?:available\s+)?tools?\s*:", re.IGNORECASE)


def asked(messages: Sequence[Message]) -> str:
    """What the user said, without system text and without tool lists that an application wrote into the user's turn.

    With tool signatures counted in, half of all tool requests look alike because their tools do.
    """
    turns = "\n".join(message.content for message in messages if message.role == "user")
    kept = [line for line in turns.splitlines() if not TOOL_LINE.match(line)]
    return "\n".join(kept) if any(line.strip() for line in kept) else turns


def normalise(text: str) -> str:
    """Same letters, same case, single spaces: differences that nobody means."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def overlap(one: str, other: str) -> float:
    """Jaccard similarity of the shingles, 0 to 1; two empty texts share nothing."""
    left, right = _shingles(normalise(one)), _shingles(normalise(other))
    return len(left & right) / len(left | right) if left and right else 0.0


class NearTexts:
    """Texts seen so far, by key; grows one by one and holds no text twice."""

    def __init__(self, *, threshold: float) -> None:
        self._threshold = threshold
        from datasketch import MinHashLSH

        self._texts: dict[str, str] = {}
        self._index = MinHashLSH(num_perm=PERMUTATIONS, params=BANDS if threshold >= 0.6 else LOOSE_BANDS)

    def __len__(self) -> int:
        return len(self._texts)

    def add(self, key: str, text: str) -> None:
        """A key that is known already keeps its first text."""
        normal = normalise(text)
        if key in self._texts:
            return
        self._texts[key] = normal
        if normal:
            self._index.insert(key, _signature(normal))

    def near(self, text: str) -> tuple[str, ...]:
        """Keys of the texts that overlap by at least the threshold, the nearest first."""
        normal = normalise(text)
        if not normal:
            return ()
        found = [(overlap(normal, self._texts[key]), key) for key in self._index.query(_signature(normal))]
        return tuple(key for share, key in sorted(found, key=lambda pair: (-pair[0], pair[1])) if share >= self._threshold)


@lru_cache(maxsize=20_000)
def _shingles(normal: str) -> frozenset[str]:
    if not normal:
        return frozenset()
    return frozenset(normal[start : start + SHINGLE] for start in range(max(1, len(normal) - SHINGLE + 1)))


def _signature(normal: str) -> "MinHash":
    signature = _blank().copy()
    signature.update_batch([shingle.encode() for shingle in sorted(_shingles(normal))])
    return signature


@lru_cache(maxsize=1)
def _blank() -> "MinHash":
    """Its permutations are drawn once: drawing them anew for each text costs more than the hashing."""
    from datasketch import MinHash

    return MinHash(num_perm=PERMUTATIONS, seed=1)
