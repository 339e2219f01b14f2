"""One tree of errors. Each says what is wrong, where, and what to do; the command line prints it and never a stack trace."""


class FlywheelError(Exception):
    """Something a person can put right."""

    exit_code = 1

    def __init__(self, reason: str, *, remedy: str, where: str = "", value: object = None) -> None:
        self.reason, self.remedy, self.where, self.value = reason, remedy, where, value
        super().__init__(str(self))

    def __str__(self) -> str:
        at = f"{self.where}: " if self.where else ""
        got = f" (got {self.value!r})" if self.value is not None else ""
        return f"{at}{self.reason}{got}. {self.remedy}"


class InvalidInput(FlywheelError):
    """A value from outside does not fit: an event, a submission, a file."""

    exit_code = 2


class InvalidSettings(InvalidInput):
    """``flywheel.yaml`` or the environment holds a value that cannot be used."""


class NotAllowed(FlywheelError):
    """The token's scopes do not cover this."""

    exit_code = 3


class Refused(FlywheelError):
    """A decision stands against it: a gate, a readiness record, a leakage report."""

    exit_code = 3


class NotFound(FlywheelError):
    """There is no such thing under this id."""

    exit_code = 2


class Conflict(FlywheelError):
    """The same id was used before with another content."""

    exit_code = 2


class CannotRun(FlywheelError):
    """The machine lacks something: a model, a port, disk, a processor feature, a program."""


def shortened(value: object) -> object:
    """The value for a message: no whole list or mapping, no number or text that fills the screen."""
    if isinstance(value, dict | list | tuple):
        return "a mapping" if isinstance(value, dict) else "a list"
    if isinstance(value, int) and value.bit_length() > 200:
        return f"a number of {value.bit_length()} bits"
    return value if not isinstance(value, str) or len(value) < 80 else value[:80] + "…"
