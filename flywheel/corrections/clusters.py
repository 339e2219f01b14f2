"""Which prompts are near-duplicates?

In: prompts, one by one. Out: the keys of those whose Jaccard similarity over 5-character shingles is at least a threshold. MinHash
only finds candidates; the exact similarity decides. Embeddings are not used here.
"""

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from flywheel.traffic.message import Message

if TYPE_CHECKING:  # imported at first use: it imports scipy, which takes seconds
    from datasketch import MinHash

SHINGLE = 5
PERMUTATIONS = 128
BANDS = (32, 4)  # a pair becomes a candidate with probability 0.9998 at a similarity of 0.7, 0.23 at 0.3
LOOSE_BANDS = (64, 2)  # for thresholds under 0.6
TOOL_LINE = re.compile(r"^\s*(?:available\s+)?tools?\s*:", re.IGNORECASE)


def user_text(messages: Sequence[Message]) -> str:
    """The user's turns, without the tool lists that some applications write into them.

    With tool lists, requests for one set of tools would look like near-duplicates.
    """
    turns = "\n".join(message.text for message in messages if message.role == "user")
    kept = [line for line in turns.splitlines() if not TOOL_LINE.match(line)]
    return "\n".join(kept) if any(line.strip() for line in kept) else turns


def normalise(text: str) -> str:
    """NFKC, case-folded, single spaces."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def overlap(one: str, other: str) -> float:
    """Jaccard similarity of the shingles, 0 to 1; 0 for an empty text."""
    left, right = _shingles(normalise(one)), _shingles(normalise(other))
    return len(left & right) / len(left | right) if left and right else 0.0


class NearTexts:
    """An index of texts by key that finds near-duplicates of a new one."""

    def __init__(self, *, threshold: float) -> None:
        self._threshold = threshold
        from datasketch import MinHashLSH

        self._texts: dict[str, str] = {}
        self._index = MinHashLSH(num_perm=PERMUTATIONS, params=BANDS if threshold >= 0.6 else LOOSE_BANDS)

    def __len__(self) -> int:
        return len(self._texts)

    def add(self, key: str, text: str) -> None:
        """A key that is there already keeps its first text."""
        normal = normalise(text)
        if key in self._texts:
            return
        self._texts[key] = normal
        if normal:
            self._index.insert(key, _signature(normal))

    def near(self, text: str) -> tuple[str, ...]:
        """Keys of the texts whose similarity is at least the threshold, the most similar first."""
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
    """Made once: drawing its permutations takes longer than hashing a text."""
    from datasketch import MinHash

    return MinHash(num_perm=PERMUTATIONS, seed=1)
