"""Connections that send slowly are closed by the api's server: no head, half a head, half a body."""

import socket
import threading
import time
from collections.abc import Iterator

import pytest
import uvicorn
from fastapi import FastAPI, Request

from services.api.error_responses import answer_errors
from services.api.http_server import HttpServer, closing_idle
from services.api.requests import with_json_body
from tests.ports import free_port

IDLE, BODY = 0.5, 0.3


@pytest.fixture
def port() -> Iterator[int]:
    app, found, stop = FastAPI(), free_port(), threading.Event()
    app.state.body_seconds = BODY
    answer_errors(app)

    @app.post("/")
    async def take(request: Request) -> str:
        await with_json_body(request)
        return "taken"

    config = uvicorn.Config(app, host="127.0.0.1", port=found, http=closing_idle(IDLE), timeout_keep_alive=60, lifespan="off")
    server = HttpServer(config, stop=stop, tls=None)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield found
    stop.set()
    thread.join()


HEAD = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n"


@pytest.mark.parametrize("begin", [b"", b"POST / HT", b"POST / HTTP/1.1\r\nX-Slow: ", HEAD + b"{}", HEAD + b"{}POST / HT"])
def test_a_connection_without_a_whole_head_is_closed(port: int, begin: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(begin)
        received = b""
        while piece := connection.recv(4096):
            received += piece
    assert (b"200 OK" in received) == (b"{}" in begin)


def test_a_body_that_does_not_arrive_in_time_is_408(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(HEAD + b"{")
        received = connection.recv(4096)
        while b"remedy" not in received:
            received += connection.recv(4096)
    assert b" 408 " in received
    assert b"did not arrive within 0.3 seconds" in received
