"""A stand-in for a gateway's admin port: keeps the highest route it was told."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any


class FakeGateway:
    """``routes`` holds what is in force, ``requests`` what was counted; ``deaf`` lets it hang up on everybody."""

    def __init__(self, *, key: str) -> None:
        self.key, self.routes, self.deaf = key, dict[str, dict[str, Any]](), False
        self.requests = dict[str, dict[str, int]]()
        self.url = ""

    def __enter__(self) -> "FakeGateway":
        gateway = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                versions = {workload: route["version"] for workload, route in gateway.routes.items()}
                if self._allowed():
                    self._answer(gateway.requests if self.path == "/admin/requests" else versions)

            def do_PUT(self) -> None:
                route = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if self._allowed():
                    kept = gateway.routes.get(route["workload"], {"version": 0})
                    if route["version"] > kept["version"]:
                        gateway.routes[route["workload"]] = route
                    self._answer({"applied": gateway.routes[route["workload"]]["version"]})

            def _allowed(self) -> bool:
                if gateway.deaf:
                    self.close_connection = True
                    return False
                if self.headers.get("Authorization") != f"Bearer {gateway.key}":
                    self._answer({"error": {"reason": "unknown token"}}, status=401)
                    return False
                return True

            def _answer(self, content: object, *, status: int = 200) -> None:
                body = json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                """Silent."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()
