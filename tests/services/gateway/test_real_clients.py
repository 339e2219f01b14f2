"""Clients as applications have them, unmodified: OpenAI's for Python and for Node, and LiteLLM before the gateway and behind it.

Each calls a gateway before the stand-in that passes vLLM's contract. LiteLLM runs as a proxy.
"""

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from services.gateway import error_responses
from tests.clients.driven import Client, node_command, python_command, running_client, running_litellm
from tests.clients.installed import node_client, python_clients
from tests.fakes.vllm_server import FakeVllm
from tests.services.gateway.running_gateway import LIVE, NEW, GatewayThread, Running

ALIAS = "router-alias"
HI = [{"role": "user", "content": "hi"}]
TOOLS = [
    {"type": "function", "function": {"name": "track", "parameters": {"type": "object", "properties": {"order": {"type": "integer"}}}}}
]
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
LONG = "word " * 200


def said(model: str, messages: Any) -> Any:
    """By the last message: a text, a call, two calls, a form, or a failure."""
    last = messages[-1]
    text = last["content"] if isinstance(last["content"], str) else next(part["text"] for part in last["content"] if part["type"] == "text")
    calls = [
        {"id": f"call-{order}", "type": "function", "function": {"name": "track", "arguments": json.dumps({"order": order})}}
        for order in (7, 8)
    ]
    match text:
        case "call":
            return {"content": None, "tool_calls": calls[:1]}
        case "calls":
            return {"content": None, "tool_calls": calls}
        case "form":
            return '{"team": "billing", "urgent": true}'
        case "fail":
            return {"content": "x", "fails": True}
        case "long":
            return LONG
        case _ if last["role"] == "tool":
            return f"it is at {text}"
        case _:
            return f"{model} says {text}"


@dataclass
class Way:
    """One way from a client to the model server."""

    name: str
    client: Client
    gateway: Running
    vllm: FakeVllm

    def noted(self) -> Any:
        """The one attempt that was handed over for the record."""
        (attempt,) = self.attempts(1)
        return attempt

    def attempts(self, count: int) -> Any:
        return self.gateway.noted.waited_for(count)


@pytest.fixture(scope="module")
def vllm() -> Iterator[FakeVllm]:
    with FakeVllm(answers=said, embeds=True) as server:
        yield server


@pytest.fixture(scope="module")
def gateway(vllm: FakeVllm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with GatewayThread(tmp_path_factory.mktemp("gateway"), vllm.url, LIVE) as running:
        yield running


@pytest.fixture(scope="module", autouse=True)
def litellm(gateway: Running, vllm: FakeVllm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], str]]:
    """Starts while the other clients are tested. One proxy for both ways: its alias leads to the gateway, all else to the model server."""
    models = {
        ALIAS: {"model": f"openai/{ALIAS}", "api_base": f"{gateway.url}/v1", "api_key": "app"},
        **{name: {"model": f"openai/{name}", "api_base": f"{vllm.url}/v1", "api_key": "none"} for name in ("base", NEW)},
    }
    with running_litellm(python_clients(), tmp_path_factory.mktemp("litellm"), models=models, key="sk-test") as proxy:
        yield proxy


@pytest.fixture(scope="module")
def gateway_before_litellm(litellm: Callable[[], str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with GatewayThread(tmp_path_factory.mktemp("behind"), litellm(), LIVE, key="sk-test") as running:
        yield running


@pytest.fixture(scope="module")
def python(gateway: Running) -> Iterator[Client]:
    with running_client(python_command(python_clients()), url=gateway.url) as client:
        yield client


@pytest.fixture(scope="module")
def node(gateway: Running) -> Iterator[Client]:
    with running_client(node_command(node_client()), url=gateway.url) as client:
        yield client


@pytest.fixture(scope="module", params=["python", "node", "litellm-before", "litellm-behind"])
def way_name(request: pytest.FixtureRequest) -> str:
    """Of the module, so that pytest runs all tests of one way before the next."""
    name: str = request.param
    return name


@pytest.fixture
def way(way_name: str, request: pytest.FixtureRequest, vllm: FakeVllm) -> Way:
    client: Client = request.getfixturevalue("node" if way_name == "node" else "python")
    gateway: Running = request.getfixturevalue("gateway_before_litellm" if way_name == "litellm-behind" else "gateway")
    client.url, client.key = gateway.url, "app"
    if way_name == "litellm-before":
        client.url, client.key = request.getfixturevalue("litellm")(), "sk-test"
    vllm.requests.clear()
    vllm.failing.clear()
    vllm.adapters[NEW] = "/x"
    vllm.pause = 0.0
    gateway.noted.attempts.clear()
    return Way(way_name, client, gateway, vllm)


def test_models_are_listed_and_retrieved(way: Way) -> None:
    told = way.client.does("models", model=ALIAS)
    assert told["retrieved"] == ALIAS
    assert ALIAS in told["listed"]


def test_an_answer_comes_under_the_alias_and_is_recorded_as_sent(way: Way) -> None:
    told = way.client.does("chat", model=ALIAS, messages=HI, more={"temperature": 0.5, "safety_identifier": "s1"})
    noted = way.noted()
    assert (told["text"], told["model"], told["finish_reason"], told["tokens"]) == (f"{NEW} says hi", ALIAS, "stop", 13)
    assert (noted.body, noted.session, noted.request_id) == (
        {"messages": HI, "temperature": 0.5, "safety_identifier": "s1"},
        "s1",
        told["request"],
    )


def test_session_and_dimensions_come_in_headers(way: Way) -> None:
    way.client.does("chat", model=ALIAS, messages=HI, headers={"X-Flywheel-Session": "h1", "X-Flywheel-Dim-Tenant": "acme"})
    assert (way.noted().session, way.noted().dimensions) == ("h1", {"tenant": "acme"})


@pytest.mark.parametrize("asks", [False, True])
def test_a_stream_comes_under_the_alias_with_usage_if_asked(way: Way, asks: bool) -> None:
    more = {"stream_options": {"include_usage": True}} if asks else {}
    told = way.client.does("stream", model=ALIAS, messages=HI, more=more)
    assert (told["text"], told["models"], told["finish_reason"], told["usages"]) == (f"{NEW} says hi", [ALIAS], "stop", int(asks))
    reply = way.noted().reply
    assert (reply.status, reply.response["choices"][0]["message"]["content"]) == (200, f"{NEW} says hi")
    assert reply.response["usage"]["total_tokens"] == 13


@pytest.mark.parametrize("deed", ["chat", "stream"])
def test_parallel_tool_calls_arrive_and_are_recorded(way: Way, deed: str) -> None:
    told = way.client.does(deed, model=ALIAS, messages=[{"role": "user", "content": "calls"}], more={"tools": TOOLS})
    expected = [["track", '{"order": 7}'], ["track", '{"order": 8}']]
    noted = way.noted()
    calls = noted.reply.response["choices"][0]["message"]["tool_calls"]
    assert (told["calls"], told["finish_reason"], noted.body["tools"]) == (expected, "tool_calls", TOOLS)
    assert [[call["function"]["name"], call["function"]["arguments"]] for call in calls] == expected


def test_the_results_of_tools_are_answered(way: Way) -> None:
    told = way.client.does("tool_round", model=ALIAS, messages=[{"role": "user", "content": "calls"}])
    _, second = way.attempts(2)
    assert (told["calls"], told["text"].replace(" ", "")) == (2, 'itisat{"at":8}')
    user, assistant, *results = second.body["messages"]
    assert (user["role"], [call["id"] for call in assistant["tool_calls"]]) == ("user", ["call-7", "call-8"])
    assert [(result["role"], result["tool_call_id"]) for result in results] == [("tool", "call-7"), ("tool", "call-8")]


def test_structured_outputs_are_parsed_by_the_client(way: Way) -> None:
    assert way.client.does("parse", model=ALIAS, messages=[{"role": "user", "content": "form"}]) == {"team": "billing", "urgent": True}
    wanted = way.noted().body["response_format"]
    assert (wanted["type"], sorted(wanted["json_schema"]["schema"]["properties"])) == ("json_schema", ["team", "urgent"])


@pytest.mark.parametrize("size", [1, 3_000_000])
def test_a_picture_reaches_the_model_as_it_was_sent(way: Way, size: int) -> None:
    picture = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{'iVBORw0K' * (1 + size // 8)}"}}
    messages = [{"role": "user", "content": [{"type": "text", "text": "hi"}, picture]}]
    assert way.client.does("chat", model=ALIAS, messages=messages)["text"] == f"{NEW} says hi"
    assert way.vllm.requests[-1]["messages"] == way.noted().body["messages"] == messages


def test_embeddings_come_in_both_encodings(way: Way) -> None:
    told = way.client.does("embeddings", model=ALIAS, inputs=["a", "b"])
    assert told == {"vectors": 2 * [[0.5, -0.5, 0.25]], "same": 2 * [[0.5, -0.5, 0.25]], "model": ALIAS}
    assert (way.gateway.noted.attempts, {body["model"] for body in way.vllm.requests}) == ([], {NEW})


def test_responses_are_passed_on_under_the_alias(way: Way) -> None:
    told = way.client.does("responses", model=ALIAS, text="hi")
    text = f"{NEW} says hi"
    assert told == {"text": text, "model": ALIAS, "streamed": text, "last": ["response.completed", ALIAS]}
    assert way.gateway.noted.attempts == []


def test_completions_are_passed_on_under_the_alias(way: Way) -> None:
    text = f"{NEW} says hi"
    assert way.client.does("completions", model=ALIAS, text="hi") == {"text": text, "model": ALIAS, "streamed": text}
    assert way.gateway.noted.attempts == []


def test_a_sound_is_passed_on(way: Way) -> None:
    assert way.client.does("transcription", model=ALIAS, sound="00ff")["text"].startswith("2 bytes of audio/")
    assert way.vllm.requests[-1]["model"] == NEW


@pytest.mark.parametrize(("status", "kind"), [(400, "BadRequestError"), (429, "RateLimitError"), (500, "InternalServerError")])
@pytest.mark.parametrize("deed", ["chat", "stream"])
def test_errors_are_the_clients_own_exceptions(way: Way, deed: str, status: int, kind: str) -> None:
    way.vllm.failing[NEW] = (status, "the reason")
    raised = way.client.raises(deed, model=ALIAS, messages=HI)
    assert (raised["kind"], raised["status"], "the reason" in raised["message"]) == (kind, status, True)
    assert way.noted().reply.status == status


def test_a_stream_that_fails_raises(way: Way) -> None:
    raised = way.client.raises("stream", model=ALIAS, messages=[{"role": "user", "content": "fail"}])
    assert (raised["kind"], raised["status"], "engine is tired" in raised["message"]) == ("InternalServerError", 500, True)
    assert way.noted().reply.status == 500


@pytest.mark.parametrize("name", ["python", "node"])
def test_an_unknown_model_and_an_unknown_token_are_named(name: str, request: pytest.FixtureRequest, gateway: Running) -> None:
    client: Client = request.getfixturevalue(name)
    client.url, client.key = gateway.url, "app"
    raised = client.raises("chat", model="gpt-4o", messages=HI)
    assert (raised["kind"], raised["code"], raised["type"]) == ("NotFoundError", "model_not_found", "invalid_request_error")
    client.key = "nobody"
    raised = client.raises("models", model=ALIAS)
    assert (raised["kind"], raised["code"]) == ("AuthenticationError", "invalid_api_key")


def test_a_client_waits_until_the_champion_is_loaded_again(way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(error_responses, "RETRY_AFTER_SECONDS", 1)
    way.vllm.restart_empty()
    loaded = threading.Thread(target=lambda: way.attempts(1) and way.vllm.adapters.update({NEW: "/x"}))
    loaded.start()
    assert way.client.does("chat", model=ALIAS, messages=HI, retries=4)["text"] == f"{NEW} says hi"
    loaded.join()
    *missing, last = [attempt.reply.status for attempt in way.gateway.noted.attempts]
    assert (set(missing), last) == ({404}, 200)


def test_a_user_who_presses_stop_frees_the_model_server(way: Way) -> None:
    way.vllm.pause = 0.05
    told = way.client.does("stream", model=ALIAS, messages=[{"role": "user", "content": "long"}], stop_after=3)
    assert 0 < len(told["text"]) < len(LONG)
    reply = way.noted().reply
    assert (reply.status, reply.error) == (499, "client_closed")
    assert 0 < len(reply.response["choices"][0]["message"]["content"]) < len(LONG)
