"""The script of a day: what each client asks, what answers it, and how it ends. Values only; ``day_of_clients`` runs it.

A real vLLM answers, by default. A stub that passes vLLM's contract answers what the small model cannot be brought to say: parallel calls,
pictures, refusals. Faults strike real answers on their way back to the gateway.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from tests.chats import CHATS
from tests.clients.recording_proxy import UpstreamFault

ALIAS = "router-alias"
SYSTEM_PROMPT, DEFAULTS, CAPS = "Answer in one word.", {"temperature": 0.0, "max_tokens": 6}, {"max_tokens": 200, "n": 2}
PERSONAL = ("ana.lopez@example.com", "+49 30 901820-17", "+1 212-555-0147", "4111 1111 1111 1111", "DE89 3704 0044 0532 0130 00")
MAIL, PHONE, OTHER_PHONE, CARD, IBAN = PERSONAL


class Answerer(StrEnum):
    """What stands behind the gateway for one request."""

    VLLM = "vllm"
    STUB = "stub"
    LITELLM = "litellm"  # LiteLLM's proxy, and the real vLLM behind it


@dataclass(frozen=True, kw_only=True)
class Deed:
    """One thing that a client does. ``does`` and ``arguments``: of ``openai_client``. ``fails``: the name of what the client raises."""

    name: str
    client: str  # python, node, or litellm: Python's client before LiteLLM's proxy
    does: str = "chat"
    arguments: Mapping[str, Any] = field(default_factory=dict)
    answerer: Answerer = Answerer.VLLM
    fault: UpstreamFault | None = None
    outcome: str = "ok"
    status: int = 200
    fails: str | None = None
    error: str = ""  # a part of the recorded error
    personal: bool = False  # some texts hold personal data
    leaves_out: tuple[str, ...] = ()

    @property
    def streams(self) -> bool:
        return self.does == "stream"


Message = dict[str, Any]


def user(content: Any, **more: Any) -> Message:
    return {"role": "user", "content": content, **more}


def function(name: str, order: Sequence[Any] = (7,), **parameters: Any) -> dict[str, Any]:
    """A tool whose call the real model cannot get wrong, where it is forced to call it."""
    schema = {"type": "object", "properties": {"order": {"enum": list(order)}, **parameters}, "required": ["order"]}
    return {
        "type": "function",
        "function": {
            "name": name,
            "description": "Where an order is",
            "strict": True,
            "parameters": schema | {"additionalProperties": False},
        },
    }


TRACK, CANCEL = function("track"), function("cancel")
FORCED = {"type": "function", "function": {"name": "track"}}
FORM = {
    "type": "json_schema",
    "json_schema": {
        "name": "route",
        "strict": True,
        "schema": {"type": "object", "properties": {"team": {"enum": ["billing"]}}, "required": ["team"], "additionalProperties": False},
    },
}
PNG = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


def call(name: str, arguments: str, number: int) -> dict[str, Any]:
    return {"id": f"call-{number}", "type": "function", "function": {"name": name, "arguments": arguments}}


STUB_ANSWERS: Mapping[str, str | Mapping[str, Any]] = {
    "two calls": {"content": None, "tool_calls": [call("track", '{"order": 7}', 1), call("track", '{"order": 8}', 2)]},
    "a call beside blanks": {"content": "\n\n", "tool_calls": [call("track", '{"order": 7}', 1)]},
    "a call without arguments": {"content": None, "tool_calls": [call("ping", "", 1)]},
    "a call that is cut": {"content": None, "tool_calls": [call("track", '{"city": "Bos', 1)], "finish_reason": "length"},
    "reasoning": {"content": "White.", "reasoning": "Snow reflects all light."},
    "refusal": {"content": None, "refusal": "I will not."},
    "picture": "A grey pixel.",
    "queue": "You are caller # in the queue.",
    "engine": {"content": "x", "fails": True},
    "who": f"Write to {MAIL}, or call {PHONE} after nine.",
    "book": {"content": None, "tool_calls": [call("book", json.dumps({"mail": MAIL, "phone": OTHER_PHONE, "seats": 4155550134}), 1)]},
}
"""By the text of the last message."""


def stub_answer(model: str, messages: Sequence[Mapping[str, Any]]) -> str | Mapping[str, Any]:
    content = messages[-1]["content"]
    text = content if isinstance(content, str) else next(part["text"] for part in content if part["type"] == "text")
    return STUB_ANSWERS[text.split(":")[0]]


def asks(*messages: Message, headers: Mapping[str, str] | None = None, stop_after: int | None = None, **more: Any) -> dict[str, Any]:
    """The arguments of a deed."""
    found: dict[str, Any] = {"messages": list(messages), "more": more}
    if headers:
        found["headers"] = dict(headers)
    if stop_after is not None:
        found["stop_after"] = stop_after
    return found


SNOW = user("What colour is snow?")
TURNS = (user("Hi"), {"role": "assistant", "content": "Hello."}, user("What colour is snow?"))
CALLED = {"role": "assistant", "content": None, "tool_calls": [call("track", '{"order":7}', 1), call("cancel", "", 2)]}
RESULTS = (
    {"role": "tool", "tool_call_id": "call-1", "content": '{"at": "Oslo"}'},
    {"role": "tool", "tool_call_id": "call-2", "content": ""},
)
PARTS = user([{"type": "text", "text": "What colour"}, {"type": "text", "text": "is snow?"}])
PICTURE = user([{"type": "text", "text": "picture"}, {"type": "image_url", "image_url": {"url": PNG}}])
USAGE = {"stream_options": {"include_usage": True}}
LONG = user("Tell me a long story about the sea.")


def of_every_client(client: str) -> Iterator[Deed]:
    """What Python's client, Node's client and an application before LiteLLM all do."""

    def deed(name: str, arguments: Mapping[str, Any], does: str = "chat", **more: Any) -> Deed:
        return Deed(name=f"{client}: {name}", client=client, does=does, arguments=arguments, **more)

    own_id = {"X-Request-ID": f"ticket-{client}-1", "X-Flywheel-Session": f"{client} session", "X-Flywheel-Dim-Tenant": "acme"}
    yield deed("plain", asks(SNOW, headers=own_id))
    yield deed("plain, streamed", asks(SNOW), "stream")
    yield deed("usage asked for", asks(SNOW, **USAGE), "stream")
    yield deed("system", asks({"role": "system", "content": "Be brief."}, SNOW, max_tokens=3, temperature=0.5, seed=7))
    yield deed("developer", asks({"role": "developer", "content": "Be brief."}, SNOW), "stream")
    yield deed("several turns", asks(*TURNS, safety_identifier=f"{client}-user"))
    yield deed("parts", asks(PARTS))
    yield deed("two answers", asks(SNOW, n=2, temperature=0.9, logprobs=True, top_logprobs=2, stop=["zzz"]))
    yield deed("more than the cap", asks(SNOW, max_tokens=100_000, stop=["a"]))
    yield deed("forced call", asks(SNOW, tools=[TRACK], tool_choice=FORCED, max_tokens=60))
    yield deed("forced call, streamed", asks(SNOW, tools=[TRACK], tool_choice="required", max_tokens=60), "stream")
    yield deed("tool round", asks(SNOW, tools=[TRACK, CANCEL], tool_choice=FORCED, max_tokens=60), "tool_round")
    yield deed("tool results", asks(SNOW, CALLED, *RESULTS, user("Thanks"), tools=[TRACK, CANCEL]), "stream")
    yield deed("structured", asks(SNOW, response_format=FORM, max_tokens=60))
    yield deed("two calls", asks(user("two calls"), tools=[TRACK]), answerer=Answerer.STUB)
    yield deed("two calls, streamed", asks(user("two calls"), tools=[TRACK]), "stream", answerer=Answerer.STUB)
    yield deed("picture", asks(PICTURE), answerer=Answerer.STUB, leaves_out=("request.messages[1].content[1].image_url.url",))
    yield deed("abort", asks(LONG, stop_after=3, max_tokens=200), "stream", outcome="client_aborted", status=499, error="client_closed")
    bad = {"outcome": "client_error", "status": 400, "fails": "BadRequestError"}
    yield deed("bad setting", asks(SNOW, top_p=7), error="top_p", **bad)
    yield deed("huge prompt", asks(user("Snow. " * 30_000)), "stream", error="maximum context length", **bad)
    told = {"error": {"message": "slow down", "type": "rate_limit_error", "param": None, "code": "rate"}}
    throttled = UpstreamFault(status=429, content=json.dumps(told).encode())
    yield deed("throttled", asks(SNOW), fault=throttled, outcome="throttled", status=429, fails="RateLimitError", error="slow down")
    broken = {"outcome": "model_error", "status": 502}
    cut = UpstreamFault(after_events=4)
    yield deed("half a stream", asks(LONG), "stream", fault=cut, fails="APIError", error="ended the stream", **broken)


def of_one_client() -> Iterator[Deed]:
    """What needs no second client."""
    python, stub = {"client": "python"}, {"answerer": Answerer.STUB}
    reset = UpstreamFault(after_events=4, resets=True)
    yield Deed(
        name="a stream that breaks off",
        does="stream",
        arguments=asks(LONG),
        fault=reset,
        outcome="model_error",
        status=502,
        fails="APIError",
        error="broke off",
        **python,
    )
    unfinished = UpstreamFault(before=b"data: [DONE]")
    yield Deed(name="a stream without its last line", does="stream", arguments=asks(SNOW), fault=unfinished, **python)
    gives_up = asks(SNOW, timeout=4, headers={"X-Request-ID": "gave-up"})
    aborted = {"outcome": "client_aborted", "status": 499, "fails": "APITimeoutError", "error": "client_closed"}
    yield Deed(name="a client that gives up", arguments=gives_up, fault=UpstreamFault(hangs=True), **aborted, **python)
    page = UpstreamFault(status=500, content=b"<html><head><title>500</title></head><body>The engine is tired.</body></html>")
    failed = {"outcome": "model_error", "fails": "InternalServerError"}
    yield Deed(name="an error page", arguments=asks(SNOW), fault=page, status=500, error="engine is tired", **failed, **python)
    dies = UpstreamFault(after_events=0)
    yield Deed(name="no answer", arguments=asks(SNOW), fault=dies, status=0, error="did not answer", **failed, **python)
    yield Deed(name="engine error", does="stream", arguments=asks(user("engine")), status=500, error="tired", **failed, **stub, **python)
    for text in ("a call beside blanks", "a call without arguments", "a call that is cut", "reasoning"):
        for does in ("chat", "stream"):
            yield Deed(name=f"{text}, {does}", does=does, arguments=asks(user(text)), client="node", **stub)
    parts = [{"type": "text", "text": "picture"}, {"type": "input_audio", "input_audio": {"data": 30 * "UklGRg==", "format": "wav"}}]
    sound = {"leaves_out": ("request.messages[1].content[1].input_audio.data",)}
    yield Deed(name="sound", arguments=asks(user(parts)), **sound, **stub, **python)
    large = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{400_000 * 'iVBORw0K'}"}}
    picture = {"leaves_out": ("request.messages[1].content[1].image_url.url",)}
    yield Deed(name="a picture of 3 MB", arguments=asks(user([parts[0], large])), client="node", **picture, **stub)
    text = {"leaves_out": ("request.messages[1].content",), "outcome": "client_error", "status": 400, "fails": "BadRequestError"}
    yield Deed(name="a prompt over 1 MB", arguments=asks(user("Snow. " * 200_000)), error="maximum context length", **text, **python)
    yield Deed(name="refusal", arguments=asks(user("refusal")), client="node", **stub)
    yield Deed(name="queue", arguments=asks(user("queue"), headers={"X-Request-ID": "queue-1"}), **stub, **python)
    yield Deed(name="unknown fields", arguments=asks(SNOW, extra_body={"an_unknown": {"a": [1, None]}, "min_p": 0.1}), **python)
    forced = asks(SNOW, tools=[TRACK], tool_choice=FORCED, max_tokens=60)
    for does in ("chat", "stream"):
        yield Deed(name=f"LiteLLM behind the gateway, {does}", does=does, arguments=forced, answerer=Answerer.LITELLM, client="node")


def of_every_kind() -> Iterator[Deed]:
    """Fifty requests, with one token of an answer each, half of them streamed."""
    for number, body in enumerate(CHATS):
        client, does = ("python", "node")[number % 2], ("chat", "stream")[number // 2 % 2]
        more = {name: value for name, value in body.items() if name != "messages"}
        if client == "python" and "chat_template_kwargs" in more:  # vLLM's own: Python's client has no such argument
            more["extra_body"] = {"chat_template_kwargs": more.pop("chat_template_kwargs")}
        yield Deed(name=f"kind {number}", client=client, does=does, arguments=asks(*body["messages"], max_tokens=1, **more))


def with_personal_data() -> Iterator[Deed]:
    """Every place that a text of a request or an answer can have."""
    python = {"client": "python", "personal": True}
    system = {"role": "system", "content": f"The desk: {PHONE}. Never give {CARD} away."}
    booked = call("book", json.dumps({"mail": MAIL, "phone": OTHER_PHONE}), 1)
    conversation = asks(
        system,
        user(f"I am Ana Lopez, {MAIL}", name="ana"),
        {"role": "assistant", "content": f"Thanks, {MAIL}.", "tool_calls": [booked]},
        {"role": "tool", "tool_call_id": "call-1", "content": json.dumps({"iban": IBAN, "seats": 2})},
        user([{"type": "text", "text": f"Call {OTHER_PHONE}"}, {"type": "text", "text": "now."}]),
        user=MAIL,
        metadata={"owner": MAIL},
        headers={"X-Flywheel-Dim-Customer": MAIL, "X-Request-ID": "personal-1"},
    )
    yield Deed(name="personal data in a conversation", arguments=conversation, **python)
    yield Deed(
        name="personal data in a tool", arguments=asks(user("two calls"), tools=[{**TRACK, "x": MAIL}]), answerer=Answerer.STUB, **python
    )
    for does in ("chat", "stream"):
        yield Deed(name=f"personal data in an answer, {does}", does=does, arguments=asks(user("who")), answerer=Answerer.STUB, **python)
        yield Deed(name=f"personal data in a call, {does}", does=does, arguments=asks(user("book")), answerer=Answerer.STUB, **python)
    schema = {"type": "object", "properties": {"mail": {"const": MAIL}}, "required": ["mail"], "additionalProperties": False}
    form = {"type": "json_schema", "json_schema": {"name": "mail", "strict": True, "schema": schema}}
    forced = asks(SNOW, response_format=form, max_tokens=80)
    yield Deed(name="personal data that vLLM writes", does="stream", arguments=forced, **python)


SCRIPT: Sequence[Deed] = (
    *of_every_client("python"),
    *of_every_client("node"),
    *of_every_client("litellm"),
    *of_one_client(),
    *of_every_kind(),
    *with_personal_data(),
)
