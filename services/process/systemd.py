"""Tells systemd, where it started this process, how it is: sd_notify(3)."""

import os
import socket
from contextlib import suppress
from enum import StrEnum


class ServiceState(StrEnum):
    """What systemd understands; ALIVE is expected more often than each ``WatchdogSec``."""

    READY = "READY=1"
    ALIVE = "WATCHDOG=1"
    STOPPING = "STOPPING=1"


def notify(state: ServiceState) -> None:
    """Does nothing where nobody listens."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sender:
        sender.sendto(state.encode(), f"\0{address[1:]}" if address.startswith("@") else address)
