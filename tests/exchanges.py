"""Exchanges for tests: a text asked and a text answered, or an ``Inference``'s fields in short form."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from flywheel.traffic.attempt_outcome import outcome_of
from flywheel.traffic.exchange import CUT, Exchange, text_exchange
from flywheel.traffic.inference import Attempt
from flywheel.traffic.message import Message

CALL = {"id": "call-1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}
REQUEST: dict[str, Any] = {
    "messages": [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Weather?"}, {"type": "image_url", "image_url": {"url": "https://x/y.png"}}]},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "content": '{"degrees": 4}', "tool_call_id": "call-1"},
        {"role": "user", "content": "And tomorrow?", "name": "ann"},
    ],
    "tools": [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}],
    "tool_choice": "auto",
    "temperature": 0.2,
    "response_format": {"type": "json_object"},
    "an_unknown_field": {"a": [1, None, True]},
}
"""A request as applications send it: roles, parts, a call and its result, tools, settings."""


def chat(asked: str | Sequence[Message] = "hello", answer: str | None = "hi", *, finish_reason: str | None = "stop") -> Exchange:
    """One question of the user, or these messages, and the answer; None: the attempt failed."""
    messages = (Message(role="user", content=asked),) if isinstance(asked, str) else tuple(asked)
    found = text_exchange([("user", "")], answer, finish_reason=finish_reason, text_only=False)
    return replace(found, prompt=replace(found.prompt, messages=messages))


def with_exchange(values: Mapping[str, Any]) -> dict[str, Any]:
    """``messages``, ``answer``, ``finish_reason``, token counts and ``truncated`` become ``exchange``; ``status``, ``outcome`` (the
    status's, unless it is given), ``error``, ``latency_ms`` and ``attempt`` (its number) become ``attempt``; the rest stays."""
    rest = dict(values)
    found = chat(rest.pop("messages", "hello"), rest.pop("answer", None), finish_reason=rest.pop("finish_reason", None))
    usage = {"prompt_tokens": rest.pop("prompt_tokens", None), "completion_tokens": rest.pop("answer_tokens", None)}
    kept = {name: count for name, count in usage.items() if count is not None}
    exchange = replace(found, usage=kept, left_out=CUT if rest.pop("truncated", False) else ())
    status = rest.pop("status")
    attempt = Attempt(
        number=rest.pop("attempt", 1),
        status=status,
        outcome=rest.pop("outcome", None) or outcome_of(status),
        error=rest.pop("error"),
        latency_ms=rest.pop("latency_ms"),
    )
    return {"exchange": exchange, "attempt": attempt} | rest
