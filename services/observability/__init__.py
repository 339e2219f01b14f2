"""Structured logs and the metrics that every process has."""

import logging
import sys
from collections.abc import Iterator

import structlog
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Metric, generate_latest

STEPS = Counter("flywheel_steps_total", "Steps of a process's loop", ["process", "outcome"])
LAST_STEP = Gauge("flywheel_last_step_timestamp_seconds", "When the loop last ended a step", ["process"])
_own: dict[str, CollectorRegistry] = {}


def configure_logging(level: str = "info") -> None:
    """JSON lines on standard error: a sentence in ``event``, a stable ``action`` for machines."""
    logging.basicConfig(level=level.upper(), stream=sys.stderr, format="%(levelname)s %(name)s %(message)s")
    for chatty in ("httpx", "presidio-analyzer", "kafka", "aiokafka", "alembic", "apscheduler"):
        logging.getLogger(chatty).setLevel(logging.WARNING)  # a line per request or text is of no use to an operator
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


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
