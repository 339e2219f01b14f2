"""Replaces pseudonyms by random surrogates of the same form, so that training texts look like production texts.

In: the texts of one example and a seed. Out: the texts; one pseudonym has one surrogate in the whole example, two pseudonyms have two.
The real values are not known here and cannot be recovered.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from flywheel.ids import unit_interval
from flywheel.traffic.exchange import Prompt, prompt_from_wire
from flywheel.traffic.message import Json

if TYPE_CHECKING:  # imported at first use: few processes make a training set
    from faker import Faker

PSEUDONYM = re.compile(r"<([A-Z][A-Z0-9_]*):[0-9a-f]{8}>")
MAKERS: Mapping[str, Callable[["Faker"], str]] = {
    "EMAIL_ADDRESS": lambda fake: str(fake.email()),
    "PHONE_NUMBER": lambda fake: str(fake.numerify("+1-202-555-01##")),  # reserved for fiction
    "PERSON": lambda fake: str(fake.name()),
    "LOCATION": lambda fake: str(fake.city()),
    "CREDIT_CARD": lambda fake: str(fake.credit_card_number()),
    "IBAN_CODE": lambda fake: str(fake.iban()),
    "IP_ADDRESS": lambda fake: str(fake.ipv4_private()),
    "MAC_ADDRESS": lambda fake: str(fake.mac_address()),
    "URL": lambda fake: str(fake.url()),
    "DOMAIN_NAME": lambda fake: str(fake.domain_name()),
    "DATE_TIME": lambda fake: str(fake.date()),
    "US_SSN": lambda fake: str(fake.ssn()),
    "CRYPTO": lambda fake: str(fake.sha1()),
}
DISTINCT_TRIES = 50


def with_surrogates(texts: Sequence[str], *, seed: str) -> tuple[str, ...]:
    """The texts of one example in order; the same seed gives the same surrogates."""
    found = list(dict.fromkeys(match.group(0) for text in texts for match in PSEUDONYM.finditer(text)))
    if not found:
        return tuple(texts)
    fake = _faker()
    fake.seed_instance(int(unit_interval("surrogates", seed) * 2**53))
    replacement: dict[str, str] = {}
    for pseudonym in found:
        replacement[pseudonym] = _other_than(frozenset(replacement.values()), pseudonym[1:].partition(":")[0], fake)
    return tuple(PSEUDONYM.sub(lambda match: replacement[match.group(0)], text) for text in texts)


def prompt_with_surrogates(prompt: Prompt, texts: Sequence[str], *, seed: str) -> tuple[Prompt, tuple[str, ...]]:
    """A prompt with the surrogates in all of its texts, arguments of calls and tools included, and in the texts that belong to it."""
    found: list[str] = []

    def collect(text: str) -> str:
        found.append(text)
        return text

    _map_texts(prompt.to_wire(), collect)
    replaced = with_surrogates([*found, *texts], seed=seed)
    given = iter(replaced)
    wire = _map_texts(prompt.to_wire(), lambda _: next(given))
    return prompt_from_wire(wire, where="prompt"), replaced[len(found) :]


def _map_texts(value: Json, change: Callable[[str], str]) -> Json:
    """The JSON value with every text but the keys changed, in the order in which it is written."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [_map_texts(one, change) for one in value]
    return {key: _map_texts(one, change) for key, one in value.items()} if isinstance(value, dict) else value


def _other_than(taken: frozenset[str], kind: str, fake: "Faker") -> str:
    make = MAKERS.get(kind, lambda faker: str(faker.bothify("????-####")))
    for _ in range(DISTINCT_TRIES):
        surrogate = make(fake)
        if surrogate not in taken:
            return surrogate
    return f"{make(fake)}-{len(taken)}"


@lru_cache(maxsize=1)
def _faker() -> "Faker":
    """Made once, since loading its word lists is slow; each use seeds it again."""
    from faker import Faker

    return Faker("en_US")
