"""Finds personal data by Presidio's pattern recognisers, and replaces it by keyed pseudonyms.

In: a text. Out: the text with pseudonyms, and how many findings were replaced. Names of people are found where they are
known, or by an engine of the team. Fails closed: without Presidio, no process that stores text starts, and a piece of a text in which the
search failed or gave up is cut and counted.
"""

import importlib
import importlib.util
import logging
import re
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache, partial
from types import ModuleType
from typing import Any, Protocol

import structlog
from prometheus_client import Counter

from flywheel.errors import CannotRun, FlywheelError
from flywheel.traffic.names import PERSON, name_places
from flywheel.traffic.names import known_names as known_words
from flywheel.traffic.redaction import UNSEARCHED, PersonalDataSpan, found_in_pieces, pseudonymise, worth_searching
from flywheel.traffic.secrets import Place, may_name_secret, secrets_in

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
NAMES_REMEMBERED = 1_000
"""Exchanges with the same names follow each other."""
ENGINE_REMEDY = "Name package.module:function in flywheel.yaml, or set redaction.names to known."
ENGINE_SCORE = 0.4
NOT_SEARCHED = Counter(
    "flywheel_redaction_not_searched_total", "Pieces of text that could not be searched for personal data, and were cut", ["reason"]
)
_NOT_NEEDED = ("torch", "transformers", "stanza")
_JSON_BEFORE = re.compile(r"[:\[,]\s*$")
_JSON_AFTER = re.compile(r"^\s*[,\]}]")
log = structlog.get_logger()


class NameEngine(Protocol):
    """As much of a Presidio AnalyzerEngine as is used: finds names of people, and raises where it cannot search."""

    def analyze(self, *, text: str, language: str, entities: list[str], score_threshold: float) -> list[Any]: ...


class PresidioRedactor:
    """Thread-safe; the same text and key give the same pseudonyms, so that redacted sessions still join."""

    def __init__(self, *, key: bytes, names: str = "known", known_names: tuple[str, ...] = (), engine: str | None = None) -> None:
        """``names``, ``known_names``, ``engine``: as in the settings. Raises CannotRun where the engine cannot be had."""
        from services.integrations.presidio import candidates, phone_numbers  # here: they import phonenumbers

        self._key = key
        self._lock = threading.Lock()  # phonenumbers' matcher is not documented as thread-safe
        self._searches = _searches()
        self._kinds_in, self._may_hold_secret = candidates.kinds_in, candidates.may_hold_secret
        self._phone, self._phone_numbers = phone_numbers.PHONE, phone_numbers.phone_numbers
        self._looks_for_names, self._always = names != "off", known_names if names != "off" else ()
        self._engine = load_engine(engine) if names == "model" else None
        self._known_names = lru_cache(maxsize=NAMES_REMEMBERED)(known_words)
        self._redact_short = lru_cache(maxsize=SHORT_TEXTS)(self._redacted)

    def redact(self, text: str, names: tuple[str, ...] = ()) -> tuple[str, int]:
        if self._always or (names and not self._looks_for_names):
            names = (*self._always, *names) if self._looks_for_names else ()
        if not (names or self._engine is not None or worth_searching(text) or may_name_secret(text)):
            return text, 0
        return self._redact_short(text, names) if len(text) <= SHORT else self._redacted(text, names)

    def _redacted(self, text: str, names: tuple[str, ...]) -> tuple[str, int]:
        spans: list[PersonalDataSpan] = []
        if self._engine is not None:
            spans += found_in_pieces(text, partial(_found_or_unsearched, find=self._people), every=True)
        if (known := self._known_names(names)) is not None:
            spans += _found_or_unsearched(text, find=lambda whole: _spans(name_places(whole, known)))
        if worth_searching(text) and self._kinds_in(text):
            found = found_in_pieces(text, partial(_found_or_unsearched, find=self._found))
            spans += [_without_brackets(text, span) for span in found]
        if self._may_hold_secret(text):
            spans += _found_or_unsearched(text, find=lambda whole: _spans(secrets_in(whole)))
        if not spans:
            return text, 0
        return pseudonymise(text, [span for span in spans if not _is_json_number(text, span)], self._key)

    def _people(self, piece: str) -> list[PersonalDataSpan]:
        assert self._engine is not None
        with self._lock:
            results = self._engine.analyze(text=piece, language="en", entities=[PERSON], score_threshold=ENGINE_SCORE)
        return [PersonalDataSpan(start=result.start, end=result.end, kind=PERSON) for result in results]

    def _found(self, piece: str) -> list[PersonalDataSpan]:
        """Locked for one piece, so that a short text of another thread does not wait for a long one."""
        found: list[PersonalDataSpan] = []
        for kind in self._kinds_in(piece):
            with self._lock:
                places = self._phone_numbers(piece) if kind == self._phone else self._searches[kind].places(piece)
                found += [PersonalDataSpan(start=start, end=end, kind=kind) for start, end in places]
        return found


def _found_or_unsearched(piece: str, *, find: Callable[[str], list[PersonalDataSpan]]) -> list[PersonalDataSpan]:
    """What was found; the whole piece as unsearched where the search gave up or failed. Raises what the machine lacks for a moment: the
    text waits."""
    try:
        return find(piece)
    except TimeoutError:
        NOT_SEARCHED.labels("gave_up").inc()
        log.error("The search for personal data took too long; the piece of text is cut.", action="text_not_searched")
    except (FlywheelError, OSError, MemoryError):
        raise
    except Exception as error:  # noqa: BLE001 (a recogniser may raise anything; its text may quote the piece)
        NOT_SEARCHED.labels("failed").inc()
        log.error("The search for personal data failed; the piece of text is cut.", action="text_not_searched", error=type(error).__name__)
    return [PersonalDataSpan(start=0, end=len(piece), kind=UNSEARCHED)]


def _spans(places: Iterable[Place]) -> list[PersonalDataSpan]:
    return [PersonalDataSpan(start=start, end=end, kind=kind) for start, end, kind in places]


class RedactorAtFirstText:
    """Imports Presidio at the first text (some 5 seconds): for a process that must serve before it stores."""

    def __init__(self, *, key: bytes, **names: Any) -> None:
        """``names``: as of PresidioRedactor."""
        require_presidio(names.get("engine"))
        self._make = partial(PresidioRedactor, key=key, **names)
        self._ready: PresidioRedactor | None = None

    def redact(self, text: str, names: tuple[str, ...] = ()) -> tuple[str, int]:
        if self._ready is None:
            self._ready = self._make()
        return self._ready.redact(text, names)


def require_presidio(engine: str | None = None) -> None:
    """Raises CannotRun when Presidio, or the module of the engine, is not installed, without importing it."""
    if importlib.util.find_spec("presidio_analyzer") is None:
        raise CannotRun(
            "personal data cannot be redacted: presidio-analyzer is not installed",
            where="redaction",
            remedy="Install flywheel-daemon[pii]; without it no text is stored.",
        )
    package = (engine or "").partition(":")[0].partition(".")[0]
    if package and importlib.util.find_spec(package) is None:
        raise CannotRun(f"there is no module {package}", where="redaction.engine", remedy=ENGINE_REMEDY)


def load_engine(named: str | None) -> "NameEngine":
    """What ``package.module:function`` returns. Raises CannotRun: without the engine that is asked for no text is stored."""
    module, _, function = (named or "").partition(":")
    try:
        engine = getattr(importlib.import_module(module), function)()
    except Exception as error:  # an engine may raise anything while it loads its model
        why = f"the engine that finds names cannot be loaded: {type(error).__name__}: {str(error)[:200]}"
        raise CannotRun(why, where="redaction.engine", value=named, remedy=ENGINE_REMEDY) from error
    if not callable(getattr(engine, "analyze", None)):
        raise CannotRun("the function returns no Presidio AnalyzerEngine", where="redaction.engine", value=named, remedy=ENGINE_REMEDY)
    return engine  # type: ignore[no-any-return]


def _without_brackets(text: str, finding: PersonalDataSpan) -> PersonalDataSpan:
    """The finding without a leading [ or {, which the recogniser of phone numbers takes for the beginning of a number."""
    start = finding.start
    while finding.kind != UNSEARCHED and start < finding.end and text[start] in "[{":
        start += 1
    return finding if start == finding.start else PersonalDataSpan(start=start, end=finding.end, kind=finding.kind)


def _is_json_number(text: str, finding: PersonalDataSpan) -> bool:
    """Whether the finding is a bare number in JSON: a pseudonym would break the JSON, and phone numbers are written as strings."""
    if finding.kind == UNSEARCHED or not text[finding.start : finding.end].isdecimal():
        return False
    before, after = text[max(0, finding.start - 8) : finding.start], text[finding.end : finding.end + 8]
    return bool(_JSON_BEFORE.search(before)) and bool(_JSON_AFTER.search(after))


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
