"""The cheap test before the full search for personal data: it misses nothing that the full search finds."""

import os
import random
from itertools import chain

import pytest
from faker import Faker
from phonenumbers import COUNTRY_CODE_TO_REGION_CODE, PhoneMetadata

from services.integrations.presidio import candidates
from services.integrations.presidio.candidates import kinds_in
from services.integrations.presidio.phone_numbers import KINDS, PHONE, SHORTEST
from services.integrations.presidio.redactor import PresidioRedactor
from tests.personal_texts import random_text

TEXTS = 100_000 if os.environ.get("FLYWHEEL_SOAK") else 1_500


def all_kinds(text: str) -> list[str]:
    return ["EMAIL_ADDRESS", "CREDIT_CARD", "IBAN_CODE", "IP_ADDRESS", "US_SSN", "CRYPTO", PHONE]


def test_texts_are_redacted_as_by_the_full_search(monkeypatch: pytest.MonkeyPatch) -> None:
    seed = int(os.environ.get("FLYWHEEL_TEST_SEED", random.SystemRandom().randrange(10**6)))
    print(f"seed {seed}")
    rng, fake = random.Random(seed), Faker(["en_US", "de_DE", "en_GB"])
    fake.seed_instance(seed)
    quick = PresidioRedactor(key=b"k" * 32)
    monkeypatch.setattr(candidates, "kinds_in", all_kinds)
    monkeypatch.setattr(candidates, "may_hold_secret", lambda text: True)
    full, found = PresidioRedactor(key=b"k" * 32), 0
    for _ in range(TEXTS):
        text = random_text(rng, fake)
        expected = full.redact(text)
        assert quick.redact(text) == expected, text
        found += expected[1]
    assert found > TEXTS / 2


@pytest.mark.parametrize(
    "text", ["the parcel has not come", "order 45", "v1.2.3", "def f(x): return x[1:2]", "DE89 is an article", "std:vector"]
)
def test_most_texts_need_no_search(text: str) -> None:
    assert kinds_in(text) == []


def test_no_telephone_number_is_shorter_than_the_shortest() -> None:
    def lengths(code: int, region: str) -> list[int]:
        held = PhoneMetadata.metadata_for_region_or_calling_code(code, region)
        described = [one for one in (held.general_desc, *(getattr(held, kind) for kind in KINDS)) if one is not None]
        return [length for one in described for length in one.possible_length if length > 0]

    every = [lengths(code, region) for code, regions in COUNTRY_CODE_TO_REGION_CODE.items() for region in regions]
    assert min(chain.from_iterable(every)) >= SHORTEST
