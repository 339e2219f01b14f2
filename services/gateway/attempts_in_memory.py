"""Attempts in memory on their way to the disk and to the redactor, bounded by number and by size."""

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from services.gateway.capture_rule import Fsync
from services.gateway.traffic_event import UpstreamAttempt
from services.gateway.wiring import SealedPlace

MOST_ATTEMPTS, MOST_BYTES = 10_000, 256 * 1024**2


@dataclass(kw_only=True, eq=False)
class Held:
    """One attempt: in memory, sealed on disk at ``place``, or both. ``written`` is set once it is on disk, or cannot be."""

    size: int  # bytes, about
    attempt: UpstreamAttempt | None = None
    place: SealedPlace | None = None
    fsync: Fsync = Fsync.NEVER
    written: "asyncio.Future[None] | None" = None


class Room:
    """How much of the memory is taken."""

    def __init__(self, *, most: int = MOST_ATTEMPTS, most_bytes: int = MOST_BYTES) -> None:
        self._most, self._most_bytes = most, most_bytes
        self._count = self._bytes = 0
        self._lock = threading.Lock()

    def take(self, size: int) -> bool:
        """False: there is none."""
        with self._lock:
            if self._count >= self._most or self._bytes + size > self._most_bytes:
                return False
            self._count += 1
            self._bytes += size
            return True

    def give_back(self, size: int) -> None:
        with self._lock:
            self._count -= 1
            self._bytes -= size

    def is_half_full(self) -> bool:
        return 2 * self._count > self._most or 2 * self._bytes > self._most_bytes


class AttemptQueue:
    """First in, first out; between two threads."""

    def __init__(self) -> None:
        self._items: deque[Held] = deque()
        self._urgent = 0  # items for which an answer waits
        self._alone = 0  # items that are in memory only
        self._changed = threading.Condition()
        self.in_hand = 0  # taken, in memory only, and not settled yet; its one reader says so
        self._wakes_at = 1  # items; waking a thread costs as much as writing an exchange
        self.closed = False

    def put(self, held: Held) -> None:
        with self._changed:
            self._items.append(held)
            self._count(held, 1)
            if self._urgent or len(self._items) >= self._wakes_at:
                self._changed.notify()

    def take(
        self, most: int, *, most_bytes: int | None = None, gather_seconds: float = 0.0, timeout: float | None = None
    ) -> Sequence[Held]:
        """At least one item, after a wait; empty once closed, or after ``timeout`` seconds.

        Items for which no answer waits are gathered for a moment, where ``gather_seconds`` says so: one write for all of them.
        """
        with self._changed:
            self._wait(lambda: bool(self._items) or self.closed, timeout)
            if gather_seconds and self._items and not self._urgent:
                self._wakes_at = most
                self._wait(lambda: self._urgent > 0 or len(self._items) >= most or self.closed, gather_seconds)
                self._wakes_at = 1
            taken: list[Held] = []
            size = 0
            while self._items and len(taken) < most and (most_bytes is None or not taken or size + self._items[0].size <= most_bytes):
                taken.append(self._items.popleft())
                size += taken[-1].size
                self._count(taken[-1], -1)
        return taken

    def close(self) -> None:
        """From now on ``take`` does not wait."""
        with self._changed:
            self.closed = True
            self._changed.notify_all()

    def in_memory_alone(self) -> int:
        return self._alone + self.in_hand

    def __len__(self) -> int:
        return len(self._items)

    def _wait(self, until: Callable[[], bool], timeout: float | None) -> None:
        self._changed.wait_for(until, timeout)

    def _count(self, held: Held, change: int) -> None:
        self._urgent += change * (held.written is not None)
        self._alone += change * (held.place is None)
