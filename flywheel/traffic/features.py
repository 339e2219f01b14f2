"""The features of a request: one value for each column, computed once, when the row is recorded.

In: one inference and whether its answer has the required format. Out: a value for each column; no text is stored. A heuristic may be
incorrect for single rows; it must change when the traffic changes, and take microseconds. Whose error a failed attempt is was decided
before: see ``attempt_outcome``.
"""

import json
import re
from collections.abc import Mapping

from flywheel.traffic.attempt_outcome import AttemptOutcome
from flywheel.traffic.column import Column, Family, FeatureRow, Measure
from flywheel.traffic.exchange import ModelAnswer
from flywheel.traffic.inference import Inference
from flywheel.traffic.redaction import holds_pseudonym

_REFUSAL = re.compile(
    r"\s*(i(?: a|')m (?:very )?sorry|sorry|i apologi[sz]e|i can(?:no|')t|i can not|i(?: a|')m (?:not able|unable)|i won't|i will not"
    r"|as an ai|i do not feel comfortable|i must decline|unfortunately,? i can)",
    re.IGNORECASE,
)
_QUESTION = re.compile(r"\s*(who|what|when|where|why|which|how|is|are|was|were|do|does|did|can|could|would|should|will)\b", re.IGNORECASE)
# Of a line's own white space only: with line breaks in it, a run of them is searched once from each of its lines. Searched for from the
# line break on, which re finds many times as fast as "^".
_LIST = re.compile(r"\n[^\S\n]*(?:[-*•]|\d+[.)])[^\S\n]+\S")
_CODE = re.compile(r"\n[^\S\n]*(?:def |class |import |#include|function\b.*\{|SELECT\s)")


def _geometric(first: float, last: float, ratio: float) -> tuple[float, ...]:
    """Bin edges: whole numbers that grow by ``ratio``, each once."""
    edges: list[float] = []
    edge = first
    while edge <= last:
        rounded = float(round(edge))
        if not edges or rounded > edges[-1]:
            edges.append(rounded)
        edge *= ratio
    return tuple(edges)


_LENGTHS = _geometric(1, 200_000, 1.12)  # bins 12 % wide: a smaller shift of the median is not worth an alert
_SHARES = tuple(round(step / 50, 2) for step in range(1, 51))
_WORD_LENGTHS = tuple(round(1 + step / 4, 2) for step in range(1, 60))  # mean characters of a word; code is high
_YES_NO = ("no", "yes")
_ENDINGS = ("full_stop", "question_mark", "letter", "digit", "other")

COLUMNS: tuple[Column, ...] = (
    Column(name="prompt_chars", family=Family.INPUT, measure=Measure.NUMBER, edges=_LENGTHS),
    Column(name="prompt_words", family=Family.INPUT, measure=Measure.NUMBER, edges=_LENGTHS),
    Column(name="prompt_shape", family=Family.INPUT, measure=Measure.NAME, names=("question", "imperative", "code", "list", "other")),
    Column(name="prompt_ending", family=Family.INPUT, measure=Measure.NAME, names=_ENDINGS),
    Column(name="prompt_word_chars", family=Family.INPUT, measure=Measure.NUMBER, edges=_WORD_LENGTHS),
    Column(name="digits_share", family=Family.INPUT, measure=Measure.NUMBER, edges=_SHARES),
    Column(name="personal_data", family=Family.INPUT, measure=Measure.RATE, names=_YES_NO),
    Column(name="answer_chars", family=Family.OUTPUT, measure=Measure.NUMBER, edges=_LENGTHS),
    Column(name="answer_words", family=Family.OUTPUT, measure=Measure.NUMBER, edges=_LENGTHS),
    Column(name="finish_reason", family=Family.OUTPUT, measure=Measure.NAME, names=("stop", "length", "tool_calls", "error")),
    Column(name="refusal", family=Family.OUTPUT, measure=Measure.RATE, names=_YES_NO, worse="yes"),
    Column(name="valid_format", family=Family.OUTPUT, measure=Measure.RATE, names=_YES_NO, worse="no"),
    Column(name="answer_opening", family=Family.OUTPUT, measure=Measure.NAME, names=("json", "code_fence", "prose", "list", "empty")),
    Column(name="latency_ms", family=Family.QUALITY, measure=Measure.NUMBER, edges=_LENGTHS),
    Column(name="error", family=Family.QUALITY, measure=Measure.RATE, names=_YES_NO, worse="yes"),
    Column(name="client_error", family=Family.QUALITY, measure=Measure.RATE, names=_YES_NO, worse="yes"),
    Column(name="throttled", family=Family.QUALITY, measure=Measure.RATE, names=_YES_NO, worse="yes"),
    Column(name="client_aborted", family=Family.QUALITY, measure=Measure.RATE, names=_YES_NO, worse="yes"),
    Column(name="first_refusal", family=Family.OUTPUT, measure=Measure.RATE, names=_YES_NO, worse="yes", first_of="refusal"),
    Column(name="first_invalid", family=Family.OUTPUT, measure=Measure.RATE, names=_YES_NO, worse="yes", first_of="valid_format"),
    Column(name="first_error", family=Family.QUALITY, measure=Measure.RATE, names=_YES_NO, worse="yes", first_of="error"),
    Column(name="first_client_error", family=Family.QUALITY, measure=Measure.RATE, names=_YES_NO, worse="yes", first_of="client_error"),
    Column(name="first_throttled", family=Family.QUALITY, measure=Measure.RATE, names=_YES_NO, worse="yes", first_of="throttled"),
    Column(name="first_client_aborted", family=Family.QUALITY, measure=Measure.RATE, names=_YES_NO, worse="yes", first_of="client_aborted"),
)
"""All columns. Adding one is safe; changing bin edges makes older panes of that column unusable."""
OUTCOME_COLUMNS: Mapping[AttemptOutcome, str] = {
    AttemptOutcome.MODEL_ERROR: "error",
    AttemptOutcome.CLIENT_ERROR: "client_error",
    AttemptOutcome.THROTTLED: "throttled",
    AttemptOutcome.CLIENT_ABORTED: "client_aborted",
}
"""The rate that counts each outcome but ``ok``."""


def columns_of(inference: Inference, *, valid_format: bool | None) -> FeatureRow:
    """Values of one row. An attempt without a whole answer has no columns of the answer, and one whose outcome is not of the model has none
    of the model either: they are missing, not zero.

    The first failure of a session depends on earlier rows: ``first_failures`` adds it when the row is recorded.
    """
    asked, outcome = inference.exchange.prompt.user_turns, inference.attempt.outcome
    words = len(asked.split())
    return {
        "prompt_chars": float(len(asked)),
        "prompt_words": float(words),
        "prompt_shape": prompt_shape(asked),
        "prompt_ending": prompt_ending(asked),
        "prompt_word_chars": len(asked) / words if words else None,
        "digits_share": digits_in(asked) / len(asked) if asked else None,
        "personal_data": float(holds_pseudonym(asked)),
        **_answer_columns(inference.exchange.answer if outcome is AttemptOutcome.OK else None, valid_format=valid_format),
        **({"finish_reason": "error"} if outcome is AttemptOutcome.MODEL_ERROR else {}),
        "latency_ms": inference.attempt.latency_ms if outcome.is_of_the_model else None,
        **{name: float(outcome is counted) for counted, name in OUTCOME_COLUMNS.items()},
        **({} if outcome.is_of_the_model else {"error": None}),
    }


def _answer_columns(answer: ModelAnswer | None, *, valid_format: bool | None) -> FeatureRow:
    if answer is None:
        return dict.fromkeys(("answer_chars", "answer_words", "finish_reason", "refusal", "valid_format", "answer_opening"))
    text = answer.text
    return {
        "answer_chars": float(len(text)),
        "answer_words": float(len(text.split())),
        "finish_reason": answer.finish_reason,
        "refusal": float(bool(answer.message.refusal) or is_refusal(text)),
        "valid_format": None if valid_format is None else float(valid_format),
        "answer_opening": answer_opening(text),
    }


def is_refusal(answer: str) -> bool:
    """True when the answer begins like a refusal, in English."""
    return _REFUSAL.match(answer.replace("’", "'")) is not None


def digits_in(text: str) -> int:
    """How many characters are digits, as ``str.isdigit`` says. Taking them out of bytes is many times as fast as asking each."""
    return len(text) - len(text.encode().translate(None, b"0123456789")) if text.isascii() else sum(map(str.isdigit, text))


def prompt_shape(asked: str) -> str:
    """question, imperative, code, list or other."""
    lines = f"\n{asked}"
    if "```" in asked or _CODE.search(lines):
        return "code"
    if len(_LIST.findall(lines)) >= 2:
        return "list"
    if asked.rstrip().endswith("?") or _QUESTION.match(asked):
        return "question"
    return "imperative" if asked[:1].isalpha() else "other"


def prompt_ending(asked: str) -> str:
    """full_stop, question_mark, letter, digit or other: people often omit what forms and test sets always have."""
    last = asked.rstrip()[-1:]
    if last in (".", "?"):
        return "full_stop" if last == "." else "question_mark"
    return "letter" if last.isalpha() else "digit" if last.isdigit() else "other"


def answer_opening(answer: str) -> str:
    """json, code_fence, list, prose or empty."""
    text = answer.strip()
    if not text:
        return "empty"
    if text.startswith("```"):
        return "code_fence"
    if text[0] in "{[":
        try:
            json.loads(text)
        except (ValueError, RecursionError):
            return "prose"
        return "json"
    return "list" if _LIST.match(f"\n{text}") else "prose"
