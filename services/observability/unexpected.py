"""What a log may say of an unexpected error: its type and its places in the code, never its message, which may quote a text of a user."""

from types import TracebackType

from flywheel.errors import FlywheelError

OURS = ("flywheel.", "services.")


def sentence_of(error: BaseException) -> str:
    """For errors with a text of ours or of the system's (a file, a socket, a database) that text, else the type's name."""
    if isinstance(error, FlywheelError | OSError):
        return str(error)
    told_by_driver = getattr(error, "orig", None)  # SQLAlchemy's own text quotes the values of the statement
    return f"{type(error).__name__}: {told_by_driver}" if told_by_driver is not None else type(error).__name__


def place_of(error: BaseException) -> str:
    """The innermost place in our code, as ``module:line``."""
    places = trace_of(error)
    return next((place for place in reversed(places) if place.startswith(OURS)), places[-1] if places else "an unknown place")


def trace_of(error: BaseException) -> list[str]:
    """Each frame as ``module:line``, the outermost first."""
    frames: list[str] = []
    traceback: TracebackType | None = error.__traceback__
    while traceback is not None:
        frames.append(f"{traceback.tb_frame.f_globals.get('__name__', '?')}:{traceback.tb_lineno}")
        traceback = traceback.tb_next
    return frames
