"""``answered``: the last bytes of an answer wait until its exchange is on disk, and nothing else does."""

import asyncio
from pathlib import Path

from tests.fakes.vllm_server import FakeVllm
from tests.services.gateway.running_gateway import QUESTION, ROUTE, running

HEAD = {"Authorization": "Bearer app"}


async def test_an_answer_that_is_not_streamed_waits(tmp_path: Path) -> None:
    with FakeVllm(answers=lambda model, messages: "yes") as vllm:
        async with running(tmp_path, vllm.url, ROUTE) as gateway:
            gateway.noted.holds.clear()
            asked = asyncio.create_task(gateway.ask())
            await gateway.noted.asked.wait()
            assert (asked.done(), gateway.noted.attempts) == (False, [])
            gateway.noted.holds.set()
            status, _, _ = await asked
    assert (status, len(gateway.noted.attempts)) == (200, 1)


async def test_of_a_stream_only_the_end_waits(tmp_path: Path) -> None:
    received = bytearray()
    with FakeVllm(answers=lambda model, messages: "one two three four") as vllm:
        async with running(tmp_path, vllm.url, ROUTE) as gateway:
            gateway.noted.holds.clear()
            async with gateway.client.post(f"{gateway.url}/v1/chat/completions", json={**QUESTION, "stream": True}, headers=HEAD) as answer:
                received += await answer.content.readany()  # arrives although nothing is on disk
                assert b'"delta"' in received
                await gateway.noted.asked.wait()
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
            gateway.noted.holds.clear()
            gateway.noted.asked.clear()
            asked = asyncio.create_task(gateway.ask())
            await gateway.noted.asked.wait()
            asked.cancel()
            gateway.noted.holds.set()
            await gateway.noted.until(2)
            assert (await gateway.ask())[0] == 200
    assert len(gateway.noted.attempts) == 3
