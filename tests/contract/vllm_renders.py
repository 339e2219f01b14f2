"""Run by vLLM's interpreter: renders chats and reads tool calls with vLLM's own functions.

Standard input: JSON lines {template, special_tokens, format, body}, or {parser, text}. Standard output: a JSON line for each: {"text"},
{"calls": [[name, arguments]], "content"} or {"refused"}.
"""

import json
import os
import sys
from types import SimpleNamespace

os.environ["VLLM_LOGGING_LEVEL"] = "ERROR"
from transformers.utils.chat_template_utils import render_jinja_template
from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
from vllm.renderers import hf
from vllm.renderers.chat_utils import parse_chat_messages
from vllm.tool_parsers import ToolParserManager

CONFIG = SimpleNamespace(multimodal_config=None, enable_prompt_embeds=False, allowed_local_media_path="", allowed_media_domains=None)


class Tokenizer:
    """What ``safe_apply_chat_template`` needs of one: it renders as transformers' does."""

    def __init__(self, special_tokens: dict[str, str]) -> None:
        self._special_tokens = special_tokens

    def get_chat_template(self, chat_template: str, tools: object = None) -> str:
        return chat_template

    def apply_chat_template(self, conversation, tools=None, chat_template=None, tokenize=False, **more):
        rendered, _ = render_jinja_template([conversation], tools=tools, chat_template=chat_template, **{**self._special_tokens, **more})
        return rendered[0]


class AnyTokenizer:
    """For parsers that read text alone."""

    def get_vocab(self) -> dict[str, int]:
        return {}


def rendered(case: dict) -> dict:
    request = ChatCompletionRequest.model_validate({"model": "base", **case["body"]})
    params = request.build_chat_params(case["template"], case["format"])
    tools = [tool.model_dump() for tool in request.tools] if request.tools is not None else None
    conversation, _, _ = parse_chat_messages(request.messages, CONFIG, content_format=case["format"])
    variables = dict(params.get_apply_chat_template_kwargs())
    variables.pop("tools", None)
    text = hf.safe_apply_chat_template(
        CONFIG, Tokenizer(case["special_tokens"]), conversation, **{**variables, "tools": tools, "tokenize": False}
    )
    return {"text": text}


def read(case: dict) -> dict:
    parser = ToolParserManager.get_tool_parser(case["parser"])(AnyTokenizer())
    request = ChatCompletionRequest.model_validate({"model": "base", "messages": [{"role": "user", "content": "x"}]})
    found = parser.extract_tool_calls(case["text"], request)
    return {"calls": [[one.function.name, one.function.arguments] for one in found.tool_calls], "content": found.content}


for line in sys.stdin:
    case = json.loads(line)
    try:
        answer = read(case) if "parser" in case else rendered(case)
    except Exception as error:  # noqa: BLE001  whatever vLLM refuses
        answer = {"refused": f"{type(error).__name__}: {error}"[:300]}
    print(json.dumps(answer), flush=True)
