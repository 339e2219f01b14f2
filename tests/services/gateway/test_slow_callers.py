"""Who sends slowly, or much without a token: what the gateway reads of it, and when it stops."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiohttp import web

from services.gateway.client_connections import open_port
from tests.fakes.vllm_server import FakeVllm
from tests.services.gateway.running_gateway import QUESTION, ROUTE, Running, running


@pytest.fixture
def vllm() -> Iterator[FakeVllm]:
    with FakeVllm() as server:
        yield server


async def test_without_a_known_token_a_body_is_not_read(tmp_path: Path, vllm: FakeVllm) -> None:
    async with running(tmp_path, vllm.url, ROUTE) as gateway:
        for path in ("/v1/chat/completions", "/v1/embeddings", "/v1/audio/transcriptions"):
            for header, status in (("Bearer nobody", 401), ("Bearer between-us", 403), ("", 401)):
                reader, writer = await asyncio.open_connection(*address(gateway))
                head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 30000000\r\n"
                writer.write(f"{head}Authorization: {header}\r\n\r\n".encode())
                assert f" {status} ".encode() in await reader.readline(), (path, header)  # not a byte of the body was sent
                writer.close()


@pytest.mark.parametrize("kind", ["application/json", "multipart/form-data; boundary=x"])
async def test_a_body_that_does_not_arrive_in_time_is_408(tmp_path: Path, vllm: FakeVllm, kind: str) -> None:
    async with running(tmp_path, vllm.url, ROUTE, body_seconds=0.2) as gateway:
        reader, writer = await asyncio.open_connection(*address(gateway))
        head = "POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer app\r\nContent-Length: 100\r\n"
        writer.write(f"{head}Content-Type: {kind}\r\n\r\n--x".encode())
        status = await reader.readline()
        told = await reader.readuntil(b"}}")
        assert b" 408 " in status
        assert b"did not arrive within 0.2 seconds" in told
        writer.close()
        assert (await gateway.ask(QUESTION))[0] == 200


@pytest.mark.parametrize("begin", [b"", b"GET /v1/mod", b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: "])
async def test_a_connection_without_a_whole_head_is_closed(begin: bytes) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response()

    app = web.Application()
    app.add_routes([web.get("/healthz", answer)])
    runner = web.AppRunner(app)
    await runner.setup()
    port = await open_port(runner, "127.0.0.1", 0, idle_seconds=0.3)
    reader, writer = await asyncio.open_connection(*port.sockets[0].getsockname())
    writer.write(begin)
    began = time.monotonic()
    ended = asyncio.ensure_future(reader.read())
    while not ended.done():
        if begin:
            writer.write(b"x")  # slowly, but always
        await asyncio.wait([ended], timeout=0.05)
    assert time.monotonic() - began < 20
    port.close()
    await runner.cleanup()


def address(gateway: Running) -> tuple[str, int]:
    host, _, port = gateway.url.removeprefix("http://").partition(":")
    return host, int(port)
