"""Which prompts are near-duplicates?

In: prompts, one by one. Out: the keys of those that are alike: their Jaccard similarity over 5-character shingles is at least a threshold.
MinHash only finds candidates; the exact similarity decides. Embeddings are not used here.

A prompt is judged by the user's turns. One whose last user turn says little by itself ("Yes please", "2") is judged by the turns of all
roles, and where both prompts have a system text, that must be alike too.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from flywheel.comparison import LENIENT, canonical
from flywheel.ids import digest_of
from flywheel.traffic.message import Message

if TYPE_CHECKING:  # imported at first use: it imports scipy, which takes seconds
    from datasketch import MinHash

SHINGLE = 5
PERMUTATIONS = 128
BANDS = (32, 4)  # a pair becomes a candidate with probability 0.9998 at a similarity of 0.7, 0.23 at 0.3
LOOSE_BANDS = (64, 2)  # for thresholds under 0.6
KEPT_CHARACTERS = 30_000  # the shingles of a longer text are made anew each time
TELLING_WORDS = 4  # a turn with fewer says little by itself
TOOL_LINE = re.compile(r"^\s*(?:available\s+)?tools?\s*:", re.IGNORECASE)
SYSTEM_ROLES = frozenset({"system", "developer"})
_WORD = re.compile(r"[\u3040-\u9fff]{2}|[^\W\u3040-\u9fff]+")  # two characters of Chinese or Japanese count as a word
_REPLY = re.compile(
    "yes|yeah|yep|no|nope|ok|okay|sure|please|thanks?|you|right|correct|good|great|fine|perfect|go|ahead|on|do|it|that|this|one|the|and|then"
    "|just|now|continue|next|more|again"
)
"""Words that answer what stands before them. In other languages a reply is known by its length alone."""


@dataclass(frozen=True, kw_only=True)
class JudgedText:
    """What of a prompt is compared: normalised, empty where there is nothing. ``system`` is empty unless the last user turn says little."""

    turns: str
    system: str = ""

    @property
    def cluster(self) -> str:
        """The entity of a prompt that declares none and has no near-duplicate yet; equal for prompts of which the same is compared."""
        return f"cluster-{digest_of(f'{self.turns}{chr(10)}{chr(10)}{self.system}' if self.system else self.turns)[:16]}"


def judged(messages: Sequence[Message]) -> JudgedText:
    """By the rule at the top of this file."""
    last = next((message.text for message in reversed(messages) if message.role == "user"), "")
    telling = [word for word in _WORD.findall(last.casefold()) if not _REPLY.fullmatch(word)]
    if len(telling) >= TELLING_WORDS:
        return JudgedText(turns=canonical(user_text(messages), LENIENT))
    system = "\n".join(message.text for message in messages if message.role in SYSTEM_ROLES)
    turns = _without_tool_lists("\n".join(_said(message) for message in messages if message.role not in SYSTEM_ROLES))
    return JudgedText(turns=canonical(turns, LENIENT), system=canonical(system, LENIENT))


def user_text(messages: Sequence[Message]) -> str:
    """The user's turns, without the tool lists that some applications write into them."""
    return _without_tool_lists("\n".join(message.text for message in messages if message.role == "user"))


def overlap(one: str, other: str) -> float:
    """Jaccard similarity of the shingles of two normalised texts, 0 to 1; 0 for an empty text."""
    left, right = _shingles(one), _shingles(other)
    return len(left & right) / len(left | right) if left and right else 0.0


class NearPrompts:
    """An index of prompts by key that finds near-duplicates of a new one."""

    def __init__(self, *, threshold: float) -> None:
        self._threshold = threshold
        from datasketch import MinHashLSH

        self._prompts: dict[str, JudgedText] = {}
        self._index = MinHashLSH(num_perm=PERMUTATIONS, params=BANDS if threshold >= 0.6 else LOOSE_BANDS)

    def __len__(self) -> int:
        return len(self._prompts)

    def add(self, key: str, messages: Sequence[Message]) -> None:
        """A key that is there already keeps its first prompt."""
        if key in self._prompts:
            return
        self._prompts[key] = prompt = judged(messages)
        if prompt.turns:
            self._index.insert(key, _signature(prompt.turns))

    def near(self, messages: Sequence[Message]) -> tuple[str, ...]:
        """Keys of the prompts whose similarity is at least the threshold, the most similar first."""
        prompt = judged(messages)
        if not prompt.turns:
            return ()
        found = [(self._similarity(prompt, self._prompts[key]), key) for key in self._index.query(_signature(prompt.turns))]
        return tuple(key for share, key in sorted(found, key=lambda pair: (-pair[0], pair[1])) if share >= self._threshold)

    def _similarity(self, one: JudgedText, other: JudgedText) -> float:
        share = overlap(one.turns, other.turns)
        if share < self._threshold or not one.system or not other.system or one.system == other.system:
            return share
        return min(share, overlap(one.system, other.system))


def _said(message: Message) -> str:
    """Text and calls of a turn."""
    return "\n".join([message.text, *(f"{call.name} {call.arguments}" for call in message.tool_calls)])


def _without_tool_lists(text: str) -> str:
    """With tool lists, requests for one set of tools would look like near-duplicates."""
    kept = [line for line in text.splitlines() if not TOOL_LINE.match(line)]
    return "\n".join(kept) if any(line.strip() for line in kept) else text


def _shingles(normal: str) -> frozenset[str]:
    """Kept for the texts compared last: about 35 bytes a character, so at most some 270 MB."""
    return _kept_shingles(normal) if len(normal) <= KEPT_CHARACTERS else _shingles_of(normal)


@lru_cache(maxsize=256)
def _kept_shingles(normal: str) -> frozenset[str]:
    return _shingles_of(normal)


def _shingles_of(normal: str) -> frozenset[str]:
    if not normal:
        return frozenset()
    return frozenset(normal[start : start + SHINGLE] for start in range(max(1, len(normal) - SHINGLE + 1)))


def _signature(normal: str) -> "MinHash":
    signature = _blank().copy()
    signature.update_batch([shingle.encode(errors="surrogatepass") for shingle in sorted(_shingles(normal))])
    return signature


@lru_cache(maxsize=1)
def _blank() -> "MinHash":
    """Made once: drawing its permutations takes longer than hashing a text."""
    from datasketch import MinHash

    return MinHash(num_perm=PERMUTATIONS, seed=1)
