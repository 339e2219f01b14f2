"""Which chat template serves, and with which parser: the templates that TRL ships, and files as people have them."""

import json
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from flywheel.errors import CannotRun, InvalidInput
from services.integrations.vllm.chat_rendering import render_prompt, render_with_answer
from services.integrations.vllm.chat_template import ServedTemplate, TemplateOrigin, served_template
from tests.chats import OSLO, SYSTEM, TOOLS, chat, result, said, user, with_tools

NOW = datetime(2026, 11, 30, tzinfo=UTC)
CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def shipped(name: str) -> str:
    """One of TRL's, read without importing the library."""
    spec = find_spec("trl")
    assert spec is not None
    assert spec.origin is not None
    return (Path(spec.origin).parent / "chat_templates" / f"{name}.jinja").read_text()


def model(folder: Path, template: str | None, **tokenizer: Any) -> Path:
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "</s>", "bos_token": {"content": "<s>"}, **tokenizer}))
    if template is not None:
        (folder / "chat_template.jinja").write_text(template)
    return folder


def served(folder: Path, template: str) -> ServedTemplate:
    return served_template(model=model(folder, template))


@pytest.mark.parametrize(
    ("name", "origin", "parser", "content_format"),
    [
        ("qwen2_5", TemplateOrigin.OWN, "hermes", "string"),
        ("qwen3", TemplateOrigin.OWN, "hermes", "string"),
        ("qwen3_vl", TemplateOrigin.OWN, "hermes", "openai"),
        ("qwen3_5_think", TemplateOrigin.OWN, "qwen3_coder", "openai"),
        ("llama3_1", TemplateOrigin.OWN, "llama3_json", "string"),
        ("glm4moe", TemplateOrigin.OWN, None, "openai"),  # a form of its own: the parser must be named
        ("gemma", TemplateOrigin.OWN, None, "string"),  # it refuses a system text, so tools cannot be added
        ("llama3", TemplateOrigin.OWN_WITH_TOOLS, "hermes", "string"),
        ("phi3", TemplateOrigin.OWN_WITH_TOOLS, "hermes", "string"),
        ("qwen2_5_vl", TemplateOrigin.OWN_WITH_TOOLS, "hermes", "openai"),
        ("smolvlm", TemplateOrigin.OWN_WITH_TOOLS, "hermes", "openai"),  # it takes lists of parts only
    ],
)
def test_a_template_is_taken_as_it_is_where_it_renders_tools(
    tmp_path: Path, name: str, origin: TemplateOrigin, parser: str | None, content_format: str
) -> None:
    found = served(tmp_path, shipped(name))
    assert (found.origin, found.tool_parser, found.template.content_format) == (origin, parser, content_format)
    assert (found.digest is None) == (origin is TemplateOrigin.OWN)
    assert found.renders_tools == (name != "gemma")


def test_tools_calls_and_results_are_added_in_the_form_that_hermes_reads(tmp_path: Path) -> None:
    found = served(tmp_path, CHATML)
    body = with_tools(SYSTEM, user("Oslo?"), said("Let me look.", tool_calls=[OSLO, OSLO]), result("5"), result("6"))
    text = render_prompt(found.template, body, now=NOW)
    system, *turns = text.split("<|im_end|>\n")
    assert system.startswith("<|im_start|>system\nAnswer in one word.\n\n# Tools")
    first = {"type": "function", "function": {key: TOOLS[0]["function"][key] for key in ("name", "description", "parameters")}}
    assert json.dumps(first, ensure_ascii=False) in system.splitlines()
    called = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Oslo", "days": 2}}\n</tool_call>'
    assert turns == [
        "<|im_start|>user\nOslo?",
        f"<|im_start|>assistant\nLet me look.\n{called}\n{called}",
        "<|im_start|>user\n<tool_response>\n5\n</tool_response>\n<tool_response>\n6\n</tool_response>",
        "<|im_start|>assistant\n",
    ]


@pytest.mark.parametrize("name", ["chatml", "llama3", "phi3", "smolvlm"])
def test_without_tools_the_text_is_the_one_of_the_model_s_own_template(tmp_path: Path, name: str) -> None:
    own = CHATML if name == "chatml" else shipped(name)
    found = served(tmp_path, own)
    (tmp_path / "alone").mkdir()
    (tmp_path / "alone.jinja").write_text(own)
    alone = served_template(model=model(tmp_path / "alone", None), chosen=tmp_path / "alone.jinja")
    assert alone.origin is TemplateOrigin.CHOSEN
    for body in (chat(user("Hi")), chat(SYSTEM, user("Hi"), said("Hello."), user("And then?"))):
        assert render_prompt(found.template, body, now=NOW) == render_prompt(alone.template, body, now=NOW)
        answer = said("Bye.")
        assert render_with_answer(found.template, body, answer, now=NOW) == render_with_answer(alone.template, body, answer, now=NOW)


def test_a_second_template_for_tools_is_taken_for_requests_with_tools(tmp_path: Path) -> None:
    both = [{"name": "default", "template": CHATML}, {"name": "tool_use", "template": "T" + shipped("qwen2_5")}]
    found = served_template(model=model(tmp_path, None, chat_template=both))
    assert (found.origin, found.tool_parser) == (TemplateOrigin.OWN, "hermes")
    assert render_prompt(found.template, chat(user("Hi")), now=NOW) == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    assert render_prompt(found.template, with_tools(user("Hi")), now=NOW).startswith("T<|im_start|>system")


def test_special_tokens_are_read_where_the_model_has_them(tmp_path: Path) -> None:
    folder = model(tmp_path, "{{ bos_token }}{{ eos_token }}" + CHATML)
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": {"content": "</s>"}}))
    (folder / "special_tokens_map.json").write_text(json.dumps({"bos_token": "<s>", "eos_token": "<old>"}))
    assert render_prompt(served_template(model=folder).template, chat(user("Hi")), now=NOW).startswith("<s></s><|im_start|>")


def test_the_template_in_the_tokenizer_s_file_counts_where_there_is_no_other(tmp_path: Path) -> None:
    assert served_template(model=model(tmp_path, None, chat_template=CHATML)).origin is TemplateOrigin.OWN_WITH_TOOLS


def test_a_named_parser_wins_also_where_the_template_renders_no_tools(tmp_path: Path) -> None:
    folder = model(tmp_path, shipped("gemma"))
    assert served_template(model=folder, tool_parser="pythonic").tool_parser == "pythonic"


def test_variables_of_the_settings_are_defaults_for_those_of_a_request(tmp_path: Path) -> None:
    found = served_template(model=model(tmp_path, shipped("qwen3")), variables={"enable_thinking": False})
    empty = "<think>\n\n</think>\n\n"
    assert render_prompt(found.template, chat(user("Hi")), now=NOW).endswith(empty)
    asked = chat(user("Hi"), chat_template_kwargs={"enable_thinking": True})
    assert not render_prompt(found.template, asked, now=NOW).endswith(empty)
    assert render_prompt(found.template, chat(user("Hi"), reasoning_effort="none"), now=NOW).endswith(empty)


def test_a_template_that_prints_the_date_prints_the_given_one(tmp_path: Path) -> None:
    found = served(tmp_path, "{{ strftime_now('%d %b %Y') }}" + CHATML)
    assert render_prompt(found.template, chat(user("Hi")), now=NOW).startswith("30 Nov 2026<|im_start|>")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"{% for %}", "does not render a user's message"),
        (b"You are a bot.", "does not render a user's message"),
        (b"", "does not render a user's message"),
        (b"\xff\xfe", "is not text in UTF-8"),
        (None, "cannot be read: No such file"),
    ],
)
def test_a_file_that_is_no_chat_template_is_named(tmp_path: Path, content: bytes | None, reason: str) -> None:
    file = tmp_path / "chosen.jinja"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(InvalidInput) as caught:
        served_template(model=model(tmp_path, CHATML), chosen=file)
    assert reason in caught.value.reason
    assert str(file) in str(caught.value)


def test_a_model_without_a_template_needs_one_of_the_settings(tmp_path: Path) -> None:
    with pytest.raises(CannotRun, match=r"has no chat template.*serving\.chat_template"):
        served_template(model=model(tmp_path, None))
    (tmp_path / "tokenizer_config.json").write_text("{")
    with pytest.raises(CannotRun, match=r"tokenizer_config\.json: cannot be read"):
        served_template(model=tmp_path)


@pytest.mark.parametrize(
    ("body", "where", "reason"),
    [
        (chat(SYSTEM, user("Hi")), "messages", "the chat template refuses it: System role not supported"),
        (chat(user("Hi"), user("again")), "messages", "the chat template refuses it: Conversation roles must alternate"),
        (chat(user([{"type": "image_url", "image_url": {"url": "x"}}])), "messages", "a part is not text"),
        (chat(user([7])), "messages", "a part is not text"),
        (chat(user("Hi"), said("He"), continue_final_message=True), "continue_final_message", "is not rendered here"),
        (chat(user("Hi"), add_generation_prompt=False), "add_generation_prompt", "is not rendered here"),
        (chat(user("Hi"), truncate_prompt_tokens=9), "truncate_prompt_tokens", "is not rendered here"),
    ],
)
def test_what_cannot_be_rendered_is_refused_with_the_template_s_own_reason(
    tmp_path: Path, body: dict[str, Any], where: str, reason: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        render_prompt(served(tmp_path, shipped("gemma")).template, body, now=NOW)
    assert (caught.value.where, reason in caught.value.reason) == (where, True), caught.value
