"""Limits of requests through the gateway: 429 in OpenAI's form, and what counts."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from services.process.request_limits import RequestLimiter
from services.settings.sections import Limits
from tests.fakes.vllm_server import FakeVllm
from tests.services.gateway.running_gateway import CANARY, QUESTION, ROUTE, running

EMBEDDED = {"model": "router-alias", "input": "x" * 400}


@pytest.fixture
def vllm() -> Iterator[FakeVllm]:
    with FakeVllm(embeds=True) as server:
        yield server


def limiter(of: str = "workload", **limits: Any) -> RequestLimiter:
    named = {"router" if of == "workload" else "app": Limits(**limits)}
    return RequestLimiter(tokens=named if of == "token" else {}, workloads=named if of == "workload" else {})


@pytest.mark.parametrize(("of", "where"), [("token", "token app"), ("workload", "workload router")])
async def test_over_a_limit_the_answer_is_429_in_openais_form(tmp_path: Path, vllm: FakeVllm, of: str, where: str) -> None:
    async with running(tmp_path, vllm.url, ROUTE, limiter=limiter(of, requests_per_minute=2)) as gateway:
        first = [(await gateway.ask(QUESTION))[0], (await gateway.ask(EMBEDDED, path="/v1/embeddings"))[0]]
        status, body, headers = await gateway.ask(QUESTION)
        other = await gateway.ask({**QUESTION, "model": "other-alias"})
    assert (first, status, int(headers["Retry-After"])) == ([200, 200], 429, 30)
    error = body["error"]
    assert (error["type"], error["code"], error["where"]) == ("rate_limit_error", "rate_limit_exceeded", where)
    assert error["message"] == f"{where}: there were 2 requests in a minute with this {of}, which is its limit. Try again in 30 s."
    assert (other[0], len(gateway.noted.attempts)) == (429 if of == "token" else 503, 1)


@pytest.mark.parametrize("stream", [False, True])
async def test_tokens_are_those_that_the_model_server_counts(tmp_path: Path, vllm: FakeVllm, stream: bool) -> None:
    async with running(tmp_path, vllm.url, ROUTE, limiter=limiter(tokens_per_minute=10_000)) as gateway:
        await (_streamed(gateway) if stream else gateway.ask(QUESTION))
        (attempt,) = await gateway.noted.until(1)
        used = attempt.reply.response["usage"]["total_tokens"]
    async with running(tmp_path, vllm.url, ROUTE, limiter=limiter(tokens_per_minute=used)) as gateway:
        first = await (_streamed(gateway) if stream else gateway.ask(QUESTION))
        assert (first[0], (await gateway.ask(QUESTION))[0]) == (200, 429)


async def test_an_attempt_that_failed_costs_nothing(tmp_path: Path, vllm: FakeVllm) -> None:
    """The challenger is not loaded, and the champion answers."""
    async with running(tmp_path, vllm.url, CANARY, limiter=limiter(tokens_per_minute=10_000)) as gateway:
        await gateway.ask(QUESTION)
        failed, answered = await gateway.noted.until(2)
    used = answered.reply.response["usage"]["total_tokens"]
    assert failed.reply.status == 404
    async with running(tmp_path, vllm.url, CANARY, limiter=limiter(tokens_per_minute=used + 1)) as gateway:
        assert [(await gateway.ask(QUESTION))[0] for _ in range(3)] == [200, 200, 429]


async def test_where_nothing_is_counted_a_token_is_four_bytes(tmp_path: Path, vllm: FakeVllm) -> None:
    async with running(tmp_path, vllm.url, ROUTE, limiter=limiter(tokens_per_minute=100)) as gateway:
        statuses = [(await gateway.ask(EMBEDDED, path="/v1/embeddings"))[0] for _ in range(2)]
    assert statuses == [200, 429]


async def test_requests_under_way_are_limited(tmp_path: Path, vllm: FakeVllm) -> None:
    vllm.delay = 0.5
    async with running(tmp_path, vllm.url, ROUTE, limiter=limiter(in_flight=2)) as gateway:
        answers = await asyncio.gather(*(gateway.ask(QUESTION) for _ in range(5)))
        assert sorted(status for status, _, _ in answers) == [200, 200, 429, 429, 429]
        assert (await gateway.ask(QUESTION))[0] == 200


async def _streamed(gateway: Any) -> tuple[int, bytes, Any]:
    head = {"Authorization": "Bearer app"}
    async with gateway.client.post(f"{gateway.url}/v1/chat/completions", json={**QUESTION, "stream": True}, headers=head) as answer:
        return answer.status, await answer.read(), answer.headers
