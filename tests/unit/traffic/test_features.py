"""Column values of one request."""

import pytest

from flywheel.traffic.column import Measure
from flywheel.traffic.features import COLUMNS, answer_opening, columns_of, is_refusal, prompt_shape
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
