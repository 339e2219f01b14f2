"""Ctrl-C while modules are imported: the process ends without a trace."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

EXIT_CODE = 130  # as a shell reports SIGINT


@contextmanager
def ends_quietly() -> Iterator[None]:
    """Ctrl-C within ends the process at once. For imports in the main thread: nothing is open yet that must be closed, and Python prints
    a trace where KeyboardInterrupt falls into a callback, whoever catches it elsewhere. A handler that is set already stays.
    """
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, lambda *_: os._exit(EXIT_CODE))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
