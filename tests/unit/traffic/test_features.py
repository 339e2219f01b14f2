"""Column values of one request."""

from dataclasses import replace

import pytest

from flywheel.traffic.answer_format import fits
from flywheel.traffic.column import Measure
from flywheel.traffic.exchange import exchange_from_wire
from flywheel.traffic.features import COLUMNS, answer_opening, columns_of, digits_in, is_refusal, prompt_shape
from flywheel.traffic.message import Message
from flywheel.windows.counts import count_rows
from tests.traffic_events import inference

OWN = [column for column in COLUMNS if not column.first_of]
"""What a row knows by itself."""


def test_every_column_has_a_value_and_every_value_a_column() -> None:
    assert set(columns_of(inference(), valid_format=True)) == {column.name for column in OWN}


def test_grids_ascend_and_rates_are_no_and_yes() -> None:
    for column in COLUMNS:
        assert list(column.edges) == sorted(set(column.edges))
        assert column.measure is not Measure.RATE or column.names == ("no", "yes")


def test_a_failed_attempt_has_no_answer_columns() -> None:
    values = columns_of(inference(answer=None, status=503, finish_reason=None, error="busy"), valid_format=None)
    assert values["error"] == 1.0
    assert values["finish_reason"] == "error"
    assert values["answer_chars"] is values["refusal"] is values["valid_format"] is None


ANSWER_COLUMNS = ("answer_chars", "answer_words", "refusal", "valid_format", "answer_opening")
RATES = ("error", "client_error", "throttled", "client_aborted")


@pytest.mark.parametrize(
    ("status", "rates"),
    [
        (200, (0.0, 0.0, 0.0, 0.0)),
        (503, (1.0, 0.0, 0.0, 0.0)),
        (400, (None, 1.0, 0.0, 0.0)),
        (429, (None, 0.0, 1.0, 0.0)),
        (499, (None, 0.0, 0.0, 1.0)),
    ],
)
def test_only_the_models_errors_count_as_errors(status: int, rates: tuple[float | None, ...]) -> None:
    values = columns_of(inference(status=status), valid_format=None)
    assert tuple(values[name] for name in RATES) == rates
    assert (values["latency_ms"] is None) == (rates[0] is None)
    assert values["prompt_chars"] is not None


@pytest.mark.parametrize("status", [499, 502])
def test_half_of_an_answer_is_not_graded(status: int) -> None:
    values = columns_of(inference(status=status, answer="Sorry, b", finish_reason=None), valid_format=None)
    assert [values[name] for name in ANSWER_COLUMNS] == [None] * 5
    assert values["finish_reason"] == ("error" if status == 502 else None)


def test_a_refusal_in_its_own_field_is_a_refusal_in_any_language() -> None:
    refusal = {"message": {"role": "assistant", "content": None, "refusal": "Das kann ich nicht."}}
    exchange = exchange_from_wire({"messages": [{"role": "user", "content": "x"}]}, {"choices": [refusal]}, where="$")
    assert columns_of(replace(inference(), exchange=exchange), valid_format=None)["refusal"] == 1.0


def test_an_answer_of_reasoning_alone_is_an_empty_answer() -> None:
    thought = {"message": {"role": "assistant", "content": None, "reasoning": "Let me see."}, "finish_reason": "length"}
    exchange = exchange_from_wire({"messages": [{"role": "user", "content": "x"}]}, {"choices": [thought]}, where="$")
    values = columns_of(replace(inference(), exchange=exchange), valid_format=fits(exchange.answer, {"type": "object"}))
    assert [values[name] for name in ("answer_chars", "valid_format", "answer_opening")] == [0.0, 0.0, "empty"]
    assert values["finish_reason"] == "length"


def test_an_empty_prompt_breaks_nothing() -> None:
    values = columns_of(inference(messages=(Message(role="system", content="Be kind."),)), valid_format=None)
    assert values["digits_share"] is None
    counts = count_rows(values={name: [value] for name, value in values.items()}, slices=[("all",)], columns=OWN)
    assert all(counts.of(column.name).sum() == 1 for column in OWN)


def test_a_pseudonym_in_the_prompt_counts_as_personal_data() -> None:
    asked = Message(role="user", content="Write to <EMAIL_ADDRESS:3f2a9c01>, please.")
    assert columns_of(inference(messages=(asked,)), valid_format=None)["personal_data"] == 1.0
    assert columns_of(inference(), valid_format=None)["personal_data"] == 0.0


@pytest.mark.parametrize(
    "answer", ["I'm sorry, but no.", "I’m sorry", "I cannot help with that.", "As an AI language model", "  Sorry, no"]
)
def test_refusals_are_seen(answer: str) -> None:
    assert is_refusal(answer)


@pytest.mark.parametrize("answer", ["", "I can help.", "The sorry state of it", '{"tool": "refuse"}'])
def test_answers_are_no_refusals(answer: str) -> None:
    assert not is_refusal(answer)


@pytest.mark.parametrize(
    ("answer", "opening"),
    [
        ("", "empty"),
        ('{"a": 1}', "json"),
        ('{"a": 1} and more', "prose"),
        ("```json\n{}", "code_fence"),
        ("- one", "list"),
        ("Hi", "prose"),
    ],
)
def test_an_answer_opens_in_one_of_five_ways(answer: str, opening: str) -> None:
    assert answer_opening(answer) == opening


@pytest.mark.parametrize(
    ("asked", "shape"),
    [
        ("Where is it?", "question"),
        ("what is it", "question"),
        ("Book a table", "imperative"),
        ("- a\n- b", "list"),
        ("def f(): pass", "code"),
        ("", "other"),
    ],
)
def test_a_prompt_has_a_shape(asked: str, shape: str) -> None:
    assert prompt_shape(asked) == shape


@pytest.mark.parametrize("text", ["", "no digit", "1234567890", "a1b2c3" * 50, "½ ² ٣ 7", "１２ 3"])
def test_digits_are_counted_as_python_counts_them(text: str) -> None:
    assert digits_in(text) == sum(map(str.isdigit, text))
