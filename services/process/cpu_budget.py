"""A budget of CPU time. Work that exceeds it ends the process by SIGPROF, even where it never gives other threads a turn."""

import signal

EVENT_CPU_SECONDS = 20.0  # for each step of one event, with some 6 to import the redactor


def allow(seconds: float) -> None:
    """From now on; counts the CPU time of all threads. 0 takes the budget away."""
    signal.setitimer(signal.ITIMER_PROF, seconds)
