"""``answered``: the last bytes of an answer wait until its exchange is on disk, and nothing else does."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.fakes.vllm_server import FakeVllm
from tests.services.gateway.running_gateway import QUESTION, ROUTE, Running, running

HEAD = {"Authorization": "Bearer app"}


@contextmanager
def held_back(gateway: Running) -> Iterator[None]:
    """Nothing gets on disk inside; afterwards all does, also when the test fails: else its gateway would never end."""
    gateway.noted.holds.clear()
    gateway.noted.asked.clear()
    try:
        yield
    finally:
        gateway.noted.holds.set()


async def test_an_answer_that_is_not_streamed_waits(tmp_path: Path) -> None:
    with FakeVllm(answers=lambda model, messages: "yes") as vllm:
        async with running(tmp_path, vllm.url, ROUTE) as gateway:
            with held_back(gateway):
                asked = asyncio.create_task(gateway.ask())
                await asyncio.wait_for(gateway.noted.asked.wait(), 60)
                assert (asked.done(), gateway.noted.attempts) == (False, [])
            status, _, _ = await asked
    assert (status, len(gateway.noted.attempts)) == (200, 1)


async def test_of_a_stream_only_the_end_waits(tmp_path: Path) -> None:
    received = bytearray()
    with FakeVllm(answers=lambda model, messages: "one two three four", pause=0.2) as vllm:  # else all may arrive as one piece, the last
        async with running(tmp_path, vllm.url, ROUTE) as gateway:
            url = f"{gateway.url}/v1/chat/completions"
            with held_back(gateway):
                async with gateway.client.post(url, json={**QUESTION, "stream": True}, headers=HEAD) as answer:
                    while b'"delta"' not in received:  # arrives although nothing is on disk
                        assert not answer.content.at_eof(), received
                        received += await answer.content.readany()
                    await asyncio.wait_for(gateway.noted.asked.wait(), 60)
                    rest = asyncio.create_task(answer.content.read())
                    assert (b"[DONE]" in received, rest.done(), gateway.noted.attempts) == (False, False, [])
                    gateway.noted.holds.set()
                    received += await rest
    assert received.endswith(b"data: [DONE]\n\n")
    (attempt,) = gateway.noted.attempts
    assert (attempt.reply.status, attempt.reply.ended) == (200, True)


async def test_a_client_that_leaves_while_its_answer_waits_is_recorded_once(tmp_path: Path) -> None:
    with FakeVllm(answers=lambda model, messages: "yes") as vllm:
        async with running(tmp_path, vllm.url, ROUTE) as gateway:
            await gateway.ask()
            with held_back(gateway):
                asked = asyncio.create_task(gateway.ask())
                await asyncio.wait_for(gateway.noted.asked.wait(), 60)
                asked.cancel()
            await gateway.noted.until(2)
            assert (await gateway.ask())[0] == 200
    assert len(gateway.noted.attempts) == 3
