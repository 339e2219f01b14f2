"""Renders a chat as vLLM does before it tokenizes it, so that training and probes see the text that was served.

In: a chat template, the body of a chat request. Out: one text. As in vLLM 0.32 (renderers/hf.py, renderers/chat_utils.py) and
transformers 5 (utils/chat_template_utils.py); tests/contract/test_served_prompts.py compares the tokens with a real vLLM's.
Which template serves is decided in ``chat_template``. Pictures and other media are not rendered.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any, Literal

from jinja2 import Template, TemplateError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from flywheel.errors import InvalidInput

ContentFormat = Literal["string", "openai"]
"""How a template takes a message's content: as one text, or as a list of parts."""
WireMessage = Mapping[str, Any]
"""A message as in the body of /v1/chat/completions."""
WireBody = Mapping[str, Any]
"""The body of /v1/chat/completions."""
USUAL: Mapping[str, object] = {
    "add_generation_prompt": True,
    "add_special_tokens": False,
    "continue_final_message": False,
    "truncate_prompt_tokens": None,
    "chat_template": None,
}
"""Fields of vLLM that change how a prompt is made, each with its default."""

BILLING_HEADER = "x-anthropic-billing-header"  # vLLM drops this first line of a system text: it differs in each request
TEXT_PARTS = {"text": "text", "input_text": "text", "output_text": "text", "refusal": "refusal", "thinking": "thinking"}
TOOL_KEYS, FUNCTION_KEYS = ("type", "function"), ("name", "description", "parameters", "strict")


@dataclass(frozen=True, kw_only=True)
class ChatTemplate:
    """A Jinja template and what it is rendered with."""

    text: str
    content_format: ContentFormat
    special_tokens: Mapping[str, str] = field(default_factory=dict)  # e.g. {"eos_token": "<|im_end|>"}
    variables: Mapping[str, object] = field(default_factory=dict)  # defaults for a request's chat_template_kwargs


def render_prompt(template: ChatTemplate, body: WireBody, *, now: datetime) -> str:
    """The text that vLLM tokenizes for this request. ``now`` is for templates that print the date.

    Raises InvalidInput with the template's own reason where it refuses the messages, for parts that are not text, and for fields that
    make vLLM build the prompt in another way.
    """
    for key, usual in USUAL.items():
        if body.get(key, usual) not in (usual, None):
            raise InvalidInput(
                "such a request is not rendered here",
                where=key,
                value=body[key],
                remedy="Only whole prompts with an answer are trained on.",
            )
    return _render(template, body, body["messages"], add_generation_prompt=True, now=now)


def render_with_answer(template: ChatTemplate, body: WireBody, answer: WireMessage, *, now: datetime) -> str:
    """The prompt's messages and the answer to them, as in the prompt of a next turn."""
    return _render(template, body, [*body["messages"], answer], add_generation_prompt=False, now=now)


def _render(template: ChatTemplate, body: WireBody, messages: Sequence[WireMessage], *, add_generation_prompt: bool, now: datetime) -> str:
    conversation = [_message(message, template.content_format) for message in messages]
    if '"developer"' not in template.text and "'developer'" not in template.text:
        conversation = _without_developer(conversation)
    given = {"documents": None, **template.special_tokens, **template.variables, **_variables(body), "strftime_now": now.strftime}
    given |= {"messages": conversation, "tools": _tools(body.get("tools")), "add_generation_prompt": add_generation_prompt}
    try:
        return _compiled(template.text).render(given)
    except Exception as error:  # a template is a program: it may fail in any way
        reason = str(error) if isinstance(error, TemplateError) else f"{type(error).__name__}: {error}"
        raise InvalidInput(
            f"the chat template refuses it: {reason}", where="messages", remedy="Send messages that it takes, or set serving.chat_template."
        ) from error


def _variables(body: WireBody) -> dict[str, object]:
    """Of the request, for the template."""
    given = dict(body.get("chat_template_kwargs") or {})
    effort = body.get("reasoning_effort")
    if effort is not None and "enable_thinking" not in given:
        given["enable_thinking"] = effort != "none"
    fields = {"reasoning_effort": effort, "documents": body.get("documents")}
    return given | {name: value for name, value in fields.items() if value not in (None, "auto")}


def _message(message: WireMessage, content_format: ContentFormat) -> dict[str, Any]:
    """A message as vLLM hands it to the template."""
    role, content = str(message["role"]), message.get("content")
    given = [] if content is None else [content] if isinstance(content, str) else list(content)
    parts = [text for part in given if (text := _text(part)) is not None]
    if role == "system":
        parts = _without_billing_header(parts)
    as_text = content_format == "string" or role == "tool"
    rendered: dict[str, Any] = {
        "role": role,
        "content": "\n".join(parts) if as_text else [{"type": "text", "text": text} for text in parts],
    }
    if role == "assistant":
        if message.get("tool_calls"):
            rendered["tool_calls"] = [_call(call) for call in message["tool_calls"]]
        if message.get("reasoning") is not None:
            rendered |= {"reasoning": message["reasoning"], "reasoning_content": message["reasoning"]}
    if role == "tool" and "tool_call_id" in message:
        rendered["tool_call_id"] = message["tool_call_id"]
    if isinstance(message.get("name"), str):
        rendered["name"] = message["name"]
    if role == "developer":
        rendered["tools"] = message.get("tools")
    return rendered


def _text(part: object) -> str | None:
    """None for a text part without text, which vLLM skips."""
    if isinstance(part, str):
        return part
    kind = part.get("type", "text") if isinstance(part, Mapping) else None
    if not isinstance(part, Mapping) or kind not in TEXT_PARTS:
        raise InvalidInput(
            "a part is not text and cannot be rendered", where="messages", value=kind, remedy="Only texts can be trained on."
        )
    text = part.get(TEXT_PARTS[kind])
    return text if isinstance(text, str) else None


def _without_billing_header(parts: Sequence[str]) -> list[str]:
    rest = [(text.partition("\n")[2] if text.startswith(BILLING_HEADER) else text, text) for text in parts]
    return [text for text, before in rest if text or not before.startswith(BILLING_HEADER)]


def _call(call: Mapping[str, Any]) -> dict[str, Any]:
    """Templates take arguments as a mapping. Text that holds none becomes an empty one, as in vLLM."""
    function = dict(call["function"])
    arguments = function.get("arguments")
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except ValueError:
            arguments = None
    function["arguments"] = arguments if isinstance(arguments, dict) else {}
    return {**call, "function": function}


def _without_developer(conversation: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Where the template does not know the role: developer texts are system texts, and all system texts one message at the start."""
    if all(message["role"] != "developer" for message in conversation):
        return conversation
    is_system = [message["role"] in ("developer", "system") for message in conversation]
    if is_system.count(True) == 1 and is_system[0]:
        return [{"role": "system", "content": conversation[0]["content"]}, *conversation[1:]]
    texts = [_joined(message["content"]) for message, system in zip(conversation, is_system, strict=True) if system]
    rest = [message for message, system in zip(conversation, is_system, strict=True) if not system]
    return [{"role": "system", "content": "\n\n".join(text for text in texts if text)}, *rest]


def _joined(content: str | list[dict[str, str]]) -> str:
    return content if isinstance(content, str) else "\n".join(part["text"] for part in content)


def _tools(tools: Sequence[Mapping[str, Any]] | None) -> list[dict[str, Any]] | None:
    """With the keys that vLLM keeps, in its order; it adds description and parameters where they are missing."""
    if tools is None:
        return None
    found = []
    for tool in tools:
        function = {key: tool["function"].get(key) for key in FUNCTION_KEYS}
        if function["strict"] is None:
            del function["strict"]
        found.append({"type": tool.get("type", "function"), "function": function})
    return found


class _GenerationTag(Extension):
    """``{% generation %}``, with which templates mark answers for training: renders what it encloses."""

    tags = {"generation"}  # noqa: RUF012  as Jinja declares it

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body, lineno=line)


@lru_cache(maxsize=16)
def _compiled(text: str) -> Template:
    """As transformers compiles it. Raises TemplateError."""
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[_GenerationTag, loopcontrols])
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _refuse
    return environment.from_string(text)


def _to_json(value: object, ensure_ascii: bool = False, indent: int | None = None, separators: Any = None, sort_keys: bool = False) -> str:
    """Without Jinja's own escapes for HTML."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _refuse(reason: str) -> None:
    raise TemplateError(reason)
