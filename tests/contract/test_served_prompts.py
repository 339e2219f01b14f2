"""What is trained is what is served: the tokens of training prompts against those that a real vLLM used, and forced tool calls."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from flywheel.traffic.exchange import exchange_from_wire
from flywheel.traffic.task_prompt import task_prompt
from flywheel.training_set.example import CORRECTION, Example
from flywheel.training_set.token_rows import token_rows
from services.integrations.vllm.chat_template import ServedTemplate, TemplateOrigin, served_template
from services.integrations.vllm.tokenizer_file import read_encoder
from services.integrations.vllm.training_text import training_row
from tests.chats import CHATS, TOOLS, user, with_tools
from tests.served_vllm import base_model

pytestmark = pytest.mark.serving
NOW = datetime(2026, 1, 1, tzinfo=UTC)
AT_A_TIME = 10


def asked(url: str, body: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    whole = {"model": "base", "max_tokens": 1, "temperature": 0, **body, **more}
    answer = httpx.post(f"{url}/v1/chat/completions", json=whole, timeout=300)
    assert answer.status_code == 200, (body, answer.text)
    found: dict[str, Any] = answer.json()
    return found


def trained_prompt(template: ServedTemplate, model: Path, body: Mapping[str, Any], response: Mapping[str, Any]) -> tuple[int, ...]:
    """As a recorded exchange becomes a training row."""
    exchange = exchange_from_wire(dict(body), dict(response), where="$")
    prompt = task_prompt(exchange.prompt)
    example = Example(
        id="x",
        messages=prompt.messages,
        tools=prompt.tools,
        settings=prompt.settings,
        completion="White.",
        entity="e",
        source=CORRECTION,
    )
    render = partial(training_row, template.template, now=NOW)
    found = token_rows([example], render=render, encode=read_encoder(model), max_length=10_000)
    assert found.left_out == {}, found.told
    return found.rows[0].prompt_ids


@pytest.mark.parametrize("origin", [TemplateOrigin.OWN_WITH_TOOLS, TemplateOrigin.CHOSEN])
def test_the_tokens_of_fifty_training_prompts_are_those_that_vllm_used(real_vllm: str, origin: TemplateOrigin) -> None:
    """CHOSEN: the model's own template without an addition of ours, named in each request."""
    model = base_model()
    own = model / "chat_template.jinja"
    template = served_template(model=model, chosen=own if origin is TemplateOrigin.CHOSEN else None)
    assert template.origin is origin
    more = {"chat_template": own.read_text()} if origin is TemplateOrigin.CHOSEN else {}
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        responses = list(pool.map(lambda body: asked(real_vllm, body, return_token_ids=True, **more), CHATS))
    trained = [trained_prompt(template, model, body, response) for body, response in zip(CHATS, responses, strict=True)]
    assert [list(one) for one in trained] == [response["prompt_token_ids"] for response in responses]
    assert len(CHATS) == 50
    tools = {tuple(tokens) for body, tokens in zip(CHATS, trained, strict=True) if body.get("tools") == TOOLS}
    assert len(tools) > 5  # with our template tools, calls and results change the prompt; with the model's own the history does


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "get_weather"}}])
def test_a_call_forced_by_tool_choice_comes_as_one_call_and_is_recorded_as_one(real_vllm: str, choice: object) -> None:
    body = with_tools(user("Weather in Oslo?"), tool_choice=choice, max_tokens=120)
    body["tools"] = [{**TOOLS[0], "function": {**TOOLS[0]["function"], "strict": True}}]
    response = asked(real_vllm, body)
    answer = exchange_from_wire(body, response, where="$").answer
    assert answer is not None
    assert [call.name for call in answer.tool_calls] == ["get_weather"], response
    assert not answer.has_broken_call
    assert answer.text.startswith('{"tool": "get_weather", "arguments": {')


def test_a_request_with_tools_and_no_choice_is_answered(real_vllm: str) -> None:
    assert asked(real_vllm, with_tools(user("Weather in Oslo?")), max_tokens=8)["choices"][0]["finish_reason"] in ("length", "stop")
