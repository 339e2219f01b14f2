"""Asking a server: order, patience, and what is kept."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import pytest

from flywheel.ids import BASE, AdapterName
from flywheel.traffic.exchange import Prompt
from flywheel.traffic.message import Message, ToolCall
from services.cli.demo.stage_clock import TookTooLong, wait_for
from services.integrations.openai import answers as openai_answers
from services.integrations.openai.answers import OpenAiAnswers
from services.ports.gate import Answer
from tests.fakes.vllm_server import FakeVllm

PROMPTS = [Prompt(messages=(Message(role="user", content=f"question {n}"),)) for n in range(20)]
TOOLS = ({"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}},)
ADAPTER = AdapterName("router-1")


class KeptAnswers:
    """The part of a gate ledger that answers need."""

    def __init__(self) -> None:
        self.kept: dict[str, Answer] = {}

    def cached_answers(self, keys: Sequence[str]) -> Mapping[str, Answer]:
        return {key: self.kept[key] for key in keys if key in self.kept}

    def cache_answers(self, answers: Mapping[str, Answer]) -> None:
        self.kept.update(answers)


@pytest.fixture
def vllm(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeVllm]:
    monkeypatch.setattr(openai_answers, "FIRST_WAIT_SECONDS", 0.0)
    with FakeVllm(answers=lambda model, messages: f"{model}: {messages[-1]['content']}", adapters={ADAPTER: "/a"}) as server:
        yield server


def asking(vllm: FakeVllm, cache: KeptAnswers, *, base: str = "base-1") -> OpenAiAnswers:
    return OpenAiAnswers(vllm.url, cache=cache, base_identity=lambda: base)  # type: ignore[arg-type]


def test_answers_come_in_the_order_of_the_prompts(vllm: FakeVllm) -> None:
    answers = asking(vllm, KeptAnswers()).ask(ADAPTER, PROMPTS, max_tokens=16, concurrency=8)
    assert [answer.text for answer in answers] == [f"{ADAPTER}: question {n}" for n in range(20)]
    assert {body["temperature"] for body in vllm.requests} == {0}


def test_a_case_is_asked_as_its_request_was_served_without_the_client_s_sampling(vllm: FakeVllm) -> None:
    called = Message(role="assistant", tool_calls=(ToolCall(id="call1", name="add", arguments='{"a": 1}'),))
    messages = (*PROMPTS[0].messages, called, Message(role="tool", content="2", tool_call_id="call1"))
    settings = {"tool_choice": "required", "response_format": {"type": "text"}, "temperature": 1.5, "user": "anna", "n": 2, "max_tokens": 9}
    vllm.answers = lambda model, asked: "fine"
    asking(vllm, KeptAnswers()).ask(ADAPTER, [Prompt(messages=messages, tools=TOOLS, settings=settings)], max_tokens=16, concurrency=1)
    (body,) = vllm.requests
    assert body == {
        "model": ADAPTER,
        "messages": [
            {"role": "user", "content": "question 0"},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": "call1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}],
            },
            {"role": "tool", "content": "2", "tool_call_id": "call1"},
        ],
        "tools": list(TOOLS),
        "tool_choice": "required",
        "response_format": {"type": "text"},
        "max_tokens": 16,
        "temperature": 0,
    }


def test_tool_calls_are_the_answer_and_reasoning_is_not(vllm: FakeVllm) -> None:
    def call(number: int) -> dict[str, object]:
        return {"id": f"c{number}", "type": "function", "function": {"name": "add", "arguments": f'{{"a": {number}}}'}}

    vllm.answers = lambda model, asked: {"content": "", "tool_calls": [call(1)], "reasoning": "They want a sum."}
    prompts = [Prompt(messages=PROMPTS[0].messages, tools=TOOLS), Prompt(messages=PROMPTS[1].messages, tools=TOOLS)]
    one, _ = asking(vllm, KeptAnswers()).ask(ADAPTER, prompts, max_tokens=16, concurrency=1)
    assert (one.text, one.finish_reason) == ('{"tool": "add", "arguments": {"a": 1}}', "tool_calls")
    vllm.answers = lambda model, asked: {"content": None, "tool_calls": [call(1), call(2)]}
    two, _ = asking(vllm, KeptAnswers()).ask(ADAPTER, prompts, max_tokens=16, concurrency=1)
    assert two.text == '[{"tool": "add", "arguments": {"a": 1}}, {"tool": "add", "arguments": {"a": 2}}]'
    vllm.answers = lambda model, asked: {"content": None, "reasoning": "I think and think"}
    none, _ = asking(vllm, KeptAnswers()).ask(ADAPTER, prompts, max_tokens=16, concurrency=1)
    assert (none.text, none.status) == ("", 200)


def test_other_tools_or_another_choice_are_asked_anew(vllm: FakeVllm) -> None:
    cache, plain = KeptAnswers(), PROMPTS[0]
    for prompt in (plain, replace(plain, tools=TOOLS), replace(plain, tools=TOOLS, settings={"tool_choice": "none"})):
        asking(vllm, cache).ask(ADAPTER, [prompt], max_tokens=16, concurrency=1)
    asking(vllm, cache).ask(ADAPTER, [replace(plain, settings={"temperature": 1, "seed": 3})], max_tokens=16, concurrency=1)
    assert len(vllm.requests) == 3


def test_what_was_answered_is_not_asked_again(vllm: FakeVllm) -> None:
    cache = KeptAnswers()
    first = asking(vllm, cache).ask(ADAPTER, PROMPTS, max_tokens=16, concurrency=8)
    assert asking(vllm, cache).ask(ADAPTER, PROMPTS, max_tokens=16, concurrency=8) == first
    assert len(vllm.requests) == 20


def test_another_base_another_length_or_another_concurrency_is_asked_anew(vllm: FakeVllm) -> None:
    cache = KeptAnswers()
    asking(vllm, cache).ask(BASE, PROMPTS[:1], max_tokens=16, concurrency=8)
    asking(vllm, cache, base="base-2").ask(BASE, PROMPTS[:1], max_tokens=16, concurrency=8)
    asking(vllm, cache).ask(BASE, PROMPTS[:1], max_tokens=17, concurrency=8)
    asking(vllm, cache).ask(BASE, PROMPTS[:1], max_tokens=16, concurrency=4)
    assert len(vllm.requests) == 4


def test_a_failure_is_tried_again_reported_and_never_kept(vllm: FakeVllm) -> None:
    cache = KeptAnswers()
    vllm.failing = {ADAPTER: (500, "engine is tired")}
    (answer,) = asking(vllm, cache).ask(ADAPTER, PROMPTS[:1], max_tokens=16, concurrency=1)
    assert (answer.text, answer.status) == (None, 500)
    assert "tired" in (answer.error or "")
    assert len(vllm.requests) == openai_answers.ATTEMPTS
    assert cache.kept == {}
    vllm.failing = {}
    (answer,) = asking(vllm, cache).ask(ADAPTER, PROMPTS[:1], max_tokens=16, concurrency=1)
    assert answer.status == 200


def test_an_unknown_adapter_is_not_asked_again_and_again(vllm: FakeVllm) -> None:
    (answer,) = asking(vllm, KeptAnswers()).ask(AdapterName("router-2"), PROMPTS[:1], max_tokens=16, concurrency=1)
    assert (answer.text, answer.status) == (None, 404)


def test_no_server_is_a_status_and_no_exception() -> None:
    nobody = OpenAiAnswers("http://127.0.0.1:9", cache=KeptAnswers(), base_identity=lambda: "b")  # type: ignore[arg-type]
    (answer,) = nobody.ask(ADAPTER, PROMPTS[:1], max_tokens=16, concurrency=1)
    assert (answer.text, answer.status) == (None, 0)


def test_a_gate_that_is_killed_goes_on_where_it_was(vllm: FakeVllm) -> None:
    cache = KeptAnswers()

    def killed_at_the_eighteenth(model: str, messages: list[dict[str, str]]) -> str:
        if len(cache.kept) >= 16:
            cache.cache_answers = dies  # type: ignore[method-assign]
        return "fine"

    def dies(answers: Mapping[str, Answer]) -> None:
        raise ConnectionAbortedError

    vllm.answers = killed_at_the_eighteenth  # type: ignore[assignment]
    with pytest.raises(ConnectionAbortedError):
        asking(vllm, cache).ask(ADAPTER, PROMPTS, max_tokens=16, concurrency=4)
    kept = len(cache.kept)
    assert 16 <= kept < 20
    del cache.cache_answers  # type: ignore[method-assign]
    asked = len(vllm.requests)
    vllm.answers = lambda model, messages: "fine"
    assert [one.text for one in asking(vllm, cache).ask(ADAPTER, PROMPTS, max_tokens=16, concurrency=4)] == ["fine"] * 20
    assert len(vllm.requests) - asked == 20 - kept


def test_a_wait_ends_only_when_nothing_moves() -> None:
    looks = iter(range(100))
    found = wait_for(
        lambda: "it" if next(looks) == 5 else None, what="it", seconds=0.15, alive=lambda: None, moves=looks.__length_hint__, every=0.1
    )
    assert found == "it"
    with pytest.raises(TookTooLong, match="it did not happen within 0 s"):
        wait_for(lambda: None, what="it", seconds=0.15, alive=lambda: None, every=0.1)
