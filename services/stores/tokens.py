"""Who a token belongs to, and the secrets that the daemon makes for itself.

In: the Authorization header, the scope an action needs. Out: the person behind the token, or NotAllowed.
Does not read flywheel.yaml, and does not decide which scope an action needs.
"""

import hashlib
import hmac
import os
import secrets
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from flywheel.errors import CannotRun, NotAllowed
from flywheel.ids import DAEMON, Person
from services.ports.tokens import IssuedToken, IssuedTokens

INTERNAL_SCOPE = "internal"
EVERY_WORKLOAD = "*"


class UnknownToken(NotAllowed):
    """There is no token, or one that is unknown, expired or revoked. ``kind``: which of these."""

    status = 401

    def __init__(self, reason: str, *, kind: str, remedy: str, person: Person | None = None) -> None:
        super().__init__(reason, where="Authorization", remedy=remedy)
        self.kind, self.person = kind, person or DAEMON


class ScopeMissing(NotAllowed):
    """The token is known, but does not allow this. ``kind``: for its scopes, or for its workloads."""

    status = 403

    def __init__(self, reason: str, *, kind: str, remedy: str, person: Person) -> None:
        super().__init__(reason, where="Authorization", remedy=remedy)
        self.kind, self.person = kind, person


class TokenEntry(Protocol):
    """A name, scopes, workloads, and the SHA-256 of the token. The token itself is not stored."""

    @property
    def name(self) -> str: ...
    @property
    def scopes(self) -> frozenset[str]: ...
    @property
    def workloads(self) -> frozenset[str]: ...
    @property
    def sha256(self) -> str: ...


@dataclass(frozen=True, kw_only=True)
class InternalToken:
    """The key between the daemon's own processes."""

    sha256: str
    name: str = DAEMON
    scopes: frozenset[str] = frozenset({INTERNAL_SCOPE})
    workloads: frozenset[str] = frozenset({EVERY_WORKLOAD})


class Tokens:
    """Says which person a token belongs to. The internal key belongs to the daemon's own processes and has the scope ``internal`` only."""

    def __init__(
        self,
        *,
        entries: Sequence[TokenEntry],
        internal: str,
        issued: IssuedTokens,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """``entries``: of the settings. ``issued``: made by people since."""
        self._entries: tuple[TokenEntry, ...] = (InternalToken(sha256=sha256_of(internal)), *entries)
        self.issued, self._clock = issued, clock

    def names(self) -> frozenset[str]:
        """Of the tokens of the settings and of the daemon itself."""
        return frozenset(entry.name for entry in self._entries)

    def person(self, authorization: str | None, *, scope: str, workload: str | None = None) -> Person:
        """The token's name. Raises UnknownToken (401) or ScopeMissing (403)."""
        entry = self._entry(authorization)
        if scope not in entry.scopes:
            raise ScopeMissing(
                f"the token of {entry.name} does not have the scope {scope}",
                kind="scope missing",
                person=Person(entry.name),
                remedy=f"Use a token with the scope {scope}, or make one: flywheel token create.",
            )
        if workload is not None and workload not in entry.workloads and EVERY_WORKLOAD not in entry.workloads:
            raise ScopeMissing(
                f"the token of {entry.name} does not cover the workload {workload}",
                kind="workload not covered",
                person=Person(entry.name),
                remedy="Use a token for this workload, or make one: flywheel token create.",
            )
        return Person(entry.name)

    def _entry(self, authorization: str | None) -> TokenEntry | IssuedToken:
        kind, _, token = (authorization or "").partition(" ")
        token = token.strip()
        if kind.lower() != "bearer" or not token:
            remedy = "Send the header `Authorization: Bearer <token>`."
            raise UnknownToken("there is no token", kind="no token", remedy=remedy)
        digest = sha256_of(token)
        found: TokenEntry | IssuedToken | None = None
        known: list[TokenEntry | IssuedToken] = [*self._entries, *self.issued.issued()]
        for entry in known:  # always to the end: the time taken must not reveal which one matches
            if hmac.compare_digest(digest, entry.sha256):
                found = entry
        if found is None:
            remedy = "Use a token of flywheel.yaml, or one that `flywheel token create` made."
            raise UnknownToken("the token is unknown", kind="unknown token", remedy=remedy)
        if isinstance(found, IssuedToken) and (state := found.state(self._clock())) != "in force":
            remedy = "Make another one: flywheel token create."
            raise UnknownToken(f"the token is {state}", kind=f"{state} token", remedy=remedy, person=Person(found.name))
        return found


def sha256_of(token: str) -> str:
    """64 hexadecimal digits, as in flywheel.yaml."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


def internal_key(data_dir: Path) -> str:
    """The secret between the daemon's own processes; made when it is missing."""
    return own_secret(data_dir / "keys" / "internal")


def redaction_key(data_dir: Path, *, configured: bytes | None = None, in_use: bool) -> bytes:
    """The key of the pseudonyms: the configured one, else the daemon's own, made when it is missing.

    Another key gives other pseudonyms for the same person. ``in_use``: there are some already; then a missing key is not replaced. Raises
    CannotRun.
    """
    if configured is not None:
        return configured
    file = data_dir / "keys" / "redaction"
    if in_use and not file.exists():
        raise CannotRun(
            "the key of the pseudonyms is missing; with another one, the same person gets another pseudonym than before",
            where=str(file),
            remedy=f"Put the file back from its backup. If there is none, make one: `(umask 077; openssl rand -hex 32 > {file})`.",
        )
    return own_secret(file).encode()


def own_secret(path: Path) -> str:
    """The secret at ``path``; made with mode 0600 when missing. Processes that start at once all get the same secret."""
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor, made = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")  # mkstemp makes it 0600
            try:
                with os.fdopen(descriptor, "w") as file:
                    file.write(secrets.token_hex(32))
                    file.flush()
                    os.fsync(file.fileno())
                os.link(made, path)  # unlike a rename it refuses to replace what another process has just made
                _sync(path.parent)
            except FileExistsError:
                pass
            finally:
                os.unlink(made)
        secret = path.read_text().strip()
    except OSError as error:
        raise CannotRun(
            f"the secret cannot be read or made: {error.strerror}", where=str(path), remedy="Give this user the right to write there."
        ) from error
    if not secret:
        raise CannotRun("the secret is empty", where=str(path), remedy="Delete the file; the next start makes a new one.")
    return secret


def _sync(folder: Path) -> None:
    """So that a power cut leaves the names in it."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
