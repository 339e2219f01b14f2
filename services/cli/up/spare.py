"""A part with a spare: a second process that has imported everything and read the settings, and waits to take the place of the first.

Importing takes the gateway a second, so without a spare a crash would refuse the requests of a second. The spare opens no port and no file.
"""

from dataclasses import replace

from services.process.child_process import Child, ChildCommand, ProcessGroup


class WithSpare:
    """``command`` is of a process that has the argument --wait."""

    def __init__(self, group: ProcessGroup, command: ChildCommand) -> None:
        self._group = group
        self._command = replace(command, arguments=(*command.arguments, "--wait"), waits=True)
        self._spare: Child | None = None

    def start(self) -> Child:
        """The spare where one waits, else a new process."""
        self.provide()
        child, self._spare = self._spare, None
        assert child is not None
        child.begin()
        return child

    def provide(self) -> None:
        """Starts a spare unless one waits. Raises CannotRun when the program cannot be started."""
        if self._spare is None or self._spare.exit_code() is not None:
            self._spare = self._group.start(self._command)
