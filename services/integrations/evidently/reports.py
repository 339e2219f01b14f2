"""Evidently's drift scores of two samples, from a worker process that imports Evidently once.

In: recorded rows per slice, current and reference. Out: its scores. The import takes about ten seconds and 250 MB, so
a process of its own does it. A worker that does not answer in time is ended, and started again at the next request.
"""

import json
import os
import selectors
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import monotonic
from typing import Any

from flywheel.errors import CannotRun
from flywheel.traffic.column import Column, Measure
from services.ports.drift import EvidentlyScore
from services.ports.traffic import RecordedInference

LOOK_EVERY_SECONDS = 0.25  # while waiting, for the order to end
METHODS = {Measure.NUMBER: "ks", Measure.NAME: "chisquare", Measure.RATE: "chisquare"}


class EvidentlyReports:
    """Raises CannotRun, with the reason, when there is no answer; a window closes without it then."""

    def __init__(
        self,
        *,
        columns: Sequence[Column],
        python: Path = Path(sys.executable),
        start_seconds: float = 120.0,
        answer_seconds: float = 60.0,
        idle_seconds: float = 120.0,
    ) -> None:
        self._columns = {column.name: METHODS[column.measure] for column in columns}
        self._python, self._start_seconds, self._answer_seconds = python, start_seconds, answer_seconds
        self._worker: subprocess.Popen[bytes] | None = None
        self._unread = b""
        self._asked = 0
        self._lock = threading.Lock()
        self._ready = False
        self._stop = threading.Event()
        self._idle_seconds, self._used_at = idle_seconds, 0.0

    def stop_with(self, stop: threading.Event) -> None:
        """Stops waiting for answers once ``stop`` is set."""
        self._stop = stop

    def warm_up(self) -> None:
        """A comparison is near: begins the import in the worker, without waiting for it."""
        with self._lock:
            self._used_at = monotonic()
            self._started()

    def end_when_idle(self) -> None:
        """Ends the worker, and frees its memory, where nothing has been compared for a while."""
        with self._lock:
            if self._worker is not None and monotonic() - self._used_at > self._idle_seconds:
                self._end()

    def compare(
        self,
        *,
        current: Mapping[str, Sequence[RecordedInference]],
        reference: Mapping[str, Sequence[RecordedInference]],
        html_to: str | None = None,
    ) -> tuple[EvidentlyScore, ...]:
        slices = {
            name: {"current": self._values(current[name]), "reference": self._values(reference[name])}
            for name in current
            if current[name] and reference.get(name)
        }
        if not slices:
            return ()
        with self._lock:
            self._used_at = monotonic()
            answer = self._ask({"slices": slices, "methods": self._columns, "html_to": html_to})
        return tuple(EvidentlyScore(**score) for score in answer["scores"])

    def close(self) -> None:
        """The worker ends with its input."""
        with self._lock:
            self._end()

    def _values(self, rows: Sequence[RecordedInference]) -> dict[str, list[float | str | None]]:
        return {column: [row.features.get(column) for row in rows] for column in self._columns}

    def _ask(self, order: dict[str, Any]) -> dict[str, Any]:
        worker = self._started()
        self._asked += 1
        try:
            if not self._ready:
                self._read(worker, until=monotonic() + self._start_seconds)
                self._ready = True
            assert worker.stdin is not None
            worker.stdin.write(json.dumps({"id": self._asked, **order}).encode() + b"\n")
            worker.stdin.flush()
            answer = self._read(worker, until=monotonic() + self._answer_seconds)
        except (OSError, ValueError, TimeoutError) as error:
            self._end()
            raise _unavailable(str(error) or type(error).__name__) from error
        if "error" in answer or answer.get("id") != self._asked:
            raise _unavailable(str(answer.get("error", "the worker answered another question")))
        return answer

    def _started(self) -> subprocess.Popen[bytes]:
        if self._worker is not None and self._worker.poll() is None:
            return self._worker
        self._end()
        try:
            self._worker = subprocess.Popen(
                [str(self._python), "-m", "services.integrations.evidently.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**os.environ, "DO_NOT_TRACK": "1"},
            )
        except OSError as error:
            raise _unavailable(str(error)) from error
        return self._worker

    def _read(self, worker: subprocess.Popen[bytes], *, until: float) -> dict[str, Any]:
        assert worker.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(worker.stdout, selectors.EVENT_READ)
            while b"\n" not in self._unread:
                if not selector.select(LOOK_EVERY_SECONDS):
                    if self._stop.is_set():
                        raise TimeoutError("the process is ending")
                    if monotonic() > until:
                        raise TimeoutError("no answer in time")
                    continue
                read = os.read(worker.stdout.fileno(), 65_536)
                if not read:
                    raise OSError(f"the worker ended with code {worker.wait()}; see its lines in this log")
                self._unread += read
        line, _, self._unread = self._unread.partition(b"\n")
        answer = json.loads(line)
        if not isinstance(answer, dict):
            raise ValueError("the answer is not an object")
        return answer

    def _end(self) -> None:
        worker, self._worker, self._ready, self._unread = self._worker, None, False, b""
        if worker is None:
            return
        for pipe in (worker.stdin, worker.stdout):
            if pipe is not None:
                pipe.close()
        if worker.poll() is None:
            worker.kill()  # it holds nothing that could be lost
        worker.wait()


def _unavailable(reason: str) -> CannotRun:
    return CannotRun(
        f"Evidently gave no scores: {reason}",
        where="drift report",
        remedy="Install the extra `drift`, or see the worker's lines in the log.",
    )
