"""``flywheel``: where the process begins. It imports little, so that Ctrl-C is understood from the first moment."""

import os
import sys

from services.process.interrupted import ends_quietly
from services.process.private_files import make_files_private


def main() -> None:
    """Ends the process with the exit code."""
    make_files_private()
    _open_standard_streams()
    with ends_quietly():
        from services.cli.run_command import run
    sys.exit(run(sys.argv[1:]))


def _open_standard_streams() -> None:
    """Where a shell closed one (``>&-``), the next file that is opened would take its number, and all that is printed."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number
            setattr(sys, name, open(number, "r" if number == 0 else "w", closefd=False))  # noqa: SIM115 (open as long as the process)


if __name__ == "__main__":
    main()
