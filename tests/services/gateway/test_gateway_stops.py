"""SIGTERM: the port closes, answers under way are finished or, after the drain, cut with an error that clients understand."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from odd_server import DONE, END, HALF, STREAM, odd_server
from test_gateway_process import ROUTE, configuration, reached, started

from services.stores.capture_spool import CaptureSpool
from services.stores.route_files import RouteFiles

HEAD = {"Authorization": "Bearer secret"}
QUESTION: dict[str, Any] = {"model": "router-alias", "messages": [{"role": "user", "content": "hi"}]}


@asynccontextmanager
async def serving(
    tmp_path: Path, pieces: list[bytes | float], *, drain_seconds: float
) -> AsyncIterator[tuple[Any, str, aiohttp.ClientSession]]:
    """The process, its address, and a client."""
    RouteFiles(tmp_path / "var" / "routes").save(ROUTE)
    async with odd_server(pieces) as server:
        with started(configuration(tmp_path, server, gateway={"drain_seconds": drain_seconds})) as (process, url):
            await asyncio.to_thread(reached, f"{url}/readyz")
            async with aiohttp.ClientSession(headers=HEAD) as client:
                yield process, f"{url}/v1/chat/completions", client


async def port_closed(url: str) -> None:
    while True:
        try:
            async with aiohttp.ClientSession() as another, another.get(url):
                await asyncio.sleep(0.05)
        except aiohttp.ClientConnectorError:
            return


async def test_an_answer_under_way_is_finished_and_nothing_new_is_taken(tmp_path: Path) -> None:
    async with serving(tmp_path, [STREAM, *HALF, 2.0, END + DONE], drain_seconds=60) as (process, url, client):
        async with client.post(url, json={**QUESTION, "stream": True}) as answer:
            received = await answer.content.readany()
            process.send_signal(signal.SIGTERM)
            await port_closed(url)
            assert process.poll() is None
            received += await answer.content.read()
        assert received.endswith(DONE)
        assert await asyncio.to_thread(process.wait) == 0


async def test_an_answer_that_does_not_end_is_cut_with_an_error(tmp_path: Path) -> None:
    async with serving(tmp_path, [STREAM, *HALF, 600.0], drain_seconds=0.5) as (process, url, client):
        async with client.post(url, json={**QUESTION, "stream": True}) as answer:
            received = await answer.content.readany()
            process.send_signal(signal.SIGTERM)
            received += await answer.content.read()
        assert b'"code":"gateway_stopping"' in received
        assert b"[DONE]" not in received
        assert await asyncio.to_thread(process.wait) == 0


async def test_an_answer_that_has_not_begun_is_refused_so_that_clients_try_again(tmp_path: Path) -> None:
    async with serving(tmp_path, [600.0], drain_seconds=0.5) as (process, url, client):
        asked = asyncio.create_task(client.post(url, json=QUESTION))
        await asyncio.sleep(0.5)
        process.send_signal(signal.SIGTERM)
        async with await asked as answer:
            error = (await answer.json())["error"]
        assert (answer.status, error["code"], answer.headers["Retry-After"]) == (503, "gateway_stopping", "5")
        assert await asyncio.to_thread(process.wait) == 0
    spool = tmp_path / "var" / "spool"
    assert CaptureSpool(spool / "gateway.db").waiting() + len(list((spool / "sealed").iterdir())) == 1  # handed on to the next start
