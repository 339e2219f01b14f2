"""Presidio's patterns without Presidio's engine: the same findings."""

import os
import random
from typing import Any

import pytest
from faker import Faker

from services.integrations.presidio.pattern_search import IN_GROUPS, MINIMUM_SCORE, plain
from services.integrations.presidio.redactor import PresidioRedactor, _searches
from tests.personal_texts import random_text

TEXTS = 20_000 if os.environ.get("FLYWHEEL_SOAK") else 1_000
Found = set[tuple[str, int, int]]


@pytest.fixture(scope="module")
def searches() -> dict[str, Any]:
    return _searches()


@pytest.fixture(scope="module")
def engine(searches: dict[str, Any]) -> Any:
    from presidio_analyzer import AnalyzerEngine, RecognizerRegistry
    from presidio_analyzer.nlp_engine import NoOpNlpEngine

    no_model = NoOpNlpEngine(models=[{"lang_code": "en", "model_name": "none"}])
    no_model.load()
    registry = RecognizerRegistry(supported_languages=["en"])
    for search in searches.values():
        registry.add_recognizer(search._recogniser)
    return AnalyzerEngine(registry=registry, nlp_engine=no_model, supported_languages=["en"])


def without_contained(found: Found) -> Found:
    """Presidio leaves out what another finding of the kind contains."""
    return {
        one
        for one in found
        if not any(other != one and other[0] == one[0] and other[1] <= one[1] and one[2] <= other[2] for other in found)
    }


def test_the_same_is_found_as_by_presidios_engine(searches: dict[str, Any], engine: Any) -> None:
    seed = int(os.environ.get("FLYWHEEL_TEST_SEED", random.SystemRandom().randrange(10**6)))
    print(f"seed {seed}")
    rng, fake, compared = random.Random(seed), Faker(["en_US", "de_DE", "en_GB"]), 0
    fake.seed_instance(seed)
    for _ in range(TEXTS):
        text = random_text(rng, fake)
        results = engine.analyze(text, "en", [*searches.keys() - IN_GROUPS], score_threshold=MINIMUM_SCORE)
        results += engine.analyze(plain(text), "en", [*IN_GROUPS], score_threshold=MINIMUM_SCORE)
        expected = without_contained({(one.entity_type, one.start, one.end) for one in results})
        found = {(kind, start, end) for kind, search in searches.items() for start, end in search.places(text)}
        more = without_contained(found) - expected
        assert expected <= found, text
        assert all(kind == "CREDIT_CARD" or (kind == "EMAIL_ADDRESS" and text[start - 1] in "/?=&|#") for kind, start, _ in more), text
        compared += len(expected)
    assert compared > TEXTS / 3


@pytest.mark.parametrize("text", ["https://shop.example/find?contact=joe@example.com&page=2", "a=b|joe@example.com", "/joe@example.com"])
def test_an_address_in_a_url_is_found(searches: dict[str, Any], text: str) -> None:
    assert "joe@example.com" in {text[start:end][-15:] for start, end in searches["EMAIL_ADDRESS"].places(text)}


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("CREDIT_CARD", "4111\n1111\n1111\n1111"),
        ("CREDIT_CARD", "４１１１ １１１１ １１１１ １１１１"),
        ("IBAN_CODE", "DE89\n3704\n0044\n0532\n0130\n00"),
    ],
)
def test_numbers_in_groups_are_found_across_lines_and_in_full_width(searches: dict[str, Any], kind: str, text: str) -> None:
    assert set(searches[kind].places(f"it is {text} .")) == {(6, 6 + len(text))}


def test_every_recogniser_has_its_search() -> None:
    assert set(PresidioRedactor(key=b"k")._searches) == {"EMAIL_ADDRESS", "CREDIT_CARD", "IBAN_CODE", "IP_ADDRESS", "US_SSN", "CRYPTO"}
