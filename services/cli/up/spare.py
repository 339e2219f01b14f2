"""A part with a spare: another process that has imported its code and read its settings, and starts to work when the first one ends.

Without a spare, the gateway would refuse requests for about a second after a crash, while it imports. A spare opens no port and no
database, and keeps the settings that it read at its start.
"""

from dataclasses import replace

from services.process.child_process import Child, ChildCommand, ProcessGroup


class WithSpare:
    """``command``: without the argument --wait, which is added."""

    def __init__(self, group: ProcessGroup, command: ChildCommand) -> None:
        self._group = group
        self._command = replace(command, arguments=(*command.arguments, "--wait"), waits=True)
        self._spare: Child | None = None

    def start(self) -> Child:
        """Tells the spare, or a new process if none waits, to begin, and returns it. Raises CannotRun when it cannot be started."""
        self.provide()
        child, self._spare = self._spare, None
        assert child is not None
        child.begin()
        return child

    def provide(self) -> None:
        """Starts a spare unless one waits. Raises CannotRun when the program cannot be started."""
        if self._spare is None or self._spare.exit_code() is not None:
            self._spare = self._group.start(self._command)
