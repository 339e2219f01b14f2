"""Tokens that people make while the daemon runs, beside those of the settings."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from flywheel.ids import Person


@dataclass(frozen=True, kw_only=True)
class IssuedToken:
    """Who it is and what it opens. The token itself is not kept."""

    name: str
    scopes: tuple[str, ...]
    workloads: tuple[str, ...]  # "*": all
    sha256: str
    created_at: datetime
    created_by: Person
    expires_at: datetime
    revoked_at: datetime | None = None

    def state(self, now: datetime) -> str:
        """ "in force", "expired" or "revoked"."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if now >= self.expires_at else "in force"


class IssuedTokens(Protocol):
    """Each change is in force at once, in every process of the host."""

    def issued(self) -> Sequence[IssuedToken]:
        """In the order in which they were made, revoked and expired ones too."""

    def add(self, token: IssuedToken) -> bool:
        """False when the name is there already: it signs what was done with the first one. Raises CannotRun."""

    def revoke(self, name: str, *, now: datetime) -> IssuedToken | None:
        """None when there is no such token. One that is revoked stays as it is. Raises CannotRun."""
