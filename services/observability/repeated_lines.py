"""Bounds a log: the same error is said once and then counted, and no cause adds more than a megabyte an hour.

In: each line, with its cause (the place in the code, or the line's action) and its text. Out: whether it is said. What was counted is said
in one line when the error has ended, and once an hour while it goes on. Other errors of the same cause stay visible, up to a bound.
"""

import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

QUIET_SECONDS = 30.0
"""An error that has not come for so long has ended; lines that are said once a minute are never counted."""
HOUR_SECONDS = 3_600.0
BUDGET_BYTES = 400_000
"""Of one cause in an hour that began with its first line; two such hours may lie in one of the clock."""
SUMMARY_BYTES = 50_000  # beyond the budget, for lines that say how often another was left out
MOST_TEXTS = 50  # of one cause at a time
MOST_CAUSES = 2_000
LOOK_SECONDS = 5.0  # between two looks whether a counted error has ended, while there is one
VARYING = re.compile(r"\S*\d\S*")  # ids, counts, addresses and times differ from line to line
COMPARED_CHARACTERS = 500

Again = Callable[[int, float], None]
"""Says the line again, with how often it was left out, and for how many seconds."""


def comparable(text: str) -> str:
    """The same for two lines that differ in numbers and ids alone."""
    return VARYING.sub("#", text[:COMPARED_CHARACTERS])


@dataclass(kw_only=True)
class _Line:
    said_at: float
    last_at: float
    again: Again
    size: int
    left_out: int = 0


@dataclass(kw_only=True)
class _Cause:
    hour_began: float
    bytes: int = 0
    lines: dict[str, _Line] = field(default_factory=dict)


class RepeatedLines:
    """Of one process; any thread may call."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._causes: dict[str, _Cause] = {}
        self._counted = threading.Event()  # something was left out and must be said later
        self._watching = False

    def admits(self, *, cause: str, text: str, size: int, is_error: bool, again: Again) -> bool:
        """Whether to say this line now. ``size`` in bytes. What is no error is left out only beyond the cause's budget."""
        now = self._clock()
        with self._lock:
            found = self._cause(cause, now)
            line = found.lines.get(text)
            repeats = is_error and line is not None and now - line.last_at < QUIET_SECONDS and now - line.said_at < HOUR_SECONDS
            has_room = found.bytes + size <= BUDGET_BYTES and (not is_error or line is not None or len(found.lines) < MOST_TEXTS)
            counting = line is not None and line.left_out > 0  # what was counted is said first
            if has_room and not repeats and not counting:
                found.bytes += size
                if is_error:
                    found.lines[text] = _Line(said_at=now, last_at=now, again=again, size=size)
                return True
            if line is None:  # over the budget: one count for all further texts
                line = found.lines.setdefault("", _Line(said_at=now, last_at=now, again=again, size=size))
            line.left_out, line.last_at, line.again = line.left_out + 1, now, again
        self._counted.set()
        self._start_watching()
        return False

    def say_ended(self, *, all_of_them: bool = False) -> None:
        """Says what was left out of each error that has ended, or goes on for an hour."""
        now, due = self._clock(), []
        with self._lock:
            still_counting = False
            for name in list(self._causes):
                cause = self._cause(name, now)
                for text, line in list(cause.lines.items()):
                    ended = now - line.last_at >= QUIET_SECONDS
                    has_room = all_of_them or cause.bytes + line.size <= BUDGET_BYTES + SUMMARY_BYTES
                    if line.left_out and has_room and (ended or all_of_them or now - line.said_at >= HOUR_SECONDS):
                        due.append((line.again, line.left_out, now - line.said_at))
                        cause.bytes += line.size
                        line.said_at, line.left_out = now, 0
                    if ended and not line.left_out:
                        del cause.lines[text]
                    still_counting = still_counting or line.left_out > 0
            if not still_counting:
                self._counted.clear()
        for again, left_out, seconds in due:
            again(left_out, seconds)

    def _cause(self, name: str, now: float) -> _Cause:
        if name not in self._causes and len(self._causes) >= MOST_CAUSES:
            name = ""  # one budget for all further causes
        found = self._causes.setdefault(name, _Cause(hour_began=now))
        if now - found.hour_began >= HOUR_SECONDS:
            found.hour_began, found.bytes = now, 0
        return found

    def _start_watching(self) -> None:
        with self._lock:
            if self._watching:
                return
            self._watching = True
        threading.Thread(target=self._watch, name="repeated log lines", daemon=True).start()

    def _watch(self) -> None:
        while True:
            self._counted.wait()
            time.sleep(LOOK_SECONDS)
            self.say_ended()
