"""Does an answer fit its schema?"""

import pytest

from flywheel.traffic.answer_format import fits
from flywheel.traffic.exchange import ModelAnswer
from flywheel.traffic.message import Message, ToolCall


def answered(text: str) -> ModelAnswer:
    return ModelAnswer(message=Message(role="assistant", content=text))


SCHEMA: dict[str, object] = {"type": "object", "required": ["tool"], "properties": {"tool": {"type": "string"}}}


def test_without_schema_or_answer_there_is_nothing_to_judge() -> None:
    assert fits(answered("text"), None) is None
    assert fits(None, SCHEMA) is None


def test_json_that_fits_is_valid() -> None:
    assert fits(answered('{"tool": "x"}'), SCHEMA) is True


@pytest.mark.parametrize(
    "answer", ["", "text", '{"tool": 1}', "{}", '```json\n{"tool": "x"}\n```', '{"tool": "x"} ok', "NaN", "[" * 100_000]
)
def test_everything_else_is_invalid_and_never_an_error(answer: str) -> None:
    assert fits(answered(answer), SCHEMA) is False


@pytest.mark.parametrize("arguments", ['{"city": "Bos', '{"a":1}{"a":1}', "7", "[1]"])
@pytest.mark.parametrize("schema", [None, SCHEMA])
def test_a_call_whose_arguments_are_no_object_is_invalid(arguments: str, schema: dict[str, object] | None) -> None:
    call = ToolCall(name="weather", arguments=arguments)
    assert fits(ModelAnswer(message=Message(role="assistant", tool_calls=(call,))), schema) is False


def test_a_call_without_arguments_is_a_call_with_an_empty_object() -> None:
    answer = ModelAnswer(message=Message(role="assistant", tool_calls=(ToolCall(name="now", arguments=""),)))
    assert (fits(answer, None), answer.text) == (None, '{"tool": "now", "arguments": {}}')
