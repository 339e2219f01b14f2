"""Watches the flows of one process: whether each that has work moves (``flywheel.progress``).

In: for each flow how much waits, and a mark at each piece that moved. Out: a flow that stands, and one that moves again, in health,
metrics, log and journal, one line each; ``flywheel doctor`` reads the health. The journal may be out of reach: its lines wait.
"""

import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import structlog
from prometheus_client import Gauge

from flywheel.ids import WorkloadId
from flywheel.journal import JournalEntry, JournalKind
from flywheel.progress import Flow, FlowReading, Movement, ProgressVerdict, decide
from services.observability.unexpected import sentence_of
from services.ports.journal import Journal
from services.process.process_names import PROCESSES
from services.process.wait_for_disk import DiskWait

LOOK_SECONDS = 5.0
LINES_KEPT = 100  # of the journal, while it cannot be written
STEP_SECONDS = 300.0
"""A step of a loop takes less: the longest builds a training set, or closes a backlog of windows one by one."""
WAITING = Gauge("flywheel_flow_waiting", "What waits in a flow of work; -1 when it cannot be seen", ["process", "flow"])
STANDS = Gauge("flywheel_flow_stands", "1 while a flow has work and has not moved for its time", ["process", "flow"])
log = structlog.get_logger()


class FlowMark:
    """One flow. Any thread may call ``moved``."""

    def __init__(
        self,
        flow: Flow,
        *,
        waiting: Callable[[], int | None],
        cause: Callable[[], str | None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``waiting``: None when it cannot be seen. ``cause``: what is known to hold the flow up."""
        self.flow, self._waiting, self._cause, self._clock = flow, waiting, cause, clock
        self._measured: int | None = 0
        self._measured_at = self._moved_at = clock()
        self._why_unseen = ""
        self.has_moved = False  # since the start of the process

    def moved(self) -> None:
        self._moved_at, self.has_moved = self._clock(), True

    def measure(self) -> None:
        try:
            measured, why = self._waiting(), ""
        except Exception as error:  # noqa: BLE001 (whatever a store or a broker raises: the flow cannot be seen)
            measured, why = None, sentence_of(error)
        if measured == 0:
            self.moved()
        self._measured, self._why_unseen, self._measured_at = measured, why, self._clock()

    def verdict(self) -> ProgressVerdict:
        """Of the last measurement. One that is older than the pace says nothing: the measuring itself stands."""
        now = self._clock()
        fresh = now - self._measured_at <= max(self.flow.pace_seconds, 2 * LOOK_SECONDS)
        waiting = self._measured if fresh else None
        cause = self._cause() or self._why_unseen or ("" if fresh else "the measuring does not end")
        return decide(flow=self.flow, reading=FlowReading(waiting=waiting, moved_at=self._moved_at, cause=cause), now=now)

    @property
    def waiting(self) -> int | None:
        """As it was measured last."""
        return self._measured


class FlowWatch:
    """The flows of one process, measured in a thread of its own, so that a flow that hangs cannot hold up what is said of it."""

    def __init__(
        self,
        process: str,
        marks: Sequence[FlowMark] = (),
        *,
        journal: Callable[[], Journal],
        disk: DiskWait | None = None,
        end: Callable[[], None] = lambda: end_process(),
        wall_clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """``journal`` is opened for the first line. ``end``: ends the process where its restart is the repair."""
        self.disk = disk or DiskWait(process)
        self._process, self._marks, self._end, self._wall_clock = process, list(marks), end, wall_clock
        self._open_journal = journal
        self._standing: dict[str, float] = {}  # name to when it was told, of the monotonic clock
        self._lines: list[JournalEntry] = []
        self._unsure = {mark.flow.name for mark in marks}  # an earlier process may have said that these stand
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"{process} flows", daemon=True)

    def add_loop(self, name: str, *, every_seconds: float) -> FlowMark:
        """A loop always has work: its next step."""
        flow = Flow(name=name, pace_seconds=every_seconds + STEP_SECONDS, remedy="See its log; end the process: it is started again.")
        mark = FlowMark(flow, waiting=lambda: 1, cause=lambda: self.disk.reason)
        self._marks.append(mark)
        self._unsure.add(name)
        return mark

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._over.set()

    def standing(self) -> dict[str, str]:
        """Name to reason and remedy, of each flow that stands now."""
        found = ((mark.flow, mark.verdict()) for mark in list(self._marks))
        return {flow.name: f"{verdict.reason}. {flow.remedy}" for flow, verdict in found if verdict.movement is Movement.STANDS}

    def health(self) -> dict[str, object]:
        """What /readyz says beside readiness."""
        return {"standing": self.standing(), "disk": self.disk.reason or ""}

    def look(self) -> None:
        """Measures and tells once."""
        for mark in list(self._marks):
            mark.measure()
            self._tell(mark, mark.verdict())
        self._write_lines()

    def _run(self) -> None:
        while not self._over.wait(LOOK_SECONDS):
            self.look()

    def _tell(self, mark: FlowMark, verdict: ProgressVerdict) -> None:
        name, stands = mark.flow.name, verdict.movement is Movement.STANDS
        WAITING.labels(self._process, name).set(-1 if mark.waiting is None else mark.waiting)
        STANDS.labels(self._process, name).set(stands)
        if stands and name not in self._standing:
            self._standing[name] = time.monotonic()
            self._unsure.discard(name)
            log.error("A flow stands.", action="flow_stands", flow=name, reason=verdict.reason, remedy=mark.flow.remedy)
            self._note(mark, verdict, reason=f"{verdict.reason}. {mark.flow.remedy}")
        elif not stands and name in self._standing:
            seconds = time.monotonic() - self._standing.pop(name)
            log.info("A flow moves again.", action="flow_moves", flow=name, stood_seconds=round(seconds, 1))
            self._note(mark, verdict, reason="it moves again", stood_seconds=round(seconds, 1))
        elif name in self._unsure and mark.has_moved:
            self._close_line_of_earlier_process(mark, verdict)
        if verdict.restart:
            log.error("The process ends: its restart reads everything again.", action="flow_restart", flow=name, reason=verdict.reason)
            self._write_lines()
            self._end()

    def _close_line_of_earlier_process(self, mark: FlowMark, verdict: ProgressVerdict) -> None:
        try:
            last = self._open_journal().entries(kind=JournalKind.FLOW, subject=self._subject(mark), limit=1)
        except Exception:  # noqa: BLE001 (the journal is out of reach: asked again at the next look)
            return
        self._unsure.discard(mark.flow.name)
        if last and last[-1].state == Movement.STANDS:
            self._note(mark, verdict, reason="it moves again after a restart of its process")

    def _note(self, mark: FlowMark, verdict: ProgressVerdict, *, reason: str, **more: float) -> None:
        state = Movement.STANDS if verdict.movement is Movement.STANDS else Movement.MOVES
        evidence = {"process": self._process, "waiting": mark.waiting, "still_seconds": round(verdict.still_seconds, 1), **more}
        line = JournalEntry(
            at=self._wall_clock(),
            workload=WorkloadId(""),
            kind=JournalKind.FLOW,
            subject=self._subject(mark),
            state=state,
            reason=reason,
            evidence=evidence,
        )
        self._lines = [*self._lines, line][-LINES_KEPT:]

    def _subject(self, mark: FlowMark) -> str:
        """Of several gateways each has its own."""
        return mark.flow.name if self._process in PROCESSES else f"{mark.flow.name} ({self._process})"

    def _write_lines(self) -> None:
        if not self._lines:
            return
        try:
            self._open_journal().append(*self._lines)
        except Exception as error:  # noqa: BLE001 (locked, full, or on another host: the lines wait for the next look)
            log.warning("The journal cannot be written.", action="flow_unwritten", lines=len(self._lines), reason=sentence_of(error))
            return
        self._lines = []


def end_process() -> None:
    """At once: an orderly stop would wait for what hangs. Nothing is acknowledged that was not kept."""
    sys.stderr.flush()
    os._exit(1)
