"""Training rows as they are served: prompt first, then the answer alone, whatever a template adds."""

from pathlib import Path
from typing import Any

import pytest

from flywheel.training_set.token_rows import LeftOut, LeftOutReason
from services.integrations.vllm.chat_rendering import render_prompt
from services.integrations.vllm.training_text import training_text
from tests.chats import OSLO, SYSTEM, chat, result, said, user, with_tools
from tests.unit.integrations.test_chat_template import CHATML, NOW, served, shipped

OSLO_CALL = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Oslo", "days": 2}}\n</tool_call>'
ASKED = [
    chat(user("Hi")),
    chat(SYSTEM, user("Hi"), said("Hello."), user("And then?")),
    with_tools(user("Oslo?"), said(None, tool_calls=[OSLO]), result("5 degrees")),
]


@pytest.mark.parametrize("body", ASKED)
@pytest.mark.parametrize(
    ("name", "end"),
    [
        ("chatml", "<|im_end|>"),
        ("qwen2_5", "<|im_end|>"),
        ("qwen3", "<|im_end|>"),  # adds an empty thinking block to the last answer
        ("llama3", "<|eot_id|>"),
        ("llama3_1", "<|eot_id|>"),
        ("phi3", "<|end|>"),  # writes </s> after the last turn, which is never generated
        ("cohere2", "<|END_RESPONSE|><|END_OF_TURN_TOKEN|>"),
    ],
)
def test_a_row_is_the_served_prompt_and_then_the_answer_to_its_end(tmp_path: Path, name: str, end: str, body: dict[str, Any]) -> None:
    template = served(tmp_path, CHATML if name == "chatml" else shipped(name)).template
    row = training_text(template, body, said("Fine, {thanks}."), now=NOW)
    assert not isinstance(row, LeftOut)
    assert row.prompt == render_prompt(template, body, now=NOW)
    assert row.answer == f"Fine, {{thanks}}.{end}"


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("chatml", f"{OSLO_CALL}<|im_end|>"),
        ("qwen2_5", f"{OSLO_CALL}<|im_end|>"),
        ("qwen3", f"{OSLO_CALL}<|im_end|>"),
        ("llama3_1", '{"name": "get_weather", "parameters": {"city": "Oslo", "days": 2}}<|eot_id|>'),
    ],
)
def test_a_call_is_written_in_the_form_that_the_parser_reads(tmp_path: Path, name: str, answer: str) -> None:
    template = served(tmp_path, CHATML if name == "chatml" else shipped(name)).template
    row = training_text(template, with_tools(user("Oslo?")), said(None, tool_calls=[OSLO]), now=NOW)
    assert not isinstance(row, LeftOut)
    assert row.answer == answer


def test_a_template_without_an_end_of_turn_gets_the_end_token(tmp_path: Path) -> None:
    turns = "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}"
    bare = turns + "{% if add_generation_prompt %}assistant: {% endif %}"
    row = training_text(served(tmp_path, bare).template, chat(user("Hi")), said("Fine."), now=NOW)
    assert not isinstance(row, LeftOut)
    assert (row.prompt, row.answer) == ("user: Hi\nassistant: ", "Fine.</s>")


def test_with_thinking_switched_off_the_empty_block_belongs_to_the_prompt(tmp_path: Path) -> None:
    for name in ("qwen3", "qwen3_5_think"):
        (tmp_path / name).mkdir()
        template = served(tmp_path / name, shipped(name)).template
        row = training_text(template, chat(user("Hi"), chat_template_kwargs={"enable_thinking": False}), said("Fine."), now=NOW)
        assert not isinstance(row, LeftOut)
        assert row.prompt.endswith("<think>\n\n</think>\n\n")
        assert row.answer == "Fine.<|im_end|>"


@pytest.mark.parametrize(
    ("name", "body", "answer", "reason", "detail"),
    [
        ("deepseekv3", chat(user("Hi")), said("Fine."), LeftOutReason.NO_PREFIX, "opens a thinking block"),
        ("qwen3_5_think", chat(user("Hi")), said("Fine."), LeftOutReason.NO_PREFIX, "opens a thinking block"),
        ("gemma", chat(SYSTEM, user("Hi")), said("Fine."), LeftOutReason.REFUSED_BY_TEMPLATE, "System role not supported"),
        ("gemma", chat(user("Hi"), user("again")), said("Fine."), LeftOutReason.REFUSED_BY_TEMPLATE, "roles must alternate"),
        ("gemma", with_tools(user("Oslo?")), said(None, tool_calls=[OSLO]), LeftOutReason.REFUSED_BY_TEMPLATE, "does not write the answer"),
        ("chatml", chat(user([{"type": "image_url"}])), said("Fine."), LeftOutReason.REFUSED_BY_TEMPLATE, "a part is not text"),
        ("chatml", chat(user("Hi"), truncate_prompt_tokens=3), said("Fine."), LeftOutReason.REFUSED_BY_TEMPLATE, "not rendered here"),
    ],
)
def test_a_row_that_cannot_be_rendered_as_served_is_left_out_with_its_reason(
    tmp_path: Path, name: str, body: dict[str, Any], answer: dict[str, Any], reason: LeftOutReason, detail: str
) -> None:
    template = served(tmp_path, CHATML if name == "chatml" else shipped(name)).template
    found = training_text(template, body, answer, now=NOW)
    assert isinstance(found, LeftOut)
    assert (found.reason, detail in found.detail) == (reason, True), found


def test_no_text_of_a_prompt_stands_in_the_reason(tmp_path: Path) -> None:
    found = training_text(served(tmp_path, shipped("deepseekv3")).template, chat(user("my secret")), said("Fine."), now=NOW)
    assert isinstance(found, LeftOut)
    assert "secret" not in found.detail
