"""Which chat template serves, and whether tools can be used with it. Serving and training both ask here.

In: the model's folder; a template and a parser of the settings, if any. Out: the template's text and how it came about.
A model's own template is used as it is where it renders tools; else with ``tools.jinja`` before it. Rendering is in ``chat_rendering``.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from importlib.resources import files
from pathlib import Path
from typing import Any

from flywheel.errors import CannotRun, InvalidInput
from flywheel.ids import digest_of
from services.integrations.vllm.chat_rendering import ChatTemplate, WireMessage, render_prompt

PARSERS: Mapping[str, str] = {
    "hermes": r'<tool_call>\s*\{\s*"name"\s*:\s*"get_echo"',
    "qwen3_coder": r"<tool_call>\s*<function=get_echo>",
    "mistral": r"\[TOOL_CALLS\]",
    "llama3_json": r'\{\s*"name"\s*:\s*"get_echo"\s*,\s*"parameters"\s*:',
}
"""By name of vLLM's parser: how a template writes the calls that it reads."""
SAMPLE_TIME = datetime(2026, 1, 1, tzinfo=UTC)
SAMPLE_TOOL: Mapping[str, Any] = {
    "type": "function",
    "function": {"name": "get_echo", "description": "Echo", "parameters": {"type": "object", "properties": {"word": {"type": "string"}}}},
}
SAMPLE_CALL: Mapping[str, Any] = {"id": "call00001", "type": "function", "function": {"name": "get_echo", "arguments": '{"word": "hallo"}'}}
QUESTION: WireMessage = {"role": "user", "content": "Say hallo."}
CALLED: WireMessage = {"role": "assistant", "content": None, "tool_calls": [SAMPLE_CALL]}
RESULT: WireMessage = {"role": "tool", "tool_call_id": "call00001", "content": "hallo-back"}


class TemplateOrigin(StrEnum):
    """Where the served template comes from."""

    OWN = "the model's own template"
    OWN_WITH_TOOLS = "the model's own template, with tools added"
    CHOSEN = "serving.chat_template"


@dataclass(frozen=True, kw_only=True)
class ServedTemplate:
    """The template that serves. ``tool_parser`` is vLLM's name of the parser that reads its calls; None: tools cannot be used."""

    template: ChatTemplate
    origin: TemplateOrigin
    renders_tools: bool
    tool_parser: str | None

    @property
    def digest(self) -> str | None:
        """Of what is not among the model's own files, which have a digest already; None for the model's own template as it is."""
        if self.origin is TemplateOrigin.OWN and not self.template.variables:
            return None
        return digest_of(json.dumps([self.template.text, self.template.variables], sort_keys=True))


def served_template(
    *, model: Path, chosen: Path | None = None, tool_parser: str | None = None, variables: Mapping[str, object] | None = None
) -> ServedTemplate:
    """``variables`` are defaults for chat_template_kwargs. Raises CannotRun without a template, InvalidInput for one that is no Jinja."""
    tokenizer = _json_of(model / "tokenizer_config.json")
    special_tokens = dict(_special_tokens({**_json_of(model / "special_tokens_map.json"), **tokenizer}))
    own = _own_text(model, tokenizer) if chosen is None else None
    if chosen is None and own is None:
        raise CannotRun("the model has no chat template", where=str(model), remedy="Set serving.chat_template to a Jinja file.")
    text = own if own is not None else _chosen_text(chosen)
    template = _detected(text, special_tokens, variables or {}, where=str(chosen or model))
    origin = TemplateOrigin.OWN if own is not None else TemplateOrigin.CHOSEN
    if own is not None and not _renders_tools(template):
        with_tools = replace(template, text=files(__package__).joinpath("tools.jinja").read_text(encoding="utf-8") + own)
        if _renders_tools(with_tools):
            template, origin = with_tools, TemplateOrigin.OWN_WITH_TOOLS
    renders_tools = _renders_tools(template)
    found = tool_parser or (_parser_of(template) if renders_tools else None)
    return ServedTemplate(template=template, origin=origin, renders_tools=renders_tools, tool_parser=found)


def _own_text(model: Path, tokenizer: Mapping[str, Any]) -> str | None:
    """One text, also where the model has a second template for requests with tools."""
    texts = {"default": _read(model / "chat_template.jinja")} if (model / "chat_template.jinja").is_file() else {}
    found = tokenizer.get("chat_template")
    if isinstance(found, str):
        texts.setdefault("default", found)
    elif isinstance(found, list):
        texts = {str(one["name"]): str(one["template"]) for one in found} | texts
    for file in sorted((model / "additional_chat_templates").glob("*.jinja")):
        texts[file.stem] = _read(file)
    if "tool_use" in texts and "default" in texts:
        return f"{{%- if tools is not none %}}{texts['tool_use']}{{%- else %}}{texts['default']}{{%- endif %}}"
    return texts.get("default")


def _chosen_text(file: Path | None) -> str:
    assert file is not None
    try:
        return _read(file)
    except OSError as error:
        reason = f"the chat template cannot be read: {error.strerror}"
        raise InvalidInput(reason, where="serving.chat_template", value=str(file), remedy="Name a Jinja file.") from None
    except UnicodeDecodeError:
        reason, remedy = "the chat template is not text in UTF-8", "Save it in UTF-8."
        raise InvalidInput(reason, where="serving.chat_template", value=str(file), remedy=remedy) from None


def _read(file: Path) -> str:
    return file.read_text(encoding="utf-8")


def _json_of(file: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise CannotRun(f"cannot be read: {error}", where=str(file), remedy="Restore the model's files.") from None
    return content if isinstance(content, dict) else {}


def _special_tokens(tokenizer: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in tokenizer.items():
        text = value.get("content") if isinstance(value, dict) else value
        if name.endswith("_token") and isinstance(text, str):
            yield name, text


def _detected(text: str, special_tokens: Mapping[str, str], variables: Mapping[str, object], *, where: str) -> ChatTemplate:
    """With the content format: a template that prints the list of parts, or fails on it, takes text."""
    as_text = ChatTemplate(text=text, content_format="string", special_tokens=special_tokens, variables=variables)
    as_parts = replace(as_text, content_format="openai")
    for template in (as_parts, as_text):
        rendered = _rendered(template, [QUESTION])
        if rendered is not None and "Say hallo." in rendered and not re.search(r"""['"]type['"]""", rendered):
            return template
    reason = "the chat template does not render a user's message"
    remedy = "Use a Jinja template for chats, e.g. the file chat_template.jinja of the model."
    raise InvalidInput(reason, where=where, remedy=remedy)


def _renders_tools(template: ChatTemplate) -> bool:
    """Whether tools, a call and its result all arrive in the text."""
    without, offered = _rendered(template, [QUESTION]), _rendered(template, [QUESTION], tools=True)
    answered = _rendered(template, [QUESTION, CALLED, RESULT], tools=True)
    if offered is None or answered is None or offered == without:
        return False
    return "get_echo" in offered and answered.count("get_echo") > offered.count("get_echo") and "hallo-back" in answered


def _parser_of(template: ChatTemplate) -> str | None:
    """By the form in which the template writes a call: after the text of the question alone, which may hold an example of the form."""
    asked, called = (_rendered(template, messages, tools=True) or "" for messages in ([QUESTION], [QUESTION, CALLED, RESULT]))
    same = next((at for at, (one, other) in enumerate(zip(asked, called, strict=False)) if one != other), len(asked))
    return next((name for name, form in PARSERS.items() if re.search(form, called[same:])), None)


def _rendered(template: ChatTemplate, messages: Sequence[WireMessage], *, tools: bool = False) -> str | None:
    """None where the template refuses it."""
    try:
        return render_prompt(template, {"messages": messages, "tools": [SAMPLE_TOOL] if tools else None}, now=SAMPLE_TIME)
    except InvalidInput:
        return None
