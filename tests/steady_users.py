"""Users that ask at a steady rate, each request by a connection of its own, and what became of every request."""

import http.client
import json
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any
from urllib.parse import urlsplit

A_SECOND = 30.0
STREAMED_EVERY = 4
HEAD = "X-Flywheel-Request"


@dataclass(kw_only=True, eq=False)
class Asked:
    """One request. ``answered``: the moment at which its answer had come as a whole; None for one that failed or is under way."""

    began: float
    ended: float = 0.0
    answered: float | None = None
    failed: str | None = None
    request_id: str = ""


@dataclass(kw_only=True)
class SteadyUsers:
    """``path`` and ``body`` of every request; ``id_in`` the header with the id under which it is recorded."""

    url: str
    token: str
    model: str
    a_second: float = A_SECOND
    asked: list[Asked] = field(default_factory=list)

    def __enter__(self) -> "SteadyUsers":
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []
        self._clock = threading.Thread(target=self._ask_all, name="users", daemon=True)
        self._clock.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._clock.join()
        for thread in self._threads:
            thread.join()

    @property
    def answered(self) -> Sequence[Asked]:
        return [one for one in self.asked if one.answered is not None]

    @property
    def failed(self) -> Sequence[Asked]:
        return [one for one in self.asked if one.failed is not None]

    def longest_gap(self) -> float:
        """Seconds between two answers."""
        moments = sorted(one.answered for one in self.answered if one.answered is not None)
        return max((later - earlier for earlier, later in pairwise(moments)), default=0.0)

    def _ask_all(self) -> None:
        due = time.monotonic()
        while not self._over.wait(max(0.0, due - time.monotonic())):
            due += 1 / self.a_second
            one = Asked(began=time.monotonic())
            self.asked.append(one)
            thread = threading.Thread(target=self._ask, args=(one, len(self.asked)), daemon=True)
            thread.start()
            self._threads = [thread, *(other for other in self._threads if other.is_alive())]

    def _ask(self, one: Asked, number: int) -> None:
        address = urlsplit(self.url)
        assert address.hostname is not None
        body: Mapping[str, Any] = {
            "model": self.model,
            "messages": [{"role": "user", "content": f"question {number}"}],
            "stream": number % STREAMED_EVERY == 0,
        }
        head = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        connection = http.client.HTTPConnection(address.hostname, address.port, timeout=60)
        try:
            connection.request("POST", "/v1/chat/completions", body=json.dumps(body), headers=head)
            answer = connection.getresponse()
            content = answer.read()
            whole = answer.status == 200 and (not body["stream"] or b"data: [DONE]" in content)
            if whole:
                one.request_id, one.answered = answer.headers[HEAD], time.monotonic()
            else:
                one.failed = f"{answer.status} {content[:200]!r}"
        except (OSError, http.client.HTTPException) as error:
            one.failed = f"{type(error).__name__}: {error}"
        finally:
            one.ended = time.monotonic()
            connection.close()
