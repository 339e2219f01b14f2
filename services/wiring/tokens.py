"""Who may do what: the tokens of flywheel.yaml and the internal key."""

from pathlib import Path

from flywheel.errors import InvalidSettings
from services.adapters.tokens import TokenEntry, Tokens, internal_key, sha256_of
from services.settings import Settings, Token


def tokens(settings: Settings) -> Tokens:
    """Raises InvalidSettings when a token's file cannot be read or is empty."""
    entries = [_entry(token, place=f"tokens.{place}") for place, token in enumerate(settings.tokens)]
    return Tokens(entries=entries, internal=internal_key(settings.data_dir))


def secret_from(file: Path, *, where: str) -> str:
    """The first line of a secret's file."""
    try:
        lines = file.read_text().split()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidSettings(
            "the file cannot be read", where=where, value=str(file), remedy="Name a text file that this user may read."
        ) from error
    if not lines:
        raise InvalidSettings("the file is empty", where=where, value=str(file), remedy="Put the secret into it, on one line.")
    return lines[0]


def _entry(token: Token, *, place: str) -> TokenEntry:
    if token.sha256 is not None:
        digest = token.sha256.strip().lower()
        if len(digest) != 64 or any(character not in "0123456789abcdef" for character in digest):
            raise InvalidSettings(
                "is not a SHA-256", where=f"{place}.sha256", remedy="Give the 64 hex digits that `printf %s TOKEN | sha256sum` prints."
            )
    else:
        assert token.token_file is not None  # the settings refuse an entry without either
        digest = sha256_of(secret_from(token.token_file, where=f"{place}.token_file"))
    return TokenEntry(name=token.name, scopes=frozenset(token.scopes), workloads=frozenset(token.workloads), sha256=digest)
