"""What stands between a text and every place where it is stored."""

from typing import TYPE_CHECKING

from services.adapters.presidio_redaction import PresidioRedactor, require_presidio
from services.adapters.tokens import redaction_key
from services.settings import Settings
from services.wiring.tokens import secret_from

if TYPE_CHECKING:  # at run time it brings datasketch and scipy: 2 s at each start of a process that needs neither
    from services.ports.learn import Redactor


def redactor(settings: Settings) -> "Redactor":
    """Takes about 5 seconds: Presidio's import. Raises CannotRun when it is not installed."""
    return PresidioRedactor(key=_key(settings))


def lazy_redactor(settings: Settings) -> "Redactor":
    """Presidio is looked for now and imported at the first text: for a process that must serve before it stores."""
    require_presidio()
    return _AtFirstText(key=_key(settings))


def _key(settings: Settings) -> bytes:
    if settings.redaction_key_file is not None:
        return secret_from(settings.redaction_key_file, where="redaction_key_file").encode()
    return redaction_key(settings.data_dir)


class _AtFirstText:
    def __init__(self, *, key: bytes) -> None:
        self._key = key
        self._ready: PresidioRedactor | None = None

    def redact(self, text: str) -> tuple[str, int]:
        if self._ready is None:
            self._ready = PresidioRedactor(key=self._key)
        return self._ready.redact(text)
