"""Ends what ``flywheel up`` started when ``flywheel up`` itself is gone, be it by kill -9.

In: on standard input, one session id a line; then either ``done`` or the end of the stream, which is the death of the writer.
Out: at the end of the stream nothing of those sessions lives any more; first asked to end, then killed.
Does not watch or restart. Run as a plain file with ``python -S``: it needs the standard library alone and costs little.
"""

import os
import signal
import sys
import time
from collections.abc import Iterable
from pathlib import Path

GRACE_SECONDS = 6.0  # our processes promise 5
MARK = "FLYWHEEL_UP"
"""An environment variable that every descendant inherits, so that one which left its session is still found."""


def end_all(sessions: Iterable[int], *, mark: str | None = None, grace: float = GRACE_SECONDS) -> list[int]:
    """SIGTERM to every process of the sessions, SIGKILL to those alive after ``grace``. Returns the pids that had to be killed."""
    known = frozenset(sessions)
    _signal(members(known, mark=mark), signal.SIGTERM)
    deadline = time.monotonic() + grace
    while (left := members(known, mark=mark)) and time.monotonic() < deadline:
        time.sleep(0.05)
    _signal(left, signal.SIGKILL)
    return left


def members(sessions: frozenset[int], *, mark: str | None = None) -> list[int]:
    """Living processes of the sessions, or with ``FLYWHEEL_UP=mark`` in the environment they were started with; never this one."""
    needle = f"{MARK}={mark}".encode()
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        pid = int(entry.name)
        if pid == os.getpid():
            continue
        try:
            state, session = _state_and_session((entry / "stat").read_text())
            if state in "ZX":
                continue
            if session in sessions or (mark is not None and needle in (entry / "environ").read_bytes().split(b"\0")):
                found.append(pid)
        except (OSError, ValueError):  # it ended meanwhile, or belongs to somebody else
            continue
    return found


def _state_and_session(stat: str) -> tuple[str, int]:
    fields = stat.rpartition(")")[2].split()  # the name before it may hold blanks and brackets
    return fields[0], int(fields[3])


def _signal(pids: Iterable[int], number: signal.Signals) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def main() -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # it ends when its writer does, not before
    sessions: set[int] = set()
    for line in sys.stdin:
        if line.strip() == "done":
            return
        sessions.add(int(line))
    end_all(sessions, mark=sys.argv[1] if len(sys.argv) > 1 else None)


if __name__ == "__main__":
    main()
