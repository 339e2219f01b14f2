"""How a process starts and ends: arguments, settings, logs, SIGTERM, exit code."""

import argparse
import asyncio
import gc
import os
import select
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from flywheel.errors import FlywheelError
from services.observability import configure_logging
from services.process.private_files import make_files_private
from services.settings import Settings, load

YOUNG_OBJECTS = 50_000


@dataclass(frozen=True, kw_only=True)
class Start:
    """The arguments of a process. ``config``: the file that ``settings`` were read from, for child processes; None: the default file."""

    settings: Settings
    config: Path | None
    stop: threading.Event
    hosted: bool = False  # beside other processes in one interpreter
    number: int = 1  # of several processes of a kind


def main(process: str, run: Callable[[Start], object], *, purpose: str | None = None) -> int:
    """Runs one process until SIGTERM. Returns the exit code; an error that a person can put right is one sentence."""
    parser = argparse.ArgumentParser(prog=f"python -m services.{process}", description=purpose)
    parser.add_argument("--config", type=Path, default=None, help="flywheel.yaml; else $FLYWHEEL_CONFIG")
    parser.add_argument("--number", type=int, default=1, help="of several processes of this kind, from 1 on")
    parser.add_argument("--wait", action="store_true", help="begin after a line on standard input, and end with its end")
    options = parser.parse_args()
    config = options.config
    make_files_private()
    try:
        settings = load(config)
        configure_logging(settings.log_level)
        collect_garbage_rarely()
        if options.wait and not sys.stdin.readline():
            return 0
        stop = stop_event()
        run(Start(settings=settings, config=config, stop=stop, number=options.number))
    except FlywheelError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


def collect_garbage_rarely() -> None:
    """Looks for cycles after ``YOUNG_OBJECTS`` new lists and objects instead of Python's 700: a batch of 500 events makes some 60,000, none
    of them in a cycle, and each look goes through them again."""
    gc.set_threshold(YOUNG_OBJECTS)


def stop_event() -> threading.Event:
    """Set on SIGTERM and SIGINT. For the main thread."""
    event = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: event.set())
    return event


class SignalOrTime:
    """Waits for a time, or until any signal arrives, the death of a child included. For the main thread.

    The byte that the signal writes into a pipe cannot be missed between two waits, and needs no lock that its handler could find taken.
    """

    def __init__(self) -> None:
        self._arrived, notes = os.pipe()
        os.set_blocking(self._arrived, False)
        os.set_blocking(notes, False)
        signal.set_wakeup_fd(notes, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # without a handler of its own no byte is written

    def wait(self, seconds: float) -> None:
        if select.select([self._arrived], [], [], seconds)[0]:
            with suppress(BlockingIOError):
                os.read(self._arrived, 4096)


def stop_event_of_loop(stop: threading.Event) -> asyncio.Event:
    """The same for the running event loop, which it wakes; set at once when ``stop`` has been."""
    event, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, event.set)
    if stop.is_set():
        event.set()
    return event
