"""How a process starts and ends: arguments, settings, logs, SIGTERM, exit code."""

import argparse
import asyncio
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from flywheel.errors import FlywheelError
from services.observability import configure_logging
from services.settings import Settings, load


@dataclass(frozen=True, kw_only=True)
class Start:
    """The arguments of a process. ``config``: the file that ``settings`` were read from, for child processes; None: the default file."""

    settings: Settings
    config: Path | None
    stop: threading.Event
    hosted: bool = False  # beside other processes in one interpreter


def main(process: str, run: Callable[[Start], object], *, purpose: str | None = None) -> int:
    """Runs one process until SIGTERM. Returns the exit code; an error that a person can put right is one sentence."""
    parser = argparse.ArgumentParser(prog=f"python -m services.{process}", description=purpose)
    parser.add_argument("--config", type=Path, default=None, help="flywheel.yaml; else $FLYWHEEL_CONFIG")
    config = parser.parse_args().config
    stop = stop_event()
    try:
        settings = load(config)
        configure_logging(settings.log_level)
        run(Start(settings=settings, config=config, stop=stop))
    except FlywheelError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


def stop_event() -> threading.Event:
    """Set on SIGTERM and SIGINT. For the main thread."""
    event = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: event.set())
    return event


def stop_event_of_loop(stop: threading.Event) -> asyncio.Event:
    """The same for the running event loop, which it wakes; set at once when ``stop`` has been."""
    event, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, event.set)
    if stop.is_set():
        event.set()
    return event
