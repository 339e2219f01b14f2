"""A disk that is full, read-only or broken: which errors say so, and what a process says while it waits for room.

In: errors. Out: whether to wait, one log line a minute, a metric, a word in the health. Does not wait and does not make room.
"""

import asyncio
import errno
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

import structlog
from prometheus_client import Gauge

RETRY_SECONDS = 2.0  # between two attempts while a process waits
SAY_SECONDS = 60.0
OF_THE_SYSTEM = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EFBIG}
OF_SQLITE = {8, 10, 13, 14}
"""SQLite's codes: READONLY, IOERR, FULL, CANTOPEN."""
WAITS = Gauge("flywheel_disk_waits", "1 while a process waits because the disk is full, read-only or fails", ["process"])
log = structlog.get_logger()
Done = TypeVar("Done")


def disk_trouble(error: BaseException) -> str | None:
    """What is wrong with the disk, when that is why this error was raised; None for any other error."""
    for one in _causes(error):
        if isinstance(one, OSError) and one.errno in OF_THE_SYSTEM:
            return f"{one.strerror}{f': {one.filename}' if one.filename else ''}"
        code = getattr(one, "sqlite_errorcode", None)
        if isinstance(code, int) and code & 0xFF in OF_SQLITE:
            return f"the database: {one}"
    return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error, what it was raised from, and what SQLAlchemy wraps."""
    seen: set[int] = set()
    left: list[object] = [error]
    while left:
        one = left.pop()
        if isinstance(one, BaseException) and id(one) not in seen:
            seen.add(id(one))
            yield one
            left += [one.__cause__, getattr(one, "orig", None)]


class DiskWait:
    """Of one process, or of one that shares its interpreter. ``by`` names the loop that waits: another that writes nothing ends no wait."""

    def __init__(self, process: str) -> None:
        self._process = process
        self._lock = threading.Lock()
        self._waiting: dict[str, str] = {}  # by whom, why
        self._said_at, self._times = -SAY_SECONDS, 0
        WAITS.labels(process).set(0)

    @property
    def reason(self) -> str | None:
        return next(iter(list(self._waiting.values())), None)

    def waits_for(self, error: BaseException, *, by: str = "") -> bool:
        """Whether the disk is why this error was raised: then try again after ``RETRY_SECONDS``."""
        why = disk_trouble(error)
        if why is None:
            return False
        with self._lock:
            self._waiting[by], self._times = why, self._times + 1
            WAITS.labels(self._process).set(1)
            if time.monotonic() - self._said_at >= SAY_SECONDS:
                self._said_at = time.monotonic()
                log.warning("The disk cannot be written; the work waits.", action="disk_waits", error=why, times=self._times)
        return True

    async def patiently(self, work: Callable[[], Awaitable[Done]]) -> Done:
        """Does it, while the disk cannot be written again and again. Raises any other error."""
        while True:
            try:
                done = await work()
            except Exception as error:
                if not self.waits_for(error):
                    raise
                await asyncio.sleep(RETRY_SECONDS)
            else:
                self.is_over()
                return done

    def is_over(self, *, by: str = "") -> None:
        """What waited was done."""
        if by not in self._waiting:
            return
        with self._lock:
            self._waiting.pop(by, None)
            if not self._waiting:
                log.info("The disk can be written again; the work goes on.", action="disk_goes_on", times=self._times)
                self._times, self._said_at = 0, -SAY_SECONDS
                WAITS.labels(self._process).set(0)
