"""Ports for what a test starts.

They lie below the range from which the kernel takes ports for outgoing connections (32,768 and up on Linux): a port that is free when
it is chosen stays free until the test's process listens on it.
"""

import os
import random
import socket

from services.process.process_names import PROCESSES

LOWEST, HIGHEST = 12_000, 32_000
_rng = random.Random(os.getpid())
_given: set[int] = set()


def free_port() -> int:
    """A port on which nobody listens, and which no other call of this run has got."""
    return free_ports(1)


def free_ports(count: int) -> int:
    """The first of ``count`` such ports in a row."""
    for _ in range(1_000):
        first = _rng.randrange(LOWEST, HIGHEST - count)
        row = range(first, first + count)
        if _given.isdisjoint(row) and all(_is_free(port) for port in row):
            _given.update(row)
            return first
    raise RuntimeError(f"there are no {count} free ports in a row between {LOWEST} and {HIGHEST}")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_metrics_port() -> int:
    """A value for ``http.metrics_port``: each process gets a port of the row that begins there."""
    return free_ports(len(PROCESSES))
