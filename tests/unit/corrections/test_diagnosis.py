import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flywheel.comparison import LENIENT, ComparisonPolicy
from flywheel.corrections.diagnosis import Cause, diagnose
from tests.learning import joined


@pytest.mark.parametrize(
    ("prompt", "original", "corrected", "reason_code", "cause"),
    [
        ("How much is the pro plan?", "The pro plan costs $49 a month.", "The pro plan costs $59 a month.", "other", Cause.KNOWLEDGE),
        ("Say that it costs $59.", "It costs $49.", "It costs $59.", "other", Cause.BEHAVIOUR),
        ("How much?", "It costs $49.", "I do not know, see the price list.", "other", Cause.BEHAVIOUR),
        ("How much?", "It costs $49.", "It costs $59.", "format", Cause.BEHAVIOUR),
        ("Set it to ten", '{"tool":"set","arguments":{"n":1}}', '{"tool":"set","arguments":{"n":10}}', "other", Cause.BEHAVIOUR),
        ("Who leads?", "Anna leads.", "Berta leads.", "outdated", Cause.KNOWLEDGE),
        ("Who leads?", "Anna leads.", " Anna leads.\r\n", "other", Cause.NONE),
        ("Set it", '{"tool":"set","arguments":{"n":1}}', '{ "arguments": {"n": 1.0}, "tool": "set" }', "other", Cause.NONE),
    ],
)
def test_only_behaviour_trains(prompt: str, original: str, corrected: str, reason_code: str, cause: Cause) -> None:
    assert diagnose(joined("c", prompt, corrected, original=original, reason_code=reason_code), ComparisonPolicy()).cause is cause


@pytest.mark.parametrize(
    ("kind", "original", "corrected", "cause"),
    [
        ("a figure where the model wrote #", "You are caller # in the queue.", "You are caller 3 in the queue.", Cause.BEHAVIOUR),
        ("# where the model wrote a figure", "You are caller 3 in the queue.", "You are caller # in the queue.", Cause.BEHAVIOUR),
        ("# beside a figure", "# 4 costs $49", "# 4 costs $59", Cause.KNOWLEDGE),
        ("a figure and # change places", "# and 3", "3 and #", Cause.BEHAVIOUR),
        ("figures that normalise to another count", "2 4", "② 3", Cause.KNOWLEDGE),
        ("a figure more", "It costs $49", "It costs $49 or $59", Cause.BEHAVIOUR),
        ("a figure and capitals", "it costs $49", "It costs $59", Cause.KNOWLEDGE),
    ],
)
def test_figures_and_signs_that_stand_for_them(kind: str, original: str, corrected: str, cause: Cause) -> None:
    assert diagnose(joined("c", "x", corrected, original=original), ComparisonPolicy()).cause is cause, kind


@pytest.mark.parametrize("reason_code", ["other", "format", "wrong_argument"])
@pytest.mark.parametrize(
    ("kind", "original", "corrected"),
    [
        ("capitals", "anna leads.", "Anna leads."),
        ("white space", "Anna  leads.", "Anna leads."),
        ("line breaks", "- Anna - Berta", "- Anna\n- Berta"),
        ("indentation", "if a:\nb", "if a:\n    b"),
        ("one argument's case", '{"tool":"f","arguments":{"n":"path"}}', '{"tool":"f","arguments":{"n":"PATH"}}'),
    ],
)
def test_a_fix_of_nothing_but_its_form_is_a_lesson(kind: str, original: str, corrected: str, reason_code: str) -> None:
    assert diagnose(joined("c", "x", corrected, original=original, reason_code=reason_code), ComparisonPolicy()).cause is Cause.BEHAVIOUR
    as_graded = ComparisonPolicy(exact_fixes=False, strings=LENIENT)
    assert diagnose(joined("c", "x", corrected, original=original, reason_code=reason_code), as_graded).cause is Cause.NONE


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="#1 2.,$%-²٣a\n", max_size=12), st.text(alphabet="#1 2.,$%-²٣a\n", max_size=12), st.booleans())
def test_any_text_has_a_cause(original: str, corrected: str, exact: bool) -> None:
    assert diagnose(joined("c", "x", corrected, original=original), ComparisonPolicy(exact_fixes=exact)).cause in tuple(Cause)
