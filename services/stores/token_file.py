"""The tokens that people made: one file beside the keys, read anew when it has changed."""

import fcntl
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import structlog

from flywheel.errors import CannotRun
from flywheel.ids import Person
from services.ports.tokens import IssuedToken

log = structlog.get_logger()
REMEDY = "Restore the file from a backup, or move it away: the tokens in it are then no longer known."


class TokenFile:
    """``keys/tokens.json`` in the data folder. A gateway and the api look at it with each request."""

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / "keys" / "tokens.json"
        self._seen: tuple[int, int, int] | None = None
        self._held: tuple[IssuedToken, ...] = ()

    def issued(self) -> Sequence[IssuedToken]:
        """Of a file that cannot be read, none: its tokens open nothing."""
        try:
            found = self._path.stat()
        except FileNotFoundError:
            self._seen, self._held = None, ()
            return self._held
        except OSError as error:
            return self._unreadable(error)
        seen = (found.st_mtime_ns, found.st_ino, found.st_size)
        if seen != self._seen:
            try:
                self._held = self._read()
            except (OSError, ValueError, KeyError, TypeError) as error:
                return self._unreadable(error)
            self._seen = seen
        return self._held

    def add(self, token: IssuedToken) -> bool:
        with self._changing() as held:
            if any(one.name == token.name for one in held):
                return False
            self._write([*held, token])
        return True

    def revoke(self, name: str, *, now: datetime) -> IssuedToken | None:
        with self._changing() as held:
            found = next((one for one in held if one.name == name), None)
            if found is None or found.revoked_at is not None:
                return found
            revoked = replace(found, revoked_at=now)
            self._write([revoked if one.name == name else one for one in held])
        return revoked

    @contextmanager
    def _changing(self) -> Iterator[tuple[IssuedToken, ...]]:
        """The tokens, while no other process changes them. Raises CannotRun."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with self._path.with_suffix(".lock").open("a") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield self._read() if self._path.exists() else ()
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CannotRun(f"cannot be read or written: {type(error).__name__}", where=str(self._path), remedy=REMEDY) from error

    def _read(self) -> tuple[IssuedToken, ...]:
        return tuple(_token(one) for one in json.loads(self._path.read_text()))

    def _write(self, tokens: Sequence[IssuedToken]) -> None:
        """A kill leaves the old file or the new one."""
        descriptor, made = tempfile.mkstemp(dir=self._path.parent, prefix=".tokens-")  # mkstemp makes it 0600
        try:
            with os.fdopen(descriptor, "w") as file:
                json.dump([_as_json(one) for one in tokens], file, indent=1)
                file.flush()
                os.fsync(file.fileno())
            os.replace(made, self._path)
        except OSError:
            Path(made).unlink(missing_ok=True)
            raise

    def _unreadable(self, error: Exception) -> Sequence[IssuedToken]:
        log.error("The file of tokens cannot be read.", action="tokens_unreadable", file=str(self._path), error=type(error).__name__)
        self._seen, self._held = None, ()
        return self._held


def _as_json(token: IssuedToken) -> dict[str, object]:
    return {
        "name": token.name,
        "scopes": list(token.scopes),
        "workloads": list(token.workloads),
        "sha256": token.sha256,
        "created_at": token.created_at.isoformat(),
        "created_by": token.created_by,
        "expires_at": token.expires_at.isoformat(),
        "revoked_at": token.revoked_at.isoformat() if token.revoked_at is not None else None,
    }


def _token(value: dict[str, str | list[str] | None]) -> IssuedToken:
    """Raises ValueError, KeyError or TypeError for what ``_as_json`` did not write."""
    scopes, workloads, revoked = value["scopes"], value["workloads"], value["revoked_at"]
    if not isinstance(scopes, list) or not isinstance(workloads, list):
        raise TypeError("scopes and workloads are lists")
    return IssuedToken(
        name=str(value["name"]),
        scopes=tuple(scopes),
        workloads=tuple(workloads),
        sha256=str(value["sha256"]),
        created_at=datetime.fromisoformat(str(value["created_at"])),
        created_by=Person(str(value["created_by"])),
        expires_at=datetime.fromisoformat(str(value["expires_at"])),
        revoked_at=datetime.fromisoformat(str(revoked)) if revoked is not None else None,
    )
