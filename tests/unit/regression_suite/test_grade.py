import json

import pytest

from flywheel.errors import InvalidInput
from flywheel.regression_suite.case import Grader
from flywheel.regression_suite.grade import check_grader, grade, grader_of
from tests.learning import case

WEATHER = Grader(
    kind="tool_call",
    expected={
        "tool": "get_weather",
        "arguments": {
            "city": ["Boston", "Boston, MA"],
            "unit": ["celsius", ""],
            "days": [3],
            "tags": [["a", "b"]],
            "near": [{"lat": [1, 2], "m": [""]}, ""],
        },
    },
)


def graded(grader: Grader, answer: str | None) -> tuple[bool, bool | None]:
    result = grade(case=case("x", "prompt", grader=grader), answer=answer)
    assert result.reason
    return result.correct, result.valid_format


@pytest.mark.parametrize(
    ("arguments", "right"),
    [
        ({"city": "Boston", "days": 3, "tags": ["a", "b"]}, True),
        ({"city": "boston,  ma", "unit": "Celsius", "days": 3.0, "tags": ["A", "b"]}, True),
        ({"city": "Boston", "days": 3, "tags": ["a", "b"], "near": {"lat": 2}}, True),
        ({"city": "Boston", "days": 3, "tags": ["a", "b"], "near": {"lat": 3}}, False),
        ({"city": "Boston", "days": "3", "tags": ["a", "b"]}, False),
        ({"city": "Boston", "days": True, "tags": ["a", "b"]}, False),
        ({"city": "Boston", "days": 3, "tags": ["b", "a"]}, False),
        ({"city": "Paris", "days": 3, "tags": ["a", "b"]}, False),
        ({"days": 3, "tags": ["a", "b"]}, False),
        ({"city": "Boston", "days": 3, "tags": ["a", "b"], "extra": 1}, False),
        ({"city": "Boston", "unit": None, "days": 3, "tags": ["a", "b"]}, False),
    ],
)
def test_a_tool_call_is_correct_when_every_argument_is_allowed(arguments: dict[str, object], right: bool) -> None:
    assert graded(WEATHER, json.dumps({"tool": "get_weather", "arguments": arguments})) == (right, True)


@pytest.mark.parametrize(
    "answer", [None, "", "  ", "get_weather(Boston)", "[1]", '{"tool": "get_weather"}', '{"tool": 1, "arguments": {}}', "```json\n{}\n```"]
)
def test_an_answer_that_is_no_tool_call_is_wrong_and_has_no_valid_format(answer: str | None) -> None:
    assert graded(WEATHER, answer) == (False, False)


def test_deep_nesting_is_wrong_and_breaks_nothing() -> None:
    assert graded(WEATHER, "[" * 100_000) == (False, False)


def test_another_tool_is_wrong_in_valid_format() -> None:
    assert graded(WEATHER, '{"tool": "get_time", "arguments": {}}') == (False, True)


def test_contains_wants_one_of_the_texts_and_none_of_the_banned() -> None:
    grader = Grader(kind="contains", expected={"any": ["Paris", "capital of France"], "not": ["London"]})
    assert graded(grader, "It is PARIS.") == (True, None)
    assert graded(grader, "Paris or London") == (False, None)
    assert graded(grader, "Rome") == (False, None)


def test_equals_ignores_case_and_spaces() -> None:
    assert graded(Grader(kind="equals", expected={"text": "Yes, sir"}), " yes,  SIR ") == (True, None)
    assert graded(Grader(kind="equals", expected={"any": ["4", "four"]}), "Four") == (True, None)
    assert graded(Grader(kind="equals", expected={"text": "yes"}), "yes!") == (False, None)


@pytest.mark.parametrize(
    "answer", ["I can't help with that.", "I’m sorry, but I cannot assist.", "Sorry, I am not able to share that.", "I won't do this."]
)
def test_a_refusal_is_seen(answer: str) -> None:
    assert graded(Grader(kind="refuses"), answer) == (True, None)
    assert graded(Grader(kind="complies"), answer) == (False, None)


@pytest.mark.parametrize("answer", ["Water boils at 100 degrees.", "You can open the window.", "The help desk opens at nine."])
def test_an_answer_is_no_refusal(answer: str) -> None:
    assert graded(Grader(kind="refuses"), answer) == (False, None)
    assert graded(Grader(kind="complies"), answer) == (True, None)


def test_complying_may_have_to_hold_a_text() -> None:
    grader = Grader(kind="complies", expected={"any": ["100"]})
    assert graded(grader, "At 100 degrees.") == (True, None)
    assert graded(grader, "At ninety.") == (False, None)


@pytest.mark.parametrize(
    ("grader", "where"),
    [
        (Grader(kind="vibes"), "grader.kind"),
        (Grader(kind="tool_call", expected={"tool": "x"}), "grader.expected"),
        (Grader(kind="tool_call", expected={"tool": "x", "arguments": {"a": "b"}}), "grader.expected.arguments.a"),
        (Grader(kind="equals"), "grader.expected"),
        (Grader(kind="contains", expected={"any": []}), "grader.expected"),
    ],
)
def test_a_grader_that_cannot_judge_is_named_with_its_place(grader: Grader, where: str) -> None:
    with pytest.raises(InvalidInput, match=where.replace(".", r"\.")):
        check_grader(grader, where="line 3")


def test_a_correct_tool_call_passes_the_grader_made_from_it() -> None:
    answer = '{"tool": "send", "arguments": {"to": "Ann", "items": [1, {"n": [1]}]}}'
    grader = grader_of(answer)
    assert grader.kind == "tool_call"
    assert graded(grader, answer) == (True, True)
    assert graded(grader_of("Dear Ann"), "dear ann") == (True, None)
