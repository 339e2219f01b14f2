"""Presidio's recognisers, without spaCy models, torch or network."""

import json
import sys

import pytest

from services.integrations.presidio.redactor import PresidioRedactor


@pytest.fixture(scope="module")
def redactor() -> PresidioRedactor:
    return PresidioRedactor(key=b"a key")


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("write to anna.smith@example.com please", "EMAIL_ADDRESS"),
        ("call +1 415 555 0134", "PHONE_NUMBER"),
        ("card 4111 1111 1111 1111", "CREDIT_CARD"),
        ("iban DE89370400440532013000", "IBAN_CODE"),
        ("from 10.1.2.3", "IP_ADDRESS"),
        ("my ssn is 536-90-4399", "US_SSN"),
    ],
)
def test_personal_data_becomes_a_pseudonym(redactor: PresidioRedactor, text: str, kind: str) -> None:
    redacted, found = redactor.redact(text)
    assert found == 1
    assert f"<{kind}:" in redacted
    assert redactor.redact(redacted) == (redacted, 0)


@pytest.mark.parametrize(
    "text",
    ["", "hello", "on 2024-05-01 at 10:30", "3.14159 and 12345", "see https://example.org/a?b=1", '{"n": 2025550123, "k": [4155550134]}'],
)
def test_ordinary_text_stays_as_it_is(redactor: PresidioRedactor, text: str) -> None:
    assert redactor.redact(text) == (text, 0)


def test_json_with_personal_data_is_still_json(redactor: PresidioRedactor) -> None:
    redacted, found = redactor.redact('{"tool": "call", "arguments": {"number": "4155550134", "times": 3, "mail": "a@example.com"}}')
    assert found == 2
    assert json.loads(redacted)["arguments"]["times"] == 3


def test_another_key_gives_other_pseudonyms(redactor: PresidioRedactor) -> None:
    text = "anna.smith@example.com"
    assert redactor.redact(text) == PresidioRedactor(key=b"a key").redact(text)
    assert redactor.redact(text) != PresidioRedactor(key=b"other").redact(text)


def test_a_short_text_is_searched_once(redactor: PresidioRedactor, monkeypatch: pytest.MonkeyPatch) -> None:
    searched: list[str] = []
    find = redactor._found
    monkeypatch.setattr(redactor, "_found", lambda piece: searched.append(piece) or find(piece))
    for text in ("tenant +1 415 555 0177", "tenant +1 415 555 0177", 201 * "1 ", 201 * "1 "):
        assert redactor.redact(text) == redactor.redact(text)
    assert searched.count("tenant +1 415 555 0177") == 1
    assert len(searched) > 4, "long texts are not remembered"


def test_modules_hidden_during_the_import_can_be_imported_afterwards(redactor: PresidioRedactor) -> None:
    assert all(sys.modules.get(name, redactor) is not None for name in ("torch", "transformers", "stanza"))
