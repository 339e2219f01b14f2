"""One rule for "the same": kinds of answers that people and models write, and values made to break it."""

import itertools
import json
import random
import unicodedata
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flywheel.comparison import (
    EXACT,
    LENIENT,
    MATCHED_CALLS,
    Comparison,
    ComparisonPolicy,
    TextRule,
    canonical,
    compare,
    structured,
)

USUAL = ComparisonPolicy()
AS_WRITTEN = USUAL.exact
LENIENT_STRINGS = ComparisonPolicy(strings=LENIENT)


def call(tool: str, **arguments: object) -> dict[str, object]:
    return {"tool": tool, "arguments": arguments}


@pytest.mark.parametrize(
    ("kind", "one", "other", "usual", "exact"),
    [
        ("capitals", "Yes, Sir", "yes, sir", True, False),
        ("white space inside", "It  costs\n5", "It costs 5", True, False),
        ("white space at the ends", " It costs 5\n", "It costs 5", True, True),
        ("line ends of Windows", "one\r\ntwo", "one\ntwo", True, True),
        ("bullets on lines of their own", "- a - b", "- a\n- b", True, False),
        ("composed and decomposed letters", "café", "cafe\u0301", True, True),
        ("full-width letters", "ＡＢＣ", "ABC", True, False),
        ("typographic quotes", "He said “no”", 'He said "no"', False, False),
        ("punctuation", "yes", "yes!", False, False),
        ("another word", "Anna leads", "Berta leads", False, False),
        ("sharp s", "STRASSE", "straße", True, False),
        ("indentation in fenced code", "So:\n```py\nif a:\n    b\n```", "So:\n```py\nif a:\nb\n```", False, False),
        ("capitals around fenced code", "SO:\n```py\nb\n```", "so:\n```py\nb\n```", True, False),
        ("capitals in fenced code", "```\nPATH\n```", "```\npath\n```", False, False),
        ("a figure as text and with a fraction", "5", "5.0", False, False),
    ],
)
def test_text(kind: str, one: str, other: str, usual: bool, exact: bool) -> None:
    assert compare(one, other, USUAL).same is usual, kind
    assert compare(other, one, AS_WRITTEN).same is exact, kind


@pytest.mark.parametrize(
    ("rule", "one", "other"),
    [
        (replace(EXACT, ignore_quotes=True), "“a” ‘b’ «c»", '"a" \'b\' "c"'),
        (replace(EXACT, ignore_case=True), "PATH", "path"),
        (replace(EXACT, ignore_white_space=True), "a\n  b", "a b"),
        (replace(EXACT, unicode="NFKC"), "ﬁve²", "five2"),
    ],
)
def test_each_difference_is_ignored_by_its_own_setting(rule: TextRule, one: str, other: str) -> None:
    assert not compare(one, other, replace(USUAL, text=EXACT)).same
    assert compare(one, other, replace(USUAL, text=rule)).same


@pytest.mark.parametrize(
    ("kind", "one", "other", "same"),
    [
        ("key order", '{"a":1,"b":2}', '{ "b": 2, "a": 1 }', True),
        ("a whole number and its fraction", '{"a":5}', '{"a":5.0}', True),
        ("rounding", '{"a":0.30000000000000004}', '{"a":0.3}', True),
        ("exponents", "[1e2]", "[100]", True),
        ("ids beyond 2^53", "[12345678901234567890]", "[12345678901234567891]", False),
        ("a number and its text", '{"a":5}', '{"a":"5"}', False),
        ("true and 1", "[true]", "[1]", False),
        ("false and null", "[false]", "[null]", False),
        ("null and an absent key", '{"a":null}', "{}", False),
        ("capitals of a string", '{"a":"PATH"}', '{"a":"path"}', False),
        ("white space in a string", '{"a":"x  y"}', '{"a":"x y"}', False),
        ("composed letters in a string", '{"a":"caf\\u00e9"}', '{"a":"cafe\\u0301"}', True),
        ("escaped and plain", '["\\u0041"]', '["A"]', True),
        ("order of a list", "[1,2]", "[2,1]", False),
        ("a longer list", "[1]", "[1,2]", False),
        ("an empty object and an empty list", "{}", "[]", False),
        ("JSON and the same in words", '{"a":1}', "a is 1", False),
        ("times of one instant", '["2026-03-01T12:00:00Z"]', '["2026-03-01T13:00:00+01:00"]', False),
    ],
)
def test_json_values(kind: str, one: str, other: str, same: bool) -> None:
    assert compare(one, other, USUAL).same is same, kind
    assert compare(other, one, USUAL).same is same, kind


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2026-03-01T12:00:00Z", "2026-03-01T13:00:00+01:00", True),
        ("2026-03-01 12:00", "2026-03-01T12:00:00", True),
        ("2026-03-01T12:00:00", "2026-03-01T12:00:00Z", False),  # nobody says which zone
        ("2026-03-01", "2026-03-01T00:00:00", False),  # a day is no instant
        ("20260301", "2026-03-01", False),  # may be an id
        ("2026-03-01T12:00:00Z", "2026-03-01T12:00:01Z", False),
        ("2026-13-01T12:00:00Z", "2026-13-01T12:00:00z", False),  # no such month: text
        ("0001-01-01T00:00:00+14:00", "0001-01-01T00:00:00+13:00", False),  # before the first year: text
    ],
)
def test_times_are_compared_by_instant_where_the_workload_says_so(one: str, other: str, same: bool) -> None:
    assert compare(json.dumps([one]), json.dumps([other]), replace(USUAL, times_by_instant=True)).same is same
    assert compare(json.dumps([one]), json.dumps([other]), USUAL).same is (one == other)


def test_the_tolerance_of_numbers_is_relative_and_never_applies_to_two_whole_numbers() -> None:
    coarse = replace(USUAL, number_tolerance=0.01)
    assert compare("[100.5]", "[100]", coarse).same
    assert not compare("[102.0]", "[100]", coarse).same
    assert not compare("[100]", "[101]", coarse).same
    assert not compare("[0.3]", "[0.30000000000000004]", replace(USUAL, number_tolerance=0.0)).same


WEATHER = [call("get_weather", city="Oslo", days=3), call("get_weather", city="Cairo", days=1), call("send", to="Ann")]


def test_one_call_has_a_score_for_each_argument() -> None:
    found = compare(json.dumps(call("f", a="X", b=2, extra=1)), json.dumps(call("f", a="x", b=2, c=3)), USUAL)
    assert found.arguments == {"a": 0.0, "b": 1.0, "extra": 0.0, "c": 0.0}
    assert (found.same, found.score, found.reason) == (False, 0.25, "argument a has an incorrect value")


def test_a_nested_argument_is_scored_by_its_share() -> None:
    found = compare(json.dumps(call("f", a={"x": [1, 2], "y": 5})), json.dumps(call("f", a={"x": [1, 3], "y": 5})), USUAL)
    assert found.arguments == {"a": 0.75}


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_several_calls_in_free_order(order: tuple[int, ...]) -> None:
    given = [WEATHER[at] for at in order]
    found = compare(json.dumps(given), json.dumps(WEATHER), USUAL)
    assert (found.same, found.score) == (True, 1.0)
    assert found.arguments == {"1.city": 1.0, "1.days": 1.0, "2.city": 1.0, "2.days": 1.0, "3.to": 1.0}
    assert compare(json.dumps(given), json.dumps(WEATHER), replace(USUAL, calls_in_order=True)).same is (given == WEATHER)


def test_several_calls_are_matched_so_that_the_most_is_right() -> None:
    """Each of the first two given calls fits the first expected one best; only one matching has all three arguments right."""
    expected = [call("f", a=1, b=1), call("f", a=1, b=2)]
    found = compare(json.dumps([call("f", a=1, b=2), call("f", a=1, b=1)]), json.dumps(expected), USUAL)
    assert found.same
    half = compare(json.dumps([call("f", a=1, b=3), call("f", a=1, b=1)]), json.dumps(expected), USUAL)
    assert (half.same, half.arguments) == (False, {"1.a": 1.0, "1.b": 1.0, "2.a": 1.0, "2.b": 0.0})


@pytest.mark.parametrize(
    ("given", "reason", "score"),
    [
        (WEATHER[:2], "2 calls where 3 are expected", 2 / 3),
        ([*WEATHER, call("send", to="Bob")], "4 calls where 3 are expected", 3 / 4),
        ([], "one is a structured answer, the other is text", 0.0),
        ([WEATHER[0], WEATHER[0], WEATHER[2]], "call 2: argument city has an incorrect value", 2 / 3),
        ([WEATHER[0], WEATHER[1], call("post", to="Ann")], "call 3: another tool", 2 / 3),
    ],
)
def test_missing_superfluous_and_repeated_calls(given: list[dict[str, object]], reason: str, score: float) -> None:
    found = compare(json.dumps(given) if given else "", json.dumps(WEATHER), USUAL)
    assert (found.same, found.reason) == (False, reason)
    assert found.score == pytest.approx(score)


def test_the_matching_is_the_same_each_time_and_for_any_order_of_equal_calls() -> None:
    given = [call("f", n=number % 3) for number in range(9)]
    expected = [call("f", n=number % 4) for number in range(9)]
    seen: Counter[tuple[float, ...]] = Counter()
    for seed in range(6):
        mixed = random.Random(seed).sample(given, k=9)
        found = compare(json.dumps(mixed), json.dumps(expected), USUAL)
        assert found == compare(json.dumps(mixed), json.dumps(expected), USUAL)
        seen[tuple(sorted(found.arguments.values()))] += 1
    assert len(seen) == 1


def test_a_thousand_calls_are_compared_in_order() -> None:
    many = [call("f", n=number) for number in range(MATCHED_CALLS + 1)]
    assert compare(json.dumps(many), json.dumps(many), USUAL).same
    assert not compare(json.dumps(many[::-1]), json.dumps(many), USUAL).same


HALF = "\\ud83d"
HOSTILE = {
    "half a character, escaped": f'{{"a":"ok {HALF}"}}',
    "half a character, raw": '{"a":"ok \ud83d"}',
    "half a character in text": "ok \ud83d",
    "a whole character, escaped": '{"a":"ok \\ud83d\\ude00"}',
    "a backslash before u": '{"a":"\\\\ud83d"}',
    "NaN": '{"a":NaN}',
    "infinity": '{"a":-Infinity}',
    "beyond a double": '{"a":1e400}',
    "a number of 400 digits": f'{{"a":{"9" * 400}}}',
    "a number of 10,000 digits": f'{{"a":{"9" * 10_000}}}',
    "a key twice": '{"a":1,"a":2}',
    "depth 100": "[" * 100 + "]" * 100,
    "depth 101": "[" * 101 + "]" * 101,
    "depth 1,000": "[" * 1_000 + "]" * 1_000,
    "depth 1,000 of objects": '{"a":' * 1_000 + "1" + "}" * 1_000,
    "open depth 100,000": "[" * 100_000,
    "marks without end": "a" + "\u0315\u0300" * 100_000,
    "fences without end": "```\n" * 100_000,
    "backslashes without end": '["' + "\\\\" * 100_000 + "\\u0041" + '"]',
    "line breaks without end": "\n" * 300_000 + "x",
    "calls with the same name": json.dumps([{"tool": "f", "arguments": {"a": number}} for number in range(5_000)]),
    "no answer": "",
    "a null character": '["\\u0000"]',
}


@pytest.mark.parametrize("policy", [USUAL, AS_WRITTEN, replace(LENIENT_STRINGS, times_by_instant=True)])
@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_values_have_a_result_and_are_the_same_as_themselves(kind: str, policy: ComparisonPolicy) -> None:
    text = HOSTILE[kind]
    assert compare(text, text, policy).same
    for other in ('{"a":1}', "text", '[{"tool":"f","arguments":{}}]'):
        assert isinstance(compare(text, other, policy), Comparison)
        assert isinstance(compare(other, text, policy), Comparison)


@pytest.mark.parametrize(
    ("kind", "one", "other", "same"),
    [
        ("half a character is U+FFFD", f'["{HALF}"]', '["\\ufffd"]', True),
        ("a whole character stays whole", '["\\ud83d\\ude00"]', '["😀"]', True),
        ("a backslash is none of its escapes", '["\\\\ud83d"]', '["\\ufffd"]', False),
        ("1e400 and 1e500 are both beyond a double", "[1e400]", "[1e500]", True),
        ("1e400 is not the largest double", "[1e400]", "[1.7976931348623157e308]", False),
        ("a huge whole number against a fraction", f"[{'9' * 400}]", "[0.5]", False),
        ("a huge whole number against 1e400", f"[{'9' * 400}]", "[1e400]", False),
        ("a key twice is not its last value", '{"a":1,"a":2}', '{"a":2}', False),
        ("too deep for values is text", "[" * 101 + "1" + "]" * 101, "[" * 101 + " 1" + "]" * 101, False),
    ],
)
def test_what_hostile_values_are_the_same_as(kind: str, one: str, other: str, same: bool) -> None:
    assert compare(one, other, USUAL).same is same, kind


def test_every_combining_mark_is_seen_as_one() -> None:
    """Else a run of such marks would be normalised at once, in time that grows with the square of its length."""
    marks = [chr(code) for code in range(0x110000) if unicodedata.combining(chr(code))]
    assert not [mark for mark in marks if mark.isalnum() or mark.isspace()]


def test_long_runs_of_marks_are_normalised_in_pieces() -> None:
    assert canonical("e\u0301" + "x" * 5, EXACT) == "é" + "x" * 5
    run = "e" + "\u0301\u0315" * 500
    assert canonical(canonical(run, EXACT), EXACT) == canonical(run, EXACT)


@settings(max_examples=150, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
        max_leaves=12,
    ),
    st.sampled_from([USUAL, AS_WRITTEN, LENIENT_STRINGS]),
)
def test_a_value_is_the_same_as_itself_written_in_another_way(value: object, policy: ComparisonPolicy) -> None:
    one = json.dumps({"v": value}, allow_nan=True)
    other = json.dumps({"v": value}, indent=3, ensure_ascii=False, sort_keys=True)
    if structured(one) is not None:
        found = compare(one, other, policy)
        assert (found.same, found.score) == (True, 1.0)


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=30), st.text(max_size=30), st.sampled_from([USUAL, AS_WRITTEN]))
def test_the_rule_does_not_depend_on_which_comes_first(one: str, other: str, policy: ComparisonPolicy) -> None:
    assert compare(one, other, policy).same is compare(other, one, policy).same
    assert compare(one, one, policy).same
