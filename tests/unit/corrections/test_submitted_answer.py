"""Answers as people and tools hand them in."""

from typing import Any

import pytest

from flywheel.corrections.submitted_answer import calls_text, corrected_text, original_text
from flywheel.errors import InvalidInput


def call(name: str, arguments: Any) -> dict[str, Any]:
    return {"id": "call_1", "type": "function", "function": {"name": name, "arguments": arguments}}


@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [
        ("text", "It rains.", "It rains."),
        ("a message", {"role": "assistant", "content": "It rains."}, "It rains."),
        ("a message without a role", {"content": "It rains."}, "It rains."),
        ("text in parts", {"content": [{"type": "text", "text": "It"}, {"type": "text", "text": "rains."}]}, "It\nrains."),
        ("a refusal", {"content": None, "refusal": "I cannot do that."}, "I cannot do that."),
        ("one call", {"content": None, "tool_calls": [call("track", '{"order":7}')]}, '{"tool": "track", "arguments": {"order": 7}}'),
        ("a call without arguments", {"tool_calls": [call("ping", "")]}, '{"tool": "ping", "arguments": {}}'),
        ("blanks beside a call", {"content": "\n\n", "tool_calls": [call("ping", "{}")]}, '{"tool": "ping", "arguments": {}}'),
        (
            "several calls",
            {"tool_calls": [call("track", {"order": 7}), call("ping", "{}")]},
            '[{"tool": "track", "arguments": {"order": 7}}, {"tool": "ping", "arguments": {}}]',
        ),
    ],
)
def test_an_answer_is_read_in_each_form(kind: str, value: Any, text: str) -> None:
    assert corrected_text(value, where="$.corrected") == text, kind
    assert original_text(value, where="$.original") == text


@pytest.mark.parametrize(
    ("kind", "value", "where", "reason"),
    [
        ("no answer", {"role": "assistant", "content": None}, "$.corrected", "neither text nor tool calls"),
        ("blanks", {"content": " \n"}, "$.corrected", "neither text nor tool calls"),
        ("another role", {"role": "user", "content": "x"}, "$.corrected.role", "message of the assistant"),
        ("a picture", {"content": [{"type": "text", "text": "x"}, {"type": "image_url"}]}, "$.corrected.content[1]", "must be text"),
        (
            "broken arguments",
            {"tool_calls": [call("a", "{}"), call("b", '{"order": 7')]},
            "$.corrected.tool_calls[1].function.arguments",
            "must be a JSON object",
        ),
        ("arguments that are a list", {"tool_calls": [call("b", "[1]")]}, "$.corrected.tool_calls[0].function.arguments", "JSON object"),
        ("calls of another kind", {"tool_calls": [{"type": "custom", "custom": {}}]}, "$.corrected.tool_calls", "calls of functions"),
    ],
)
def test_an_answer_that_cannot_be_taught_is_refused_with_its_path(kind: str, value: Any, where: str, reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason) as caught:
        corrected_text(value, where="$.corrected")
    assert caught.value.where == where, kind
    original_text(value, where="$.original")  # a model may answer so


def test_calls_are_read_with_arguments_as_object_or_as_text() -> None:
    found = calls_text([{"name": "a", "arguments": {"n": 1}}, {"name": "b", "arguments": '{"n": "é"}'}], where="$.corrected_calls")
    assert found == '[{"tool": "a", "arguments": {"n": 1}}, {"tool": "b", "arguments": {"n": "é"}}]'
    with pytest.raises(InvalidInput) as caught:
        calls_text([{"name": "a", "arguments": {}}, {"name": "b", "arguments": '{"n": '}], where="$.corrected_calls")
    assert caught.value.where == "$.corrected_calls[1].arguments"
