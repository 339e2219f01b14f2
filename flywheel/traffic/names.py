"""Names of people that are known: an exchange's own fields, a correction and the settings give them.

In: a request, or names as people write them; a text. Out: the names; their places in the text. A name is found whole, in parts
(``Schmidt`` of ``Anna Schmidt``) and in capitals; in small letters only where at least two of its words stand together. Names that nobody
gave are not found here.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from flywheel.traffic.exchange import Prompt
from flywheel.traffic.message import Json
from flywheel.traffic.secrets import Place

PERSON = "PERSON"
LONGEST, MOST = 100, 100  # characters of a name; names of one exchange
_NAME_KEYS = re.compile(
    r"(?:user|customer|client|first|last|full|given|family|sur|display|contact|author|agent|patient|employee)?[_ -]?name", re.IGNORECASE
)
_WORD = re.compile(r"[^\W\d_]+")
_ROLES = frozenset(
    _WORD.findall(
        "admin administrator agent ai anonymous assistant bot client customer developer default example function guest human model "
        "moderator nobody none null operator patient employee system support test tool unknown user visitor"
    )
)
"""What programs write where a name could stand."""
_PARTICLES = frozenset(
    _WORD.findall("al bin da de del della den der di dos dr du el frau herr ibn la le miss mme mr mrs ms prof the van von zu zur")
)
_JOINED = re.compile(r"(?:\s{1,3}|[-'’.]\s?)")
"""What stands between two words of one name."""


@dataclass(frozen=True, kw_only=True)
class KnownNames:
    """``words``: of all names, in small letters; to each how it is written where it may stand alone. ``unspaced``: names in scripts without
    capitals, which may stand anywhere in a run of letters."""

    words: Mapping[str, frozenset[str]]
    unspaced: tuple[str, ...] = ()


def known_names(names: Iterable[str]) -> KnownNames | None:
    """None where no name can be looked for."""
    words: dict[str, frozenset[str]] = {}
    unspaced: dict[str, None] = {}
    for name in names:
        for word in _WORD.findall(name):
            if word.lower() == word.upper():
                unspaced |= {word: None} if len(word) > 1 else {}
                continue
            alone = {word, word.upper()} if len(word) > 2 and word.lower() not in _PARTICLES and not word.islower() else set()
            words[word.casefold()] = words.get(word.casefold(), frozenset()) | alone
    return KnownNames(words=words, unspaced=tuple(unspaced)) if unspaced or any(words.values()) else None


def names_of(prompt: Prompt) -> tuple[str, ...]:
    """The names that a request's fields give: ``user``, the ``name`` of messages that people write, and ``metadata``."""
    metadata = prompt.settings.get("metadata")
    found: list[Json] = [prompt.settings.get("user")]
    found += [message.name for message in prompt.messages if message.name and message.role not in ("tool", "function")]
    if isinstance(metadata, Mapping):
        found += [value for key, value in metadata.items() if len(key) <= LONGEST and _NAME_KEYS.fullmatch(key)]
    return people(found)


def people(candidates: Iterable[object]) -> tuple[str, ...]:
    """Those that may be names of people: with a capital letter or in a script that has none, and no role such as ``Customer``."""
    held: dict[str, None] = {}
    for one in candidates:
        if isinstance(one, str) and 1 < len(one) <= LONGEST and not one.islower() and not any(c.isdigit() or c in "@_/:<" for c in one):
            words = [word for word in _WORD.findall(one) if word.lower() not in _ROLES]
            if words and len(held) < MOST:
                held[" ".join(words)] = None
    return tuple(held)


def name_places(text: str, known: KnownNames) -> list[Place]:
    """The places of the names; words that follow each other are one place."""
    found: list[Place] = []
    run: list[tuple[int, int, bool, bool]] = []  # start, end, is more than a particle, may stand alone as it is written

    def end_run() -> None:
        told = [at for at, (*_, is_name, _alone) in enumerate(run) if is_name]
        if len(told) > 1 or any(alone for *_, alone in run):
            found.append((run[told[0]][0], run[told[-1]][1], PERSON))
        run.clear()

    for match in _WORD.finditer(text) if known.words else ():
        written = known.words.get(match[0].casefold())
        if run and (written is None or not _JOINED.fullmatch(text, run[-1][1], match.start())):
            end_run()
        if written is not None:
            run.append((match.start(), match.end(), bool(written), match[0] in written))
    if run:
        end_run()
    for name in known.unspaced:
        at = text.find(name)
        while at >= 0:
            found.append((at, at + len(name), PERSON))
            at = text.find(name, at + len(name))
    return found
