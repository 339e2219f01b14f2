"""Does an answer fit its schema?"""

import pytest

from flywheel.traffic.answer_format import fits

SCHEMA: dict[str, object] = {"type": "object", "required": ["tool"], "properties": {"tool": {"type": "string"}}}


def test_without_schema_or_answer_there_is_nothing_to_judge() -> None:
    assert fits("text", None) is None
    assert fits(None, SCHEMA) is None


def test_json_that_fits_is_valid() -> None:
    assert fits('{"tool": "x"}', SCHEMA) is True


@pytest.mark.parametrize(
    "answer", ["", "text", '{"tool": 1}', "{}", '```json\n{"tool": "x"}\n```', '{"tool": "x"} ok', "NaN", "[" * 100_000]
)
def test_everything_else_is_invalid_and_never_an_error(answer: str) -> None:
    assert fits(answer, SCHEMA) is False
