"""The health server of each process: slow callers hold no thread for ever."""

import socket
import threading
from http.server import BaseHTTPRequestHandler

import pytest

from services.process import health
from services.process.health import HealthServer


class Answers(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_an_old_connection_is_closed_when_another_arrives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "LONGEST_SECONDS", 0.0)
    server = HealthServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = (str(server.server_address[0]), int(server.server_address[1]))
    slow = [socket.create_connection(address, timeout=30) for _ in range(5)]
    for connection in slow:
        connection.sendall(b"GET /he")
    with socket.create_connection(address, timeout=30) as other:
        other.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
        assert b"200" in other.recv(100)
    assert [connection.recv(100) for connection in slow] == [b""] * 5
    server.close()
    assert server._open == {}
