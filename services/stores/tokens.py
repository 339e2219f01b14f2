"""Static tokens, and the secrets that the daemon makes for itself.

In: the Authorization header, the scope an action needs. Out: the person behind the token, or NotAllowed.
Does not read flywheel.yaml, and does not decide which scope an action needs.
"""

import hashlib
import hmac
import os
import secrets
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from flywheel.errors import CannotRun, NotAllowed
from flywheel.ids import DAEMON, Person

INTERNAL_SCOPE = "internal"
EVERY_WORKLOAD = "*"


class UnknownToken(NotAllowed):
    """There is no token, or an unknown one."""

    status = 401


class ScopeMissing(NotAllowed):
    """The token is known, but does not allow this."""

    status = 403


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

    def __init__(self, *, entries: Sequence[TokenEntry], internal: str) -> None:
        self._entries: tuple[TokenEntry, ...] = (InternalToken(sha256=sha256_of(internal)), *entries)

    def person(self, authorization: str | None, *, scope: str, workload: str | None = None) -> Person:
        """The token's name. Raises UnknownToken (401) or ScopeMissing (403)."""
        entry = self._entry(authorization)
        if scope not in entry.scopes:
            raise ScopeMissing(
                f"the token of {entry.name} does not have the scope {scope}",
                where="Authorization",
                remedy=f"Use a token with the scope {scope}, or add it under tokens in flywheel.yaml.",
            )
        if workload is not None and workload not in entry.workloads and EVERY_WORKLOAD not in entry.workloads:
            raise ScopeMissing(
                f"the token of {entry.name} does not cover the workload {workload}",
                where="Authorization",
                remedy="Use a token for this workload, or add the workload to this token in flywheel.yaml.",
            )
        return Person(entry.name)

    def _entry(self, authorization: str | None) -> TokenEntry:
        kind, _, token = (authorization or "").partition(" ")
        token = token.strip()
        if kind.lower() != "bearer" or not token:
            raise UnknownToken("there is no token", where="Authorization", remedy="Send the header `Authorization: Bearer <token>`.")
        digest = sha256_of(token)
        found: TokenEntry | None = None
        for entry in self._entries:  # always to the end: the time taken must not reveal which one matches
            if hmac.compare_digest(digest, entry.sha256):
                found = entry
        if found is None:
            raise UnknownToken(
                "the token is unknown", where="Authorization", remedy="Use a token that is listed under tokens in flywheel.yaml."
            )
        return found


def sha256_of(token: str) -> str:
    """64 hexadecimal digits, as in flywheel.yaml."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


def internal_key(data_dir: Path) -> str:
    """The secret between the daemon's own processes; made when it is missing."""
    return own_secret(data_dir / "keys" / "internal")


def redaction_key(data_dir: Path, *, configured: bytes | None = None) -> bytes:
    """The key of the pseudonyms: the configured one, else the daemon's own, made when it is missing.

    Another key gives other pseudonyms for the same person.
    """
    return configured if configured is not None else own_secret(data_dir / "keys" / "redaction").encode()


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
