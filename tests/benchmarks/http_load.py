"""Load on one processor's budget: a model server and a client that cost little, so that what stands between them is what is measured.

The server is a process of its own and answers every chat request with the same completion, streamed or not. The client holds a number of
connections open and asks on each again as soon as the answer has come as a whole.
"""

import asyncio
import multiprocessing
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from urllib.parse import urlsplit

import orjson

PIECES = 16  # of a streamed answer
HEAD_END = b"\r\n\r\n"


def completion(said: str) -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", "content": said}, "finish_reason": "stop"}
    head = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1_767_614_400, "model": "base"}
    return orjson.dumps({**head, "choices": [choice], "usage": {"prompt_tokens": 250, "completion_tokens": 70, "total_tokens": 320}})


def events(said: str) -> bytes:
    """The same as a stream in OpenAI's form, the usage at its end."""
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1_767_614_400, "model": "base"}
    size = len(said) // PIECES + 1
    deltas = [{"role": "assistant", "content": ""}, *({"content": said[at : at + size]} for at in range(0, len(said), size))]
    chunks = [{**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    chunks += [{**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}]
    chunks += [{**head, "choices": [], "usage": {"prompt_tokens": 250, "completion_tokens": 70, "total_tokens": 320}}]
    return b"".join(b"data: " + orjson.dumps(chunk) + b"\n\n" for chunk in chunks) + b"data: [DONE]\n\n"


class _Served(asyncio.Protocol):
    """As much of HTTP as the gateway's and LiteLLM's clients send."""

    def __init__(self, whole: bytes, streamed: bytes) -> None:
        self._whole, self._streamed, self._held = whole, streamed, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._held += data
        while (request := _one_message(self._held)) is not None:
            body, self._held = request
            self._transport.write(self._streamed if b'"stream":true' in body or b'"stream": true' in body else self._whole)


def _one_message(held: bytes) -> tuple[bytes, bytes] | None:
    """(body, what follows); None while it is not whole."""
    head, found, rest = held.partition(HEAD_END)
    if not found:
        return None
    lower = head.lower()
    at = lower.find(b"content-length:")
    length = int(lower[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
    return (rest[:length], rest[length:]) if len(rest) >= length else None


def _serve(said: str, line: Connection) -> None:
    whole, streamed = completion(said), events(said)
    answer = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(whole) + whole
    stream = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    stream += b"%x\r\n" % len(streamed) + streamed + b"\r\n0\r\n\r\n"

    async def run() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: _Served(answer, stream), "127.0.0.1", 0)
        line.send(server.sockets[0].getsockname()[1])
        await loop.run_in_executor(None, line.recv)

    asyncio.run(run())


@contextmanager
def cheap_model_server(said: str) -> Iterator[str]:
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(said, there), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{here.recv()}"
    finally:
        here.send("end")
        process.join(30)


@dataclass(kw_only=True)
class Load:
    """``milliseconds``: each answer's, to its last byte. ``seconds``: of the whole run."""

    milliseconds: list[float] = field(default_factory=list)
    seconds: float = 0.0
    failed: int = 0

    @property
    def rate(self) -> float:
        return len(self.milliseconds) / self.seconds


class _Asks(asyncio.Protocol):
    """One connection: the next request leaves when the answer has come."""

    def __init__(self, requests: Sequence[bytes], load: Load, left: "list[int]", ended: "asyncio.Future[None]") -> None:
        self._requests, self._load, self._left, self._ended = requests, load, left, ended
        self._held = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._ask()

    def _ask(self) -> None:
        if not self._left[0]:
            self._transport.close()
            return
        self._left[0] -= 1
        self._began = time.perf_counter()
        self._transport.write(self._requests[self._left[0] % len(self._requests)])

    def data_received(self, data: bytes) -> None:
        self._held += data
        head = self._held.find(HEAD_END)
        if head < 0:
            return
        lower = bytes(self._held[:head]).lower()
        if b"transfer-encoding: chunked" in lower:
            whole = self._held.endswith(b"0\r\n\r\n")
        else:
            at = lower.find(b"content-length:")
            whole = len(self._held) >= head + 4 + int(lower[at + 15 :].split(b"\r\n", 1)[0])
        if whole:
            if self._held.startswith(b"HTTP/1.1 200") and b"choices" in self._held:
                self._load.milliseconds.append((time.perf_counter() - self._began) * 1000)
            else:
                self._load.failed += 1
            self._held.clear()
            self._ask()

    def connection_lost(self, error: Exception | None) -> None:
        if not self._ended.done():
            self._ended.set_result(None)


async def load(url: str, bodies: Sequence[object], *, token: str, connections: int, count: int) -> Load:
    """``count`` requests over so many connections, as fast as they are answered; the bodies one after the other."""
    address = urlsplit(url)
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {address.netloc}\r\nAuthorization: Bearer {token}\r\n".encode()
    requests = [
        head + b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(content) + content
        for content in map(orjson.dumps, bodies)
    ]
    loop, told, left = asyncio.get_running_loop(), Load(), [count]
    ends = [loop.create_future() for _ in range(connections)]
    began = time.perf_counter()
    for end in ends:
        await loop.create_connection(lambda end=end: _Asks(requests, told, left, end), address.hostname, address.port)  # type: ignore[misc]
    await asyncio.gather(*ends)
    told.seconds = time.perf_counter() - began
    return told
