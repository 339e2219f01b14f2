"""A model server that answers with the bytes that a test gives it, as no real one should and some do."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
HALF = (
    b'data: {"id":"c1","model":"base","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}\n\n',
    b'data: {"id":"c1","model":"base","choices":[{"index":0,"delta":{"content":"half an "},"finish_reason":null}]}\n\n',
)
END = b'data: {"id":"c1","model":"base","choices":[{"index":0,"delta":{"content":"answer"},"finish_reason":"stop"}]}\n\n'
DONE = b"data: [DONE]\n\n"
RESET = b"<reset>"
"""In place of bytes: the connection is reset."""


def whole(status: str, content: bytes, *, content_type: str = "application/json", headers: str = "") -> list[bytes]:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {len(content)}\r\nConnection: close\r\n{headers}\r\n"
    return [head.encode() + content]


@asynccontextmanager
async def odd_server(pieces: Sequence[bytes | float]) -> AsyncIterator[str]:
    """Its URL. Sends the pieces after each request, and waits so many seconds where there is a number; then closes."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = next((int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0)
            await reader.readexactly(length)
            for piece in pieces:
                if isinstance(piece, float):
                    await asyncio.sleep(piece)
                elif piece == RESET:
                    writer.transport.abort()
                else:
                    writer.write(piece)
                    await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        server.close()
