"""The kernel's parent-death signal (Linux): a child is sent it when the thread that started it ends, in whatever way."""

import ctypes
import signal
from collections.abc import Callable

PR_SET_PDEATHSIG = 1


def at_parent_death(number: signal.Signals) -> Callable[[], None]:
    """A ``preexec_fn`` for ``subprocess.Popen``. On systems without the signal it does nothing."""
    libc = ctypes.CDLL(None)  # loaded here: between fork and exec nothing may be imported
    if not hasattr(libc, "prctl"):
        return lambda: None
    return lambda: libc.prctl(PR_SET_PDEATHSIG, number)
