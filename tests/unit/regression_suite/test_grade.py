import json
import re

import pytest

from flywheel.comparison import EXACT, LENIENT, ComparisonPolicy
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


USUAL = ComparisonPolicy()
LENIENT_STRINGS = ComparisonPolicy(strings=LENIENT)


def graded(grader: Grader, answer: str | None, comparison: ComparisonPolicy = USUAL) -> tuple[bool, bool | None]:
    result = grade(case=case("x", "prompt", grader=grader), answer=answer, comparison=comparison)
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
    assert graded(WEATHER, json.dumps({"tool": "get_weather", "arguments": arguments}), LENIENT_STRINGS) == (right, True)


@pytest.mark.parametrize("city", ["boston", " Boston", "Boston,  MA"])
def test_strings_of_arguments_are_exact_unless_the_workload_says_otherwise(city: str) -> None:
    answer = json.dumps({"tool": "get_weather", "arguments": {"city": city, "days": 3, "tags": ["a", "b"]}})
    assert graded(WEATHER, answer) == (False, True)
    assert graded(WEATHER, answer, LENIENT_STRINGS) == (True, True)


PATHS = Grader(
    kind="tool_call",
    expected={
        "calls": [
            {"tool": "copy", "arguments": {"from": ["a", "./a"], "to": ["b"]}},
            {"tool": "copy", "arguments": {"from": ["a"], "to": ["b", "c"], "force": [True, ""]}},
        ]
    },
)


def copies(*pairs: tuple[str, str]) -> str:
    return json.dumps([{"tool": "copy", "arguments": {"from": source, "to": target}} for source, target in pairs])


@pytest.mark.parametrize(
    ("answer", "free", "fixed"),
    [
        (copies(("./a", "b"), ("a", "c")), True, True),
        (copies(("a", "c"), ("./a", "b")), True, False),
        (copies(("a", "b"), ("a", "c")), True, True),
        (copies(("a", "b"), ("./a", "b")), True, False),  # the second fits the first expected call only
        (copies(("./a", "b"), ("./a", "b")), False, False),
        (copies(("a", "b")), False, False),
        (copies(("a", "b"), ("a", "b"), ("a", "b")), False, False),
    ],
)
def test_several_calls_in_free_and_in_fixed_order(answer: str, free: bool, fixed: bool) -> None:
    assert graded(PATHS, answer) == (free, True)
    assert graded(PATHS, answer, ComparisonPolicy(calls_in_order=True)) == (fixed, True)
    own = Grader(kind="tool_call", expected={**PATHS.expected, "order": "fixed"})
    assert graded(own, answer) == (fixed, True)
    other = Grader(kind="tool_call", expected={**PATHS.expected, "order": "free"})
    assert graded(other, answer, ComparisonPolicy(calls_in_order=True)) == (free, True)


def test_each_argument_of_each_call_has_a_score() -> None:
    found = grade(case=case("x", "prompt", grader=PATHS), answer=copies(("a", "z"), ("a", "b")), comparison=ComparisonPolicy())
    assert found.arguments == {"1.from": 1.0, "1.to": 1.0, "2.from": 1.0, "2.to": 0.0}


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
        (Grader(kind="tool_call", expected={"calls": []}), "grader.expected.calls"),
        (Grader(kind="tool_call", expected={"calls": [{"tool": "x", "arguments": {"a": []}}]}), "grader.expected.calls[0].arguments.a"),
        (Grader(kind="tool_call", expected={"calls": ["x"]}), "grader.expected.calls[0]"),
        (Grader(kind="tool_call", expected={"tool": "x", "arguments": {}, "order": "any"}), "grader.expected.order"),
        (Grader(kind="equals", expected={"text": "x", "exact": "yes"}), "grader.expected.exact"),
        (Grader(kind="equals"), "grader.expected"),
        (Grader(kind="contains", expected={"any": []}), "grader.expected"),
    ],
)
def test_a_grader_that_cannot_judge_is_named_with_its_place(grader: Grader, where: str) -> None:
    with pytest.raises(InvalidInput, match=re.escape(where)):
        check_grader(grader, where="line 3")


def test_a_correct_tool_call_passes_the_grader_made_from_it() -> None:
    answer = '{"tool": "send", "arguments": {"to": "Ann", "items": [1, {"n": [1]}]}}'
    grader = grader_of(answer, original=None, comparison=ComparisonPolicy())
    assert grader.kind == "tool_call"
    assert graded(grader, answer) == (True, True)
    assert graded(grader_of("Dear Ann", original="Hi", comparison=ComparisonPolicy()), "dear ann") == (True, None)


def test_several_correct_calls_pass_the_grader_made_from_them() -> None:
    answer = copies(("a", "b"), ("c", ""))
    grader = check_grader(grader_of(answer, original=None, comparison=ComparisonPolicy()), where="line 1")
    assert graded(grader, copies(("c", ""), ("a", "b"))) == (True, True)
    assert graded(grader, copies(("c", "x"), ("a", "b"))) == (False, True)


@pytest.mark.parametrize(
    ("kind", "original", "corrected"),
    [
        ("capitals", "the invoice is PAID", "The invoice is paid"),
        ("white space", "one  two", "one two"),
        ("line breaks", "- one - two", "- one\n- two"),
        ("indentation of code", "if a:\nb", "if a:\n    b"),
        ("one argument's case", '{"tool":"set_env","arguments":{"name":"path"}}', '{"tool":"set_env","arguments":{"name":"PATH"}}'),
        ("a key of JSON", '{"a": 1}', '{"A": 1}'),
    ],
)
@pytest.mark.parametrize("comparison", [ComparisonPolicy(), LENIENT_STRINGS, ComparisonPolicy(text=EXACT)])
def test_the_grader_of_a_fix_never_passes_the_answer_that_was_fixed(
    kind: str, original: str, corrected: str, comparison: ComparisonPolicy
) -> None:
    grader = check_grader(grader_of(corrected, original=original, comparison=comparison), where=kind)
    assert graded(grader, corrected, comparison)[0]
    assert not graded(grader, original, comparison)[0]


def test_json_answers_are_compared_by_value() -> None:
    grader = Grader(kind="equals", expected={"text": '{"city": "Oslo", "days": 3}'})
    assert graded(grader, '{"days":3.0,"city":"Oslo"}') == (True, None)
    assert graded(grader, '{"days":3,"city":"oslo"}') == (False, None)
    assert graded(grader, '{"days":"3","city":"Oslo"}') == (False, None)


def test_exact_text_is_graded_exactly_where_the_workload_or_the_case_says_so() -> None:
    grader = Grader(kind="equals", expected={"text": "Yes, sir"})
    assert graded(grader, "yes, sir", ComparisonPolicy(text=EXACT)) == (False, None)
    assert graded(Grader(kind="equals", expected={"text": "Yes, sir", "exact": True}), "yes, sir") == (False, None)
    assert graded(Grader(kind="contains", expected={"any": ["PATH"]}), "path", ComparisonPolicy(text=EXACT)) == (False, None)


@pytest.mark.parametrize("value", ["ok \\ud83d", "\\u0000"])
def test_half_a_character_in_a_correct_call_makes_a_grader_that_can_be_stored(value: str) -> None:
    answer = f'{{"tool":"send","arguments":{{"text":"{value}"}}}}'
    grader = grader_of(answer, original=None, comparison=ComparisonPolicy())
    json.dumps(dict(grader.expected), ensure_ascii=False).encode()
    assert graded(grader, answer) == (True, True)
