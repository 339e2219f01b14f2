"""Structured logs and the metrics that every process has."""

import atexit
import io
import logging
import sys
from collections.abc import Iterator, MutableMapping
from contextlib import suppress
from functools import partial
from typing import Any, TextIO, cast

import structlog
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Metric, generate_latest

from services.observability.repeated_lines import RepeatedLines, comparable

STEPS = Counter("flywheel_steps_total", "Steps of a process's loop", ["process", "outcome"])
LAST_STEP = Gauge("flywheel_last_step_timestamp_seconds", "When the loop last ended a step", ["process"])
LONGEST_TEXT = 4_000  # characters of one text of a line
ERRORS = ("warning", "error", "critical", "exception")
_own: dict[str, CollectorRegistry] = {}


def configure_logging(level: str = "info", *, lines: RepeatedLines | None = None) -> None:
    """JSON lines on standard error: a sentence in ``event``, a stable ``action`` for machines. What libraries log goes there too.

    The same error is said once and then counted, and no cause fills the disk: see ``repeated_lines``.
    """
    lines = lines or RepeatedLines()
    out = UnfailingStream(sys.stderr)
    logging.basicConfig(level=level.upper(), stream=out, format="%(levelname)s %(name)s %(message)s")
    for handler in logging.getLogger().handlers:
        handler.addFilter(BoundedRecords(lines, handler))
    for chatty in ("httpx", "presidio-analyzer", "kafka", "aiokafka", "alembic", "apscheduler"):
        logging.getLogger(chatty).setLevel(logging.WARNING)  # a line per request or text is of no use to an operator
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.format_exc_info,
            partial(_bounded_line, lines),
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.PrintLoggerFactory(cast("TextIO", out)),
    )
    atexit.register(lines.say_ended, all_of_them=True)


class UnfailingStream(io.TextIOBase):
    """Writes what can be written. A log on a full disk must end no process."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with suppress(OSError, ValueError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            self._stream.flush()


def _bounded_line(lines: RepeatedLines, _logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A processor of structlog. Raises DropEvent for a line that is counted only."""
    event = {name: _cut(value) if isinstance(value, str) else value for name, value in event.items()}
    if "left_out" in event:
        return event
    words = {name: value for name, value in event.items() if isinstance(value, str) and name != "exception"}
    trace = str(event.get("exception", ""))
    cause = f"{words.get('process', '')} {method} {words.get('action') or comparable(words.get('event', ''))}"
    text = comparable(" ".join(words.values())) + comparable(trace[-200:])
    size = sum(len(name) + len(str(value).encode(errors="replace")) + 8 for name, value in event.items()) + 60
    kept = {name: value for name, value in event.items() if name not in ("exception", "level")}

    def again(left_out: int, seconds: float) -> None:
        getattr(structlog.get_logger(), "warning" if method == "exception" else method)(**kept, left_out=left_out, seconds=round(seconds))

    if not lines.admits(cause=cause, text=text, size=size, is_error=method in ERRORS, again=again):
        raise structlog.DropEvent
    return event


class BoundedRecords(logging.Filter):
    """The same for what libraries log by the standard library."""

    def __init__(self, lines: RepeatedLines, handler: logging.Handler) -> None:
        super().__init__()
        self._lines, self._handler = lines, handler

    def filter(self, record: logging.LogRecord) -> bool:
        if hasattr(record, "left_out"):
            return True
        try:
            message = _cut(record.getMessage())
        except (TypeError, ValueError):  # arguments that do not fit the text: logging says so itself
            return True
        record.msg, record.args = message, ()
        if record.exc_info and not record.exc_text:
            record.exc_text = _cut(logging.Formatter().formatException(record.exc_info))
        trace = record.exc_text or ""
        return self._lines.admits(
            cause=f"{record.name} {record.pathname}:{record.lineno}",
            text=comparable(message) + comparable(trace[-200:]),
            size=len(f"{record.levelname} {record.name} {message} {trace}".encode(errors="replace")),
            is_error=record.levelno >= logging.WARNING,
            again=partial(self._again, record),
        )

    def _again(self, record: logging.LogRecord, left_out: int, seconds: float) -> None:
        said = logging.makeLogRecord({**record.__dict__, "exc_info": None, "exc_text": None, "left_out": left_out})
        said.msg = f"{record.msg} (left out {left_out} times in {seconds:.0f} s)"
        self._handler.handle(said)


def _cut(text: str) -> str:
    """Its beginning and its end, where an error's last words stand."""
    half = LONGEST_TEXT // 2
    return text if len(text) <= LONGEST_TEXT else f"{text[:half]} ... {text[-half:]}"


def metrics_of(process: str) -> CollectorRegistry:
    """The registry of a process's own metrics: a process that shares its interpreter with others shows only these on its port."""
    return _own.setdefault(process, CollectorRegistry())


def exposition(process: str, *, hosted: bool) -> bytes:
    """The page of /metrics. ``hosted``: without what describes the whole interpreter and without the other processes' steps."""
    return generate_latest(metrics_of(process)) + generate_latest(_StepsOf(process) if hosted else REGISTRY)


class _StepsOf(CollectorRegistry):
    """The default registry, cut down to the samples that carry this process's name."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def collect(self) -> Iterator[Metric]:
        for family in REGISTRY.collect():
            own = [one for one in family.samples if one.labels.get("process", "").startswith(self._process)]
            if own:
                kept = Metric(family.name, family.documentation, family.type)
                kept.samples = own
                yield kept
