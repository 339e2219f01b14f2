import pytest

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
        ("Who leads?", "Anna leads.", " anna  LEADS.", "other", Cause.NONE),
    ],
)
def test_only_behaviour_trains(prompt: str, original: str, corrected: str, reason_code: str, cause: Cause) -> None:
    assert diagnose(joined("c", prompt, corrected, original=original, reason_code=reason_code)).cause is cause


def test_figures_that_normalise_to_another_count_do_not_break_it() -> None:
    assert diagnose(joined("c", "x", "② 3", original="2 4")).cause in tuple(Cause)
