"""Starts and watches the process that trains one run (``services/trainer/train_one_run.py``).

A process of its own: training libraries take gigabytes and may crash in native code, which must not end the trainer.
It writes JSON lines to standard output: {"step", "of", "loss"}, and {"refused"} when the run cannot be trained. It ends by itself
when the trainer is gone.
"""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

from flywheel.ids import RunId

END_SECONDS = 3.0  # the trainer itself must end within five
KEEP_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 35), "MALLOC_TOP_PAD_": str(1 << 28)}
"""For glibc: large blocks are kept instead of returned to the kernel at every step (saves a seventh of the time on a CPU)."""


class TrainingProcess:
    """Starts at once; ``returncode`` is None while it runs."""

    def __init__(self, run_id: RunId, *, config: Path | None, threads: int) -> None:
        environment = {
            **KEEP_MEMORY,
            **os.environ,
            "OMP_NUM_THREADS": str(threads),
            "HF_HUB_OFFLINE": "1",
            "TOKENIZERS_PARALLELISM": "false",
            "DO_NOT_TRACK": "1",
        }
        named = ["--config", str(config)] if config is not None else []
        self._process = subprocess.Popen(
            [sys.executable, "-m", "services.trainer.train_one_run", "--run", run_id, "--parent", str(os.getpid()), *named],
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
        )
        _pin(self._process.pid, threads)
        self.step, self.steps, self.loss = 0, 0, 0.0
        self.refused = ""
        self._reader = threading.Thread(target=self._read, name="training-process", daemon=True)
        self._reader.start()

    @property
    def returncode(self) -> int | None:
        """None while it runs. Once it has ended, all its output has been read."""
        code = self._process.poll()
        if code is not None:
            self._reader.join(END_SECONDS)
        return code

    def stop(self) -> None:
        """SIGTERM, then SIGKILL. A checkpoint that is being written stays incomplete and is dropped at the next start."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            try:
                said = json.loads(line)
            except ValueError:
                continue  # the libraries print to standard output as well
            if not isinstance(said, dict):
                continue
            if "step" in said:
                self.step, self.steps, self.loss = said["step"], said["of"], said["loss"]
            self.refused = str(said.get("refused", self.refused))


def _pin(pid: int, threads: int) -> None:
    """Pins it to the last ``threads`` processors: threads that wait on shared cores slow training far more than their share."""
    processors = sorted(os.sched_getaffinity(0))
    if threads < len(processors):
        os.sched_setaffinity(pid, processors[-threads:])
