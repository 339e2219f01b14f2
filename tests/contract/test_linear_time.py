"""Text from outside: what is done with it takes a time that grows with its length, whatever the text."""

import time
from collections.abc import Callable

import pytest

from flywheel.comparison import LENIENT, canonical
from flywheel.corrections.diagnosis import FIGURE
from flywheel.corrections.near_duplicates import judged
from flywheel.traffic.features import answer_opening, prompt_ending, prompt_shape
from flywheel.traffic.features import is_refusal as answer_is_refusal
from flywheel.traffic.media import without_media
from flywheel.traffic.message import message_from_wire
from flywheel.traffic.redaction import OVERLAP, PIECE, PersonalDataSpan, found_in_pieces, holds_pseudonym, pseudonymise, redacted_json
from services.gateway.error_responses import MARKUP
from services.integrations.presidio.redactor import PresidioRedactor
from tests.hostile_texts import OF_REDACTION, UNITS, hostile

DOUBLINGS = 2
GROWTH = 4.0**DOUBLINGS / 2  # linear: 4; quadratic: 16


def cpu_seconds(work: Callable[[str], object], text: str) -> float:
    """The least of two: what else the machine does only adds."""
    taken = []
    for _ in range(2):
        began = time.thread_time()
        work(text)
        taken.append(time.thread_time() - began)
    return min(taken)


def grows_by(work: Callable[[str], object], unit: str, length: int) -> float:
    short, long = (cpu_seconds(work, hostile(unit, length * factor)) for factor in (1, 2**DOUBLINGS))
    return long / max(short, 0.001)  # below a millisecond the clock says more than the work


CHEAP: dict[str, Callable[[str], object]] = {
    "shape of a prompt": prompt_shape,
    "end of a prompt": prompt_ending,
    "refusal": answer_is_refusal,
    "opening of an answer": answer_opening,
    "opening of a JSON answer": lambda text: answer_opening("[" + text),
    "pseudonyms": holds_pseudonym,
    "figures": FIGURE.findall,
    "media": lambda text: without_media(text, where="$"),
    "references to media": lambda text: redacted_json(text + ";sha256=", lambda piece: (piece, 0)),
    "comparison": lambda text: canonical(text, LENIENT),
    "near-duplicates": lambda text: judged([message_from_wire({"role": "user", "content": text}, where="$")]),
    "markup": lambda text: MARKUP.sub("", text),
}


@pytest.mark.parametrize("kind", UNITS)
@pytest.mark.parametrize("name", CHEAP)
def test_a_hostile_text_is_measured_in_linear_time(name: str, kind: str) -> None:
    assert grows_by(CHEAP[name], UNITS[kind], 20_000) < GROWTH


@pytest.fixture(scope="module")
def redactor() -> PresidioRedactor:
    return PresidioRedactor(key=b"k" * 32)


@pytest.mark.parametrize("kind", OF_REDACTION)
def test_a_hostile_text_is_redacted_in_linear_time(redactor: PresidioRedactor, kind: str) -> None:
    assert grows_by(redactor.redact, OF_REDACTION[kind], 1_500) < GROWTH


def test_many_findings_are_replaced_in_linear_time() -> None:
    def work(text: str) -> object:
        spans = [PersonalDataSpan(start=at, end=at + 5, kind="X") for at in range(0, len(text) - 8, 8)]
        return pseudonymise(text, spans, b"key")

    assert grows_by(work, "a@b.c   ", 40_000) < GROWTH


@pytest.mark.parametrize("unit", ["1-", "7", "word ", "a@a.", "x", "\n"])
@pytest.mark.parametrize("length", [0, 700, 1_000, 1_001, 5_000, 60_000])
def test_personal_data_is_found_anywhere_in_a_long_text(redactor: PresidioRedactor, unit: str, length: int) -> None:
    """Also where a text is cut, and behind a run on which a search of the whole text gives up."""
    secret = "late.jane.after@example.com"
    for gap in ("", " ") if unit in ("1-", "7", "x") else (" ",):
        text = (unit * length)[:length] + gap + secret + " " + (unit * length)[:length]
        redacted, _ = redactor.redact(text)
        assert secret not in redacted


@pytest.mark.parametrize(
    "text", ["7" * 5_000, "word7 " * 1_000, ("7" * 300 + " ") * 20, "7" + " " * 3_000, "\n".join("7" * n for n in range(90))]
)
def test_every_place_of_a_text_is_whole_in_one_of_its_pieces(text: str) -> None:
    seen: list[str] = []

    def find(piece: str) -> list[PersonalDataSpan]:
        seen.append(piece)
        return []

    found_in_pieces(text, find)
    assert all(len(piece) <= PIECE for piece in seen)
    places = {text[at : at + OVERLAP] for at in range(0, len(text) - OVERLAP, 37)}
    assert all(any(place in piece for piece in seen) for place in places if "7" in place)


def test_a_long_number_is_no_phone_number_where_the_text_is_cut(redactor: PresidioRedactor) -> None:
    text = '{"n":' + "12345678901234567890" * 300 + "}"
    assert redactor.redact(text) == (text, 0)
