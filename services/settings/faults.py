"""Faults of a configuration, each with its path, value, reason and remedy."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from flywheel.errors import InvalidInput, InvalidSettings, shortened


@dataclass(frozen=True, kw_only=True)
class Fault:
    """``where`` is the path of a key, such as ``http.api_port``; ``compared_with`` are the other keys that the value does not fit."""

    where: str
    reason: str
    remedy: str
    value: object = None
    compared_with: tuple[str, ...] = ()

    def __str__(self) -> str:
        """One line."""
        return " ".join(str(InvalidSettings(self.reason, where=self.where, value=self.value, remedy=self.remedy)).split())


class UnusableSettings(InvalidSettings):
    """``flywheel.yaml`` or the environment has one fault or several: one line for each."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = tuple(faults)
        first = self.faults[0]
        super().__init__(first.reason, remedy=first.remedy, where=first.where, value=first.value)

    def __str__(self) -> str:
        return "\n".join(map(str, self.faults))


@contextmanager
def as_fault(faults: list[Fault], where: str, *, compared_with: Sequence[str] = ()) -> Iterator[None]:
    """Adds the refusal of a policy to ``faults``, under the path of the key that it is about."""
    try:
        yield
    except InvalidInput as error:
        value = error.value if isinstance(error.value, tuple) else shortened(error.value)  # the few numbers that do not fit together
        faults.append(Fault(where=where, reason=error.reason, remedy=error.remedy, value=value, compared_with=tuple(compared_with)))


def is_inside(path: str, outer: str) -> bool:
    """True when ``path`` is ``outer`` or a key below it."""
    return path == outer or path.startswith(f"{outer}.")


def overlap(one: str, other: str) -> bool:
    """True when one path is inside the other."""
    return is_inside(one, other) or is_inside(other, one)
