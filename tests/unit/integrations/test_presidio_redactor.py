"""Presidio's recognisers, without spaCy models, torch or network."""

import json
import re
import sys

import pytest
import regex
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from flywheel.errors import CannotRun
from flywheel.traffic.redaction import CUT_MARK
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


LONG = "write to anna@example.com 1 " + "word 7 " * 300 + "card 4111 1111 1111 1111 poison " + "word 7 " * 300 + "or to bob@example.com 1"


def not_searched(reason: str) -> float:
    return REGISTRY.get_sample_value("flywheel_redaction_not_searched_total", {"reason": reason}) or 0.0


def cut_once(redactor: PresidioRedactor, reason: str) -> None:
    """The piece with "poison" is cut and counted, what stands around it is kept, and no word of it is in the log."""
    before = not_searched(reason)
    with capture_logs() as logs:
        clean, found = redactor.redact(LONG)
    assert (clean.count(CUT_MARK), clean.count("<EMAIL_ADDRESS:"), found) == (1, 2, 3)
    assert clean.startswith("write to <EMAIL_ADDRESS:")
    assert clean.count("word 7 ") > 250
    assert not {"4111", "poison", "anna", "bob"} & set(re.findall(r"\w+", clean))
    assert 1 <= not_searched(reason) - before <= 2, "two pieces overlap"
    assert {line["action"] for line in logs} == {"text_not_searched"}
    assert "poison" not in str(logs)
    assert "4111" not in str(logs)


class Poisoned:
    """Stands for a recogniser, and fails on a piece with "poison"."""

    def places(self, piece: str) -> list[tuple[int, int]]:
        if "poison" in piece:
            raise ValueError(piece)
        return []


def test_a_piece_in_which_a_recogniser_fails_is_cut_and_counted(redactor: PresidioRedactor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(redactor._searches, "CREDIT_CARD", Poisoned())
    cut_once(redactor, "failed")


def test_a_piece_on_which_a_pattern_gives_up_is_cut_and_counted(redactor: PresidioRedactor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Presidio logs the time-out and goes on as if nothing had been found."""
    slow = regex.compile(r"(?:\w|\w\w|[a-z ]|[a-z ]{2})*poison[0-9]")
    monkeypatch.setattr("services.integrations.presidio.pattern_search.PATTERN_SECONDS", 0.01)
    monkeypatch.setattr(redactor._searches["CREDIT_CARD"], "_patterns", [(slow, 0.5, "")])
    cut_once(redactor, "gave_up")


@pytest.mark.parametrize("error", [OSError("too many open files"), MemoryError(), CannotRun("no model", remedy="x")])
def test_what_the_machine_lacks_for_a_moment_cuts_nothing(
    redactor: PresidioRedactor, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def lacks(_piece: str) -> object:
        raise error

    monkeypatch.setattr(redactor._searches["EMAIL_ADDRESS"], "places", lacks)
    with pytest.raises(type(error)):
        redactor.redact("write to carl@example.com")


def test_no_line_of_the_log_quotes_a_text(redactor: PresidioRedactor, caplog: pytest.LogCaptureFixture) -> None:
    """Presidio's recogniser of account numbers logs a number that it cannot convert."""
    with caplog.at_level("DEBUG"):
        redactor.redact("iban DE8937040044053201300０ or GB29 NWBK 6016 1331 9268 1９ and DEÄ9 3704 0044 0532 0130 00")
    assert "3704" not in caplog.text
    assert "6016" not in caplog.text


def test_known_names_are_replaced_and_off_leaves_them() -> None:
    text = "Anna Schmidt called, Anna wants a refund"
    clean, found = PresidioRedactor(key=b"k").redact(text, ("Anna Schmidt",))
    assert (found, "Anna" in clean, clean.count("<PERSON:")) == (2, False, 2)
    assert PresidioRedactor(key=b"k").redact(text) == (text, 0)
    assert PresidioRedactor(key=b"k", names="off", known_names=("Anna",)).redact(text, ("Anna Schmidt",)) == (text, 0)
    assert PresidioRedactor(key=b"k", known_names=("Anna Schmidt",)).redact(text) == (clean, found)


class Place:
    def __init__(self, start: int, end: int) -> None:
        self.start, self.end = start, end


class SmallEngine:
    """Stands for a Presidio AnalyzerEngine: one name, and a failure on "poison"."""

    def analyze(self, *, text: str, language: str, entities: list[str], score_threshold: float) -> list[Place]:
        assert (language, entities) == ("en", ["PERSON"])
        if "poison" in text:
            raise RuntimeError(text)
        return [Place(match.start(), match.end()) for match in re.finditer("Ada Lovelace", text)]


def presidio_engine() -> object:
    """A real AnalyzerEngine without a language model."""
    from presidio_analyzer import AnalyzerEngine, PatternRecognizer, RecognizerRegistry
    from presidio_analyzer.nlp_engine import NoOpNlpEngine

    engine = NoOpNlpEngine(models=[{"lang_code": "en", "model_name": "none"}])
    engine.load()
    registry = RecognizerRegistry(supported_languages=["en"])
    registry.add_recognizer(PatternRecognizer(supported_entity="PERSON", deny_list=["Ada Lovelace"]))
    return AnalyzerEngine(registry=registry, nlp_engine=engine, supported_languages=["en"])


@pytest.mark.parametrize("engine", ["SmallEngine", "presidio_engine"])
def test_an_engine_finds_names_that_nobody_gave(engine: str) -> None:
    redactor = PresidioRedactor(key=b"k", names="model", engine=f"{__name__}:{engine}")
    long = "word " * 400 + "Ada Lovelace" + " word" * 400
    for text in ("ask Ada Lovelace", long, "ask Ada Lovelace and Anna"):
        clean, found = redactor.redact(text, ("Anna",))
        assert ("Ada" in clean, "Anna" in clean, found) == (False, False, 2 if "Anna" in text else 1)
    assert redactor.redact("ask nobody") == ("ask nobody", 0)


def test_a_piece_in_which_the_engine_fails_is_cut() -> None:
    redactor = PresidioRedactor(key=b"k", names="model", engine=f"{__name__}:SmallEngine")
    assert redactor.redact("poison of Ada Lovelace") == (CUT_MARK, 1)


@pytest.mark.parametrize("engine", [None, "", "no_such_module:make", f"{__name__}:no_such", f"{__name__}:not_searched", "json:loads"])
def test_without_its_engine_nothing_is_redacted_by_a_model(engine: str | None) -> None:
    with pytest.raises(CannotRun, match="engine"):
        PresidioRedactor(key=b"k", names="model", engine=engine)
