"""Sealing: AES-GCM with keys of 256 bits, and the key that seals all others.

The sealing key is a file of its own, apart from the databases: a copy of the databases alone shows no content. In: its path. Out: a
``SealingKey``. Whose data a content is, and where sealed content is kept, is not decided here.
"""

import hmac
import os
import stat
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from flywheel.errors import CannotRun
from services.stores.tokens import own_secret

NONCE_BYTES = 12
KEY_BYTES = 32
DIGEST_BYTES = 16
LEAST_SECRET = 32  # characters; fewer can be guessed
SETTING = "sealing_key_file"


class SealBroken(ValueError):
    """Another key sealed this, or it was changed, or moved to another place."""


class DataKey:
    """Seals contents. The nonce is random, which is safe for 2**32 contents a key."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    def seal(self, content: bytes, *, bound_to: bytes) -> bytes:
        """Nonce and ciphertext. It can be opened only with the same ``bound_to``, e.g. the id of the row in which it stands."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, content, bound_to)

    def open(self, sealed: bytes, *, bound_to: bytes) -> bytes:
        """The content. Raises SealBroken."""
        try:
            return self._cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], bound_to)
        except (InvalidTag, ValueError, TypeError) as error:  # too short to be sealed, or no bytes: SQLite keeps any type in any column
            raise SealBroken from error


class SealingKey(DataKey):
    """The key that seals data keys. ``file``: where it stands, for messages."""

    def __init__(self, secret: bytes, *, file: Path) -> None:
        super().__init__(_derived(secret, b"flywheel: data keys"))
        self._names = _derived(secret, b"flywheel: names of subjects")
        self.file = file

    def digest(self, *parts: str) -> bytes:
        """16 bytes. Without the key nobody can check a guess of the parts against it."""
        encoded = [part.encode("utf-8", "surrogatepass") for part in parts]
        return hmac.digest(self._names, b"".join(b"%d:%b" % (len(part), part) for part in encoded), "sha256")[:DIGEST_BYTES]


def sealing_key(data_dir: Path, *, configured: Path | None, in_use: bool) -> SealingKey:
    """The configured file's key, else the daemon's own, which is made at its first use.

    ``in_use``: something was sealed with it; then a missing file is not replaced. Raises CannotRun for a file that is missing, cannot be
    read, is too short, or can be read by others.
    """
    file = configured or data_dir / "keys" / "sealing"
    if not file.exists() and (configured is not None or in_use):
        lost = "; recorded content cannot be read without it" if in_use else ""
        raise CannotRun(f"the sealing key is missing{lost}", where=_where(file, configured), remedy=_PUT_BACK if in_use else _MAKE)
    if configured is None:
        own_secret(file)
    try:
        mode = stat.S_IMODE(file.stat().st_mode)
        secret = file.read_bytes().strip()
    except OSError as error:
        raise CannotRun(
            f"the sealing key cannot be read: {error.strerror}",
            where=_where(file, configured),
            remedy="Give this user the right to read it.",
        ) from error
    if mode & 0o077:
        raise CannotRun(
            "the sealing key is open to other users", where=_where(file, configured), value=f"{mode:o}", remedy=f"Run `chmod 600 {file}`."
        )
    if len(secret) < LEAST_SECRET:
        raise CannotRun(f"the sealing key has under {LEAST_SECRET} characters", where=_where(file, configured), remedy=_MAKE)
    return SealingKey(secret, file=file)


_PUT_BACK = "Put the file back from its backup; deploy/docs/exchanges.md says what to do if there is none."
_MAKE = "Make one, e.g. with `(umask 077; openssl rand -hex 32 > FILE)`."


def _where(file: Path, configured: Path | None) -> str:
    return str(file) if configured is None else f"{SETTING}: {file}"


def _derived(secret: bytes, purpose: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=purpose).derive(secret)
