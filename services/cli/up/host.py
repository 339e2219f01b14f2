"""``python -m services.cli.up.host alert_desk trainer ...``: several light processes in one interpreter, a thread each.

They share the memory of their libraries, which is most of theirs, and each keeps its own health port. One that fails ends all with
its name, and ``flywheel up`` starts them again; each still runs alone too, as ``python -m services.<name>``.
"""

import argparse
import importlib
import sys
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path

from flywheel.errors import FlywheelError
from services.observability import configure_logging
from services.process.run_together import run_together
from services.process.start_stop import Start, stop_event
from services.settings import load

END_SECONDS = 4.0  # a process promises to end within five


def main(arguments: list[str] | None = None) -> int:
    """The exit code: of the first process that failed, or 0 after SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m services.cli.up.host", description=__doc__)
    parser.add_argument("--config", type=Path, default=None, help="flywheel.yaml; else $FLYWHEEL_CONFIG")
    parser.add_argument("process", nargs="+", help="names as in services/process/process_names.py")
    options = parser.parse_args(arguments)
    stop = stop_event()
    try:
        settings = load(options.config)
        configure_logging(settings.log_level)
        runs = {name: run_of(name) for name in options.process}
    except FlywheelError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    start = Start(settings=settings, config=options.config, stop=stop, hosted=True)
    failure = run_together({name: partial(run, start) for name, run in runs.items()}, stop=stop, end_seconds=END_SECONDS)
    if failure is None:
        return 0
    if isinstance(failure.error, FlywheelError):
        sys.stderr.write(f"{failure.name}: {failure.error}\n")
        return failure.error.exit_code
    traceback.print_exception(failure.error)
    first_line = str(failure.error).partition("\n")[0]  # the supervisor shows the last line of a log
    sys.stderr.write(f"{failure.name} ended all of this host: {type(failure.error).__name__}: {first_line}\n")
    return 1


def run_of(name: str) -> Callable[[Start], None]:
    """``run`` of services/<name>/__main__.py. Imported in the main thread, one after the other."""
    run: Callable[[Start], None] = importlib.import_module(f"services.{name}.__main__").run
    return run


if __name__ == "__main__":
    sys.exit(main())
