"""A budget of CPU time. Work that exceeds it ends the process by SIGPROF, even where it never gives other threads a turn."""

import signal


def allow(seconds: float) -> None:
    """From now on; counts the CPU time of all threads. 0 takes the budget away."""
    signal.setitimer(signal.ITIMER_PROF, seconds)
