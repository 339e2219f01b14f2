"""Refused attempts to use the api or the gateway: each is counted, and the journal has one line a minute for each kind.

In: a refusal. Out: a metric, and a line of the journal with how many of its kind came since the line before. A caller never waits for it.
"""

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime

import structlog
from prometheus_client import Counter

from flywheel.errors import NotAllowed
from flywheel.ids import DAEMON, Person, WorkloadId
from flywheel.journal import JournalEntry, JournalKind
from services.observability.unexpected import sentence_of
from services.ports.journal import Journal

REFUSED = Counter("flywheel_refused_attempts_total", "Requests that their token does not open", ["process", "kind"])
LINE_SECONDS = 60.0
log = structlog.get_logger()


class RefusedAttempts:
    """``journal``: opened at the first line, in a thread of its own."""

    def __init__(self, process: str, *, journal: Callable[[], Journal], clock: Callable[[], float] = time.monotonic) -> None:
        self._process, self._journal, self._clock = process, journal, clock
        self._lock = threading.Lock()
        self._said_at: dict[str, float] = {}  # by kind, of which there are few
        self._left_out: dict[str, int] = {}

    def note(self, refusal: NotAllowed) -> None:
        """The kinds are those of ``services.stores.tokens``. Nothing of the request itself is kept: it is a stranger's."""
        kind, person = str(getattr(refusal, "kind", "refused")), Person(getattr(refusal, "person", DAEMON))
        REFUSED.labels(self._process, kind).inc()
        with self._lock:
            now = self._clock()
            if now - self._said_at.get(kind, -LINE_SECONDS) < LINE_SECONDS:
                self._left_out[kind] = self._left_out.get(kind, 0) + 1
                return
            self._said_at[kind], left_out = now, self._left_out.pop(kind, 0)
        line = JournalEntry(
            at=datetime.now(UTC),
            workload=WorkloadId(""),
            kind=JournalKind.ACCESS,
            subject=self._process,
            state="refused",
            reason=kind,
            actor=person,
            evidence={"left_out": left_out},
        )
        threading.Thread(target=self._write, args=(line,), name="refused attempt", daemon=True).start()

    def _write(self, line: JournalEntry) -> None:
        try:
            self._journal().append(line)
        except Exception as error:  # noqa: BLE001 (whatever the ledger raises: the caller was answered long ago)
            log.warning("A refused attempt is not in the journal.", action="refusal_not_journalled", error=sentence_of(error))
