"""Finds personal data by Presidio's pattern recognisers, and replaces it by keyed pseudonyms.

In: a text. Out: the text with pseudonyms, and how many findings were replaced. Names of people are not found: that needs a
language model. Fails closed: without Presidio, no process that stores text starts, and a piece of a text in which the search failed or gave
up is cut and counted.
"""

import importlib
import importlib.util
import logging
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from types import ModuleType
from typing import Any

import structlog
from prometheus_client import Counter

from flywheel.errors import CannotRun, FlywheelError
from flywheel.traffic.redaction import UNSEARCHED, PersonalDataSpan, found_in_pieces, pseudonymise, worth_searching

RECOGNISERS = (
    "EmailRecognizer",
    "CreditCardRecognizer",
    "IbanRecognizer",
    "IpRecognizer",
    "UsSsnRecognizer",
    "CryptoRecognizer",
)
"""Beside telephone numbers, which ``phone_numbers`` finds. Without the recognisers of dates, URLs and licence numbers: they match ordinary
numbers and addresses, and a request whose numbers were replaced is useless for training."""
SHORT, SHORT_TEXTS = 200, 10_000
"""Characters, and how many such texts are remembered: sessions, tenants and keys of JSON come again and again, at up to 1 ms a search."""
NOT_SEARCHED = Counter(
    "flywheel_redaction_not_searched_total", "Pieces of text that could not be searched for personal data, and were cut", ["reason"]
)
_NOT_NEEDED = ("torch", "transformers", "stanza")
_JSON_BEFORE = re.compile(r"[:\[,]\s*$")
_JSON_AFTER = re.compile(r"^\s*[,\]}]")
log = structlog.get_logger()


class PresidioRedactor:
    """Thread-safe; the same text and key give the same pseudonyms, so that redacted sessions still join."""

    def __init__(self, *, key: bytes) -> None:
        from services.integrations.presidio import candidates, phone_numbers  # here: they import phonenumbers

        self._key = key
        self._lock = threading.Lock()  # phonenumbers' matcher is not documented as thread-safe
        self._searches = _searches()
        self._kinds_in, self._phone, self._phone_numbers = candidates.kinds_in, phone_numbers.PHONE, phone_numbers.phone_numbers
        self._redact_short = lru_cache(maxsize=SHORT_TEXTS)(self._redacted)

    def redact(self, text: str) -> tuple[str, int]:
        if not worth_searching(text):
            return text, 0
        return self._redact_short(text) if len(text) <= SHORT else self._redacted(text)

    def _redacted(self, text: str) -> tuple[str, int]:
        if not self._kinds_in(text):
            return text, 0
        spans = [_without_brackets(text, span) for span in found_in_pieces(text, self._found_or_unsearched)]
        return pseudonymise(text, [span for span in spans if not _is_json_number(text, span)], self._key)

    def _found_or_unsearched(self, piece: str) -> list[PersonalDataSpan]:
        """What was found; the whole piece as unsearched where the search gave up or failed. Raises what the machine lacks for a moment: the
        text waits."""
        try:
            return self._found(piece)
        except TimeoutError:
            NOT_SEARCHED.labels("gave_up").inc()
            log.error("The search for personal data took too long; the piece of text is cut.", action="text_not_searched")
        except (FlywheelError, OSError, MemoryError):
            raise
        except Exception as error:  # noqa: BLE001 (a recogniser may raise anything; its text may quote the piece)
            NOT_SEARCHED.labels("failed").inc()
            log.error(
                "The search for personal data failed; the piece of text is cut.", action="text_not_searched", error=type(error).__name__
            )
        return [PersonalDataSpan(start=0, end=len(piece), kind=UNSEARCHED)]

    def _found(self, piece: str) -> list[PersonalDataSpan]:
        """Locked for one piece, so that a short text of another thread does not wait for a long one."""
        found: list[PersonalDataSpan] = []
        for kind in self._kinds_in(piece):
            with self._lock:
                places = self._phone_numbers(piece) if kind == self._phone else self._searches[kind].places(piece)
                found += [PersonalDataSpan(start=start, end=end, kind=kind) for start, end in places]
        return found


class RedactorAtFirstText:
    """Imports Presidio at the first text (some 5 seconds): for a process that must serve before it stores."""

    def __init__(self, *, key: bytes) -> None:
        require_presidio()
        self._key = key
        self._ready: PresidioRedactor | None = None

    def redact(self, text: str) -> tuple[str, int]:
        if self._ready is None:
            self._ready = PresidioRedactor(key=self._key)
        return self._ready.redact(text)


def require_presidio() -> None:
    """Raises CannotRun when Presidio is not installed, without importing it."""
    if importlib.util.find_spec("presidio_analyzer") is None:
        raise CannotRun(
            "personal data cannot be redacted: presidio-analyzer is not installed",
            where="redaction",
            remedy="Install flywheel-daemon[pii]; without it no text is stored.",
        )


def _without_brackets(text: str, finding: PersonalDataSpan) -> PersonalDataSpan:
    """The finding without a leading [ or {, which the recogniser of phone numbers takes for the beginning of a number."""
    start = finding.start
    while finding.kind != UNSEARCHED and start < finding.end and text[start] in "[{":
        start += 1
    return PersonalDataSpan(start=start, end=finding.end, kind=finding.kind)


def _is_json_number(text: str, finding: PersonalDataSpan) -> bool:
    """Whether the finding is a bare number in JSON: a pseudonym would break the JSON, and phone numbers are written as strings."""
    if finding.kind == UNSEARCHED:
        return False
    before, after = text[max(0, finding.start - 8) : finding.start], text[finding.end : finding.end + 8]
    return text[finding.start : finding.end].isdecimal() and bool(_JSON_BEFORE.search(before)) and bool(_JSON_AFTER.search(after))


def _searches() -> dict[str, Any]:
    """A PatternSearch for each kind."""
    from services.integrations.presidio.pattern_search import PatternSearch  # here: it imports regex

    require_presidio()
    with _absent(*_NOT_NEEDED):
        recognisers = importlib.import_module("presidio_analyzer.predefined_recognizers")
    _keep_offline()
    logging.getLogger("presidio-analyzer").setLevel(logging.CRITICAL)  # some of its lines quote the text
    made = [PatternSearch(getattr(recognisers, name)(supported_language="en")) for name in RECOGNISERS]
    return {one.kind: one for one in made}


@contextmanager
def _absent(*names: str) -> Iterator[None]:
    """Hides modules during Presidio's import: it would import torch and transformers for engines unused here (18 s, 440 MB a process)."""
    hidden = [name for name in names if name not in sys.modules]
    modules: dict[str, ModuleType | None] = sys.modules  # type: ignore[assignment]  # None is how Python marks "may not be imported"
    for name in hidden:
        modules[name] = None
    try:
        yield
    finally:
        for name in hidden:
            if name in modules and modules[name] is None:
                del modules[name]


def _keep_offline() -> None:
    """Makes tldextract, which the e-mail recogniser uses, read its own list of public suffixes instead of downloading one."""
    tldextract: Any = importlib.import_module("tldextract")
    inner: Any = importlib.import_module("tldextract.tldextract")
    inner.TLD_EXTRACTOR = tldextract.extract = tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None)
