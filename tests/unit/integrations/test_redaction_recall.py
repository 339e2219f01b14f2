"""What is found of planted personal data and secrets. The benchmark `redaction` measures it on 10,000 texts."""

import pytest

from services.integrations.presidio.redactor import PresidioRedactor
from tests.benchmarks.redaction_recall import Measured, measured
from tests.benchmarks.redaction_texts import Texts

OF_A_KIND = 30
AT_LEAST = {
    **dict.fromkeys(("EMAIL_ADDRESS", "API_KEY", "PRIVATE_KEY", "IP_ADDRESS", "US_SSN", "IBAN_CODE"), 0.95),
    **dict.fromkeys(("PERSON", "CRYPTO", "PASSWORD"), 0.9),
    "PHONE_NUMBER": 0.5,  # many of Faker's numbers do not exist
    "CREDIT_CARD": 0.4,  # as Presidio's pattern: none of the series that begin with 2, and not every length
}


@pytest.fixture(scope="module")
def result() -> Measured:
    texts = Texts(7)
    made = [texts.planted(kind) for kind in texts.kinds for _ in range(OF_A_KIND)]
    return measured(made, PresidioRedactor(key=b"k" * 32).redact)


@pytest.mark.parametrize("kind", AT_LEAST)
def test_planted_values_are_replaced(result: Measured, kind: str) -> None:
    assert result.planted[kind] == OF_A_KIND
    assert result.recall(kind) >= AT_LEAST[kind], [one.text for one in result.missed if one.kind == kind]


def test_hardly_anything_else_is_replaced(result: Measured) -> None:
    assert sum(result.right.values()) >= 0.9 * sum(result.replaced.values()), result.wrong
