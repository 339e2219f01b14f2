"""Secrets that the settings name by file: each is read here, when a process is put together."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from flywheel.errors import InvalidSettings
from services.settings.sections import Settings, Token
from services.settings.small_files import SECRET_BYTES, read_at_most


@dataclass(frozen=True, kw_only=True)
class KnownToken:
    """The person, the scopes and the SHA-256 of a token. The token itself is not stored."""

    name: str
    scopes: frozenset[str]
    workloads: frozenset[str]
    sha256: str


class BrokerFields(TypedDict):
    """How a Kafka client reaches the broker in use."""

    bootstrap: str
    security_protocol: str
    ssl_cafile: str | None
    sasl_mechanism: str | None
    sasl_username: str | None
    sasl_password: str | None


def secret_from(file: Path, *, where: str) -> str:
    """The first line of a secret's file that is not empty. Raises InvalidSettings, naming the setting ``where``."""
    try:
        lines = [line.strip() for line in read_at_most(file, SECRET_BYTES).decode().splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidSettings(
            "the file cannot be read", where=where, value=str(file), remedy="Name a text file that this user may read."
        ) from error
    if not lines:
        raise InvalidSettings("the file is empty", where=where, value=str(file), remedy="Put the secret into it, on one line.")
    return lines[0]


def serving_key(settings: Settings) -> str | None:
    """vLLM's key; None where none is configured."""
    file = settings.serving.key_file
    return secret_from(file, where="serving.key_file") if file is not None else None


def configured_redaction_key(settings: Settings) -> bytes | None:
    """The key of the pseudonyms; None where the daemon makes its own."""
    file = settings.redaction_key_file
    return secret_from(file, where="redaction_key_file").encode() if file is not None else None


def known_tokens(settings: Settings) -> tuple[KnownToken, ...]:
    """Raises InvalidSettings when a token's file cannot be read or is empty."""
    return tuple(_known(token, where=f"tokens.{index}") for index, token in enumerate(settings.tokens))


def broker_fields(settings: Settings) -> BrokerFields:
    """Bootstrap and security of the broker in use."""
    kafka = settings.kafka
    return BrokerFields(
        bootstrap=settings.bootstrap,
        security_protocol=kafka.security_protocol,
        ssl_cafile=str(kafka.ssl_cafile) if kafka.ssl_cafile else None,
        sasl_mechanism=kafka.sasl_mechanism,
        sasl_username=kafka.sasl_username,
        sasl_password=secret_from(kafka.sasl_password_file, where="kafka.sasl_password_file") if kafka.sasl_password_file else None,
    )


def _known(token: Token, *, where: str) -> KnownToken:
    if token.sha256 is not None:
        digest = token.sha256.strip().lower()
        if len(digest) != 64 or any(character not in "0123456789abcdef" for character in digest):
            raise InvalidSettings(
                "is not a SHA-256", where=f"{where}.sha256", remedy="Give the 64 hex digits that `printf %s TOKEN | sha256sum` prints."
            )
    else:
        assert token.token_file is not None  # the settings refuse an entry without either
        secret = secret_from(token.token_file, where=f"{where}.token_file")
        digest = hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()
    return KnownToken(name=token.name, scopes=frozenset(token.scopes), workloads=frozenset(token.workloads), sha256=digest)
