"""Telephone numbers: the same as Presidio finds, in less time."""

import os
import random
import time
from collections.abc import Callable

import phonenumbers
import pytest
from presidio_analyzer.predefined_recognizers import PhoneRecognizer

from services.integrations.presidio.phone_numbers import REGIONS, phone_numbers

TEXTS = 4_000 if os.environ.get("FLYWHEEL_SOAK") else 200
PRESIDIO = PhoneRecognizer(supported_language="en")


def of_presidio(text: str) -> set[tuple[int, int]]:
    """Without its removal of doubles, which counts a number within another one as the same."""
    matchers = (phonenumbers.PhoneNumberMatcher(text, region, leniency=PRESIDIO.leniency) for region in PRESIDIO.supported_regions)
    return {(match.start, match.end) for matcher in matchers for match in matcher}


def example_numbers() -> list[str]:
    """Of every country and kind, in every format."""
    numbers = (phonenumbers.example_number_for_type(region, kind) for region in phonenumbers.SUPPORTED_REGIONS for kind in range(11))
    return [phonenumbers.format_number(number, form) for number in numbers if number is not None for form in range(4)]


def random_text(rng: random.Random, numbers: list[str]) -> str:
    def part() -> str:
        kind = rng.random()
        if kind < 0.35:
            return rng.choice(numbers)
        if kind < 0.6:
            return "".join(rng.choice("0123456789" * 3 + " -./()+[]x~#,;：０９٣") for _ in range(rng.randint(2, 40)))
        if kind < 0.7:
            return rng.choice(["00", "011", "0014", "90", "180020", "+", "++", "+0"]) + rng.choice(numbers).lstrip("+")
        if kind < 0.8:
            return rng.choice(["call", "ext. 12", "é", "$", "%", "12:30", "1/2/2020", "pp. "])
        return str(rng.randint(0, 10 ** rng.randint(1, 16)))

    return rng.choice([" ", "", ", ", "/", " - "]).join(part() for _ in range(rng.randint(1, 12)))


def test_presidio_asks_the_same_regions() -> None:
    assert tuple(PRESIDIO.supported_regions) == REGIONS


def test_the_same_numbers_are_found_as_by_presidio() -> None:
    seed = int(os.environ.get("FLYWHEEL_TEST_SEED", random.SystemRandom().randrange(10**6)))
    print(f"seed {seed}")
    rng, numbers, found = random.Random(seed), example_numbers(), 0
    for _ in range(TEXTS):
        text = random_text(rng, numbers)
        expected = of_presidio(text)
        assert set(phone_numbers(text)) == expected, text
        found += len(expected)
    assert found > TEXTS


@pytest.mark.parametrize("unit", ["1/2/", "1. ", "+1 ", "12 ", "(1", "1:"])
def test_a_hostile_text_takes_a_fraction_of_presidios_time(unit: str) -> None:
    def seconds(work: Callable[[str], object]) -> float:
        began = time.thread_time()
        work((unit * 500)[:1_000])
        return time.thread_time() - began

    of_presidio(unit)
    phone_numbers(unit)  # tables are made at the first text
    assert min(seconds(phone_numbers) for _ in range(3)) < seconds(of_presidio) / 3
