"""Several loops in one interpreter, a thread each: when one fails, all end, and its error is not lost."""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from flywheel.errors import CannotRun

END_SECONDS = 3.0  # for the loops of one process; it promises to end within five


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Which one failed first, and how."""

    name: str
    error: BaseException


def run_together(loops: Mapping[str, Callable[[], None]], *, stop: threading.Event, end_seconds: float = END_SECONDS) -> Failure | None:
    """Runs all until ``stop``; a loop that fails, or ends by itself, sets it. A loop that hangs ends with the process."""
    failures: list[Failure] = []

    def run(name: str, loop: Callable[[], None]) -> None:
        try:
            loop()
            if not stop.is_set():
                raise CannotRun("it ended by itself", where=name, remedy="See its log.")
        except BaseException as error:  # noqa: BLE001  given back to the caller
            failures.append(Failure(name=name, error=error))
        finally:
            stop.set()

    threads = [threading.Thread(target=run, args=(name, loop), name=name, daemon=True) for name, loop in loops.items()]
    for thread in threads:
        thread.start()
    stop.wait()
    deadline = time.monotonic() + end_seconds
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return failures[0] if failures else None
