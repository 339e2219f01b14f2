"""Leases one gate at a time and runs it in a thread, so that the process answers health checks and stops at once."""

import threading
from datetime import datetime, timedelta

import structlog

from flywheel.errors import CannotRun, FlywheelError
from services.gatekeeper.run_gate import ask_for_missing_gates, gate
from services.gatekeeper.wiring import GatekeeperParts
from services.ports.gate import GateRecord
from services.ports.work_queue import GateCommand, WorkItem
from services.process.lease import LeaseLoop

AGAIN_AFTER = timedelta(seconds=5)  # when an arm did not answer

log = structlog.get_logger("gatekeeper")


class GateThread(threading.Thread):
    """A daemon thread: answers are cached, and an undecided gate is leased again."""

    def __init__(self, item: WorkItem[GateCommand], parts: GatekeeperParts, now: datetime) -> None:
        super().__init__(name="gate", daemon=True)
        self.record: GateRecord | None = None
        self.error: BaseException | None = None
        self._work = (item, parts, now)

    def run(self) -> None:
        try:
            self.record = gate(*self._work)
        except BaseException as error:  # noqa: BLE001 (raised again in the process's own thread)
            self.error = error

    @property
    def running(self) -> bool:
        return self.is_alive()

    def stop(self) -> None:
        """It goes on until the process ends; what it finds out then is not written."""


class GateWorker:
    """Runs one gate at a time. ``tick`` is called when the ledger has changed, and twice a second while a gate is run."""

    def __init__(self, parts: GatekeeperParts) -> None:
        self._parts = parts
        self._leases = LeaseLoop(work=parts.work, command=GateCommand, worker=parts.worker, begin=self._begin, end=self._end)

    def tick(self, now: datetime) -> float | None:
        """Leases a gate, extends its lease, or ends it. Returns the seconds until the next check of a running gate."""
        if self._leases.job is None:
            ask_for_missing_gates(self._parts, now)
        return self._leases.tick(now)

    def stop(self, now: datetime) -> None:
        """Releases the lease."""
        self._leases.stop(now)

    def _begin(self, item: WorkItem[GateCommand], now: datetime) -> GateThread:
        thread = GateThread(item, self._parts, now)
        thread.start()
        return thread

    def _end(self, item: WorkItem[GateCommand], asked: GateThread, now: datetime) -> None:
        work = self._parts.work
        if isinstance(asked.error, CannotRun):  # an arm did not answer, which is no verdict: the gate waits
            log.warning(str(asked.error), action="gate_waits", adapter=item.command.adapter)
            work.extend(item.id, worker=self._parts.worker, now=now, hold=AGAIN_AFTER)
        elif isinstance(asked.error, FlywheelError):
            log.error(str(asked.error), action="gate_failed", adapter=item.command.adapter)
            work.fail(item.id, worker=self._parts.worker, now=now, reason=str(asked.error))
        elif asked.error is not None:
            raise asked.error
        elif asked.record is not None:
            result = {"gate": asked.record.id, "verdict": asked.record.decision.verdict}
            work.finish(item.id, worker=self._parts.worker, now=now, result=result)
