"""Leases one gate at a time and runs it in a thread, so that the process answers health checks and stops at once."""

import threading
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from flywheel.errors import CannotRun, FlywheelError
from services.gatekeeper.run_gate import ask_for_missing_gates, gate
from services.gatekeeper.wiring import GatekeeperParts
from services.ports.gate import GateRecord
from services.ports.work import GateCommand, WorkItem

HOLD = timedelta(seconds=30)
EXTEND_EVERY = timedelta(seconds=5)
BUSY_SECONDS = 0.5  # between two looks at a gate that is being asked
AGAIN_AFTER = timedelta(seconds=5)  # when an arm did not answer

log = structlog.get_logger("gatekeeper")


class _GateThread(threading.Thread):
    """A daemon thread: answers are cached, and an undecided gate is leased again."""

    def __init__(self, item: WorkItem[GateCommand], parts: GatekeeperParts, now: datetime) -> None:
        super().__init__(name="gate", daemon=True)
        self.item, self.extended_at = item, now
        self.record: GateRecord | None = None
        self.error: BaseException | None = None
        self._work = (item, parts, now)

    def run(self) -> None:
        try:
            self.record = gate(*self._work)
        except BaseException as error:  # noqa: BLE001 (raised again in the process's own thread)
            self.error = error


@dataclass
class GateWorker:
    """``tick`` is called when the ledger has changed, and every ``BUSY_SECONDS`` while a gate is run."""

    parts: GatekeeperParts
    _asking: _GateThread | None = None

    def tick(self, now: datetime) -> float | None:
        """Leases a gate, extends its lease, or ends it. Returns the seconds until the next look at a gate that is being run."""
        if self._asking is None:
            ask_for_missing_gates(self.parts, now)
            item = self.parts.work.lease(GateCommand, worker=self.parts.worker, now=now, hold=HOLD)
            if item is not None:
                self._asking = _GateThread(item, self.parts, now)
                self._asking.start()
        elif not self._asking.is_alive():
            asked, self._asking = self._asking, None
            self._end(asked, now)
        elif now - self._asking.extended_at >= EXTEND_EVERY:
            self.parts.work.extend(self._asking.item.id, worker=self.parts.worker, now=now, hold=HOLD)
            self._asking.extended_at = now
        return None if self._asking is None else BUSY_SECONDS

    def stop(self, now: datetime) -> None:
        """Releases the lease."""
        if self._asking is not None:
            self.parts.work.extend(self._asking.item.id, worker=self.parts.worker, now=now, hold=-HOLD)

    def _end(self, asked: _GateThread, now: datetime) -> None:
        work, item = self.parts.work, asked.item
        if isinstance(asked.error, CannotRun):  # an arm did not answer, which is no verdict: the gate waits
            log.warning(str(asked.error), action="gate_waits", adapter=item.command.adapter)
            work.extend(item.id, worker=self.parts.worker, now=now, hold=AGAIN_AFTER)
        elif isinstance(asked.error, FlywheelError):
            log.error(str(asked.error), action="gate_failed", adapter=item.command.adapter)
            work.fail(item.id, worker=self.parts.worker, now=now, reason=str(asked.error))
        elif asked.error is not None:
            raise asked.error
        elif asked.record is not None:
            result = {"gate": asked.record.id, "verdict": asked.record.decision.verdict}
            work.finish(item.id, worker=self.parts.worker, now=now, result=result)
