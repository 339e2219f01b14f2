"""Child processes that cannot outlive their parent.

In: a command, its environment, its log file. Out: a running child in its own session (Ctrl-C in the terminal reaches the
parent only, which then ends its children in order), and a guard process that ends all of them when the parent is killed.
Does not decide when to restart.
"""

import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from flywheel.errors import CannotRun
from services.process import process_group
from services.process.parent_death import at_parent_death
from services.process.wait_for_disk import disk_trouble

LOG_TAIL_BYTES = 65_536
ERROR_WORDS = ("Error", "ERROR", "error:", "Exception", "Killed", "refused", "cannot", "Cannot", "taken", "missing", "no such")

HARMLESS = ("DEBUG", "INFO", "WARNING", "Warning", '"level": "info"')


@dataclass(frozen=True, kw_only=True)
class ChildCommand:
    """What to run, and where it writes."""

    name: str
    arguments: tuple[str, ...]
    log: Path
    environment: Mapping[str, str]
    cwd: Path | None = None
    waits: bool = False  # it reads a line from standard input before it begins: see ``Child.begin``


class Child:
    """One running child. Its session's id is its pid."""

    def __init__(self, process: "subprocess.Popen[bytes]", command: ChildCommand) -> None:
        self._process, self.command = process, command

    @property
    def pid(self) -> int:
        return self._process.pid

    def exit_code(self) -> int | None:
        """None while it runs; negative when a signal ended it."""
        return self._process.poll()

    def begin(self) -> None:
        """Tells a child that waits. One that has died meanwhile is noticed by its exit code."""
        assert self._process.stdin is not None
        with suppress(OSError):
            self._process.stdin.write(b"begin\n")
            self._process.stdin.close()

    def ask_to_end(self) -> None:
        """SIGTERM to the child itself: it ends its own children."""
        if self._process.poll() is None:
            self._process.terminate()

    def end(self, *, seconds: float) -> bool:
        """Asks, waits, then kills all of its session. True when it went by itself."""
        self.ask_to_end()
        try:
            self._process.wait(seconds)
            went = True
        except subprocess.TimeoutExpired:
            went = False
        process_group.end_all({self.pid}, grace=0.5 if went else 0.0)
        self._process.wait()
        return went


class ProcessGroup:
    """Children and their sessions; when this process dies in whatever way, a guard process ends them all."""

    def __init__(self, *, mark: str, held_open: tuple[int, ...] = ()) -> None:
        """``held_open``: file descriptors that the guard keeps open, such as a lock that must outlive a killed parent."""
        self.mark = mark
        self.sessions: set[int] = set()
        self._process = subprocess.Popen(
            [sys.executable, "-S", process_group.__file__, mark],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            pass_fds=held_open,
            text=True,
        )

    def start(self, command: ChildCommand) -> Child:
        """Raises CannotRun when the program cannot be started."""
        environment = {**command.environment, process_group.MARK: self.mark}
        try:
            with open_log(command.log) as log:
                process = subprocess.Popen(
                    command.arguments,
                    stdin=subprocess.PIPE if command.waits else subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=environment,
                    cwd=command.cwd,
                    start_new_session=True,
                    # SIGTERM, not SIGKILL: a child that may end its own children leaves nothing. The guard kills what is left.
                    preexec_fn=at_parent_death(signal.SIGTERM),
                )
        except OSError as error:
            raise CannotRun(
                f"cannot be started: {error.strerror}", where=command.name, value=command.arguments[0], remedy="See `flywheel doctor`."
            ) from error
        self.hold(process.pid)
        return Child(process, command)

    def hold(self, session: int) -> None:
        """Adopts a session that another process started."""
        self.sessions.add(session)
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(f"{session}\n")
            self._process.stdin.flush()
        except OSError as error:
            raise CannotRun(
                "the process that guards the others has ended", where="flywheel up", remedy="Start `flywheel up` again."
            ) from error

    def release(self) -> list[int]:
        """After everything was ended in order: ends what is left anyway, and the guard. Returns what had to be killed."""
        leftovers = process_group.end_all(self.sessions, mark=self.mark, grace=2.0)
        assert self._process.stdin is not None
        try:
            self._process.stdin.write("done\n")
            self._process.stdin.close()
        except OSError:
            self._process.kill()  # nothing is left that it could guard
        self._process.wait()
        return leftovers


def open_log(path: Path) -> IO[bytes]:
    """To append to. On a disk that takes no new file the log is lost: a part must start also then. Raises OSError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("ab")
    except OSError as error:
        if disk_trouble(error) is None:
            raise
        return Path(os.devnull).open("ab")


def last_error(log: Path) -> str:
    """The line of a log that most likely states why the process ended: the last with an error word, else the last."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - LOG_TAIL_BYTES))
            lines = deque((line for line in file.read().decode(errors="replace").splitlines() if line.strip()), maxlen=400)
    except OSError:
        return f"it wrote no log at {log}"
    naming = [line for line in lines if any(word in line for word in ERROR_WORDS) and not any(word in line for word in HARMLESS)]
    line = (naming or list(lines) or ["it wrote nothing"])[-1].strip()
    return line if len(line) <= 300 else line[:300] + "…"


def python_path(environment: Mapping[str, str], root: Path) -> dict[str, str]:
    """The environment with ``root`` first on PYTHONPATH, so that our own packages are found from any working directory."""
    rest = environment.get("PYTHONPATH")
    return {**environment, "PYTHONPATH": f"{root}{os.pathsep}{rest}" if rest else str(root)}
