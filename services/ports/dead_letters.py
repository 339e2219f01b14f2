"""Dead letters as they are kept: of the traffic topic by the recorder, of the corrections topic by the correction desk."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from flywheel.traffic.dead_letter import LetterCause, LetterState


@dataclass(frozen=True, kw_only=True)
class DeadLetter:
    """An event that could not be recorded or decided. Its bytes are kept apart, sealed."""

    id: str  # follows from topic and bytes
    topic: str
    partition: int  # partition, offset, time and reason are those of the last failure
    offset: int
    at: datetime
    cause: LetterCause
    reason: str
    path: str  # where in the event, e.g. "$.data.status"
    size: int  # of the event, in bytes
    event_id: str = ""  # as far as it could be read
    workload: str = ""  # as far as it could be read and is configured
    attempts: int = 1  # how often it failed
    state: LetterState = LetterState.WAITING


class LetterClosed(ValueError):
    """The content cannot be opened: another key sealed it, or it was changed."""


class DeadLetters(Protocol):
    """Keeps dead letters, and what became of them."""

    def keep(self, letter: DeadLetter, raw: bytes) -> None:
        """One that failed before is the same letter: it waits again, with one more attempt. The same record twice is one attempt."""

    def dead_letters(
        self, *, workloads: Collection[str] | None = None, cause: LetterCause | None = None, limit: int = 100
    ) -> Sequence[DeadLetter]:
        """Newest first. ``workloads``: of these only; "" is for letters that name none."""

    def dead_letter(self, id: str) -> DeadLetter | None:
        """One, or None."""

    def content(self, id: str) -> bytes | None:
        """The event's bytes, at most KEPT_BYTES of them; None where they are not kept any more. Raises LetterClosed."""

    def retried(self) -> frozenset[str]:
        """Ids of the letters whose bytes were sent again and of which nothing has come yet."""

    def move(self, id: str, state: LetterState, *, expected: LetterState | None = None) -> bool:
        """A state without content deletes the content. ``expected``: only from this state; False when the letter is in another one."""
