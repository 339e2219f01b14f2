"""The process of one run. Training libraries take gigabytes and end in native code: a child may die, the trainer may not.

The child speaks JSON lines on its standard output: {"step", "of", "loss"} and, when a decision stands against it, {"refused"}.
It ends by itself when its parent is gone (see services/trainer/run.py).
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
"""For glibc: large blocks stay with the process instead of going back to the kernel with every step (a seventh of the time on a CPU)."""


class TrainingChild:
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
            [sys.executable, "-m", "services.trainer.run", "--run", run_id, "--parent", str(os.getpid()), *named],
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
        )
        _pin(self._process.pid, threads)
        self.step, self.steps, self.loss = 0, 0, 0.0
        self.refused = ""
        self._reader = threading.Thread(target=self._read, name="training-child", daemon=True)
        self._reader.start()

    @property
    def returncode(self) -> int | None:
        """After it ended everything it said has been read."""
        code = self._process.poll()
        if code is not None:
            self._reader.join(END_SECONDS)
        return code

    def stop(self) -> None:
        """Politely, then at once. A checkpoint that is being written stays unfinished and is dropped at the next start."""
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
    """To the last ``threads`` processors, where there are more: waiting threads on shared cores cost far more than their share."""
    processors = sorted(os.sched_getaffinity(0))
    if threads < len(processors):
        os.sched_setaffinity(pid, processors[-threads:])
