"""Counts what waits on the corrections topic, and knows whether the stream is ready: for health and progress."""

import asyncio
import time
from typing import Any

from flywheel.progress import Flow
from services.correction_desk.app import PROCESS
from services.correction_desk.wiring import CorrectionStream
from services.observability.unexpected import sentence_of
from services.process.progress import FlowMark
from services.process.wait_for_disk import DiskWait

WAITS_FOR_PARTITION = "waiting for its partition"
COUNT_SECONDS, COUNT_TAKES_SECONDS = 10.0, 15.0  # between two counts, and how long the broker may take for one
PACE_SECONDS, RESTART_SECONDS = 60.0, 300.0  # a decision takes seconds; a restart helps a consumer that no longer fetches


class StreamState:
    """What is known of the stream, for health and progress."""

    def __init__(self) -> None:
        self.disk = DiskWait(PROCESS)
        self.not_ready: str | None = WAITS_FOR_PARTITION
        self._behind = 0
        self._uncounted: str | None = None  # why it is not known what waits
        self._counting_since: float | None = None
        remedy = "See that the broker runs, that the disk has room, and what the desk's log says; nothing is lost while it waits."
        flow = Flow(name="corrections", pace_seconds=PACE_SECONDS, remedy=remedy, restart_after_seconds=RESTART_SECONDS)
        self.flow = FlowMark(flow, waiting=self._waiting, cause=lambda: self.disk.reason or self._held_up())

    async def count(self, stream: CorrectionStream, app: Any) -> None:
        """Again and again; without a time limit, because Faust's thread goes on with what nobody waits for."""
        while True:
            self._counting_since = time.monotonic()
            try:
                self._behind, self._uncounted = await stream.unacknowledged(app), None
            except Exception as error:  # noqa: BLE001 (Faust's thread may raise anything; then it is not known what waits)
                self._uncounted = sentence_of(error)
            self._counting_since = None
            await asyncio.sleep(COUNT_SECONDS)

    def _waiting(self) -> int | None:
        return self._behind if self._held_up() is None else None

    def _held_up(self) -> str | None:
        since = self._counting_since
        if since is not None and time.monotonic() - since > COUNT_TAKES_SECONDS:
            return "the broker does not say what waits"
        return self.not_ready or self._uncounted
