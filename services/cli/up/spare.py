"""A part with a spare: another process that has imported its code and read its settings, and starts to work when the first one ends.

Without a spare, the gateway would refuse requests for about a second after a crash, while it imports. A spare opens no port and no
database, and keeps the settings that it read at its start.
"""

import time
from contextlib import suppress
from dataclasses import replace

from flywheel.errors import CannotRun
from services.process.child_process import Child, ChildCommand, ProcessGroup

PAUSE_SECONDS = 10.0
"""After a spare that died by itself, e.g. of a ``flywheel.yaml`` that was changed and has a fault now."""


class WithSpare:
    """``command``: without the argument --wait, which is added."""

    def __init__(self, group: ProcessGroup, command: ChildCommand) -> None:
        self._group = group
        self._command = replace(command, arguments=(*command.arguments, "--wait"), waits=True)
        self._spare: Child | None = None
        self._not_before = 0.0

    def start(self) -> Child:
        """Tells the spare, or a new process if none waits, to begin, and returns it. Raises CannotRun when it cannot be started."""
        child, self._spare = self._spare, None
        if child is None or child.exit_code() is not None:
            child = self._group.start(self._command)
        child.begin()
        return child

    def provide(self) -> None:
        """Starts a spare unless one waits. A spare that cannot be started is missed only when the part dies."""
        now = time.monotonic()
        if self._spare is not None and self._spare.exit_code() is not None:
            self._spare, self._not_before = None, now + PAUSE_SECONDS
        if self._spare is None and now >= self._not_before:
            with suppress(CannotRun):
                self._spare = self._group.start(self._command)
