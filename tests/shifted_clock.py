"""A wall clock that jumps: for processes that start while it is in force, and not for the test itself.

A library that is loaded before libc answers their questions for the time of day. It is compiled here; without a C compiler the test is
not run, and says so.
"""

import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_name("clock_shim.c")


@dataclass(frozen=True, kw_only=True)
class ShiftedClock:
    """The clock of the processes."""

    file: Path

    def set(self, ahead: timedelta) -> None:
        """How far their clock is ahead of this machine's; negative: behind. In place: they have mapped the file."""
        with self.file.open("r+b") as held:
            held.write(struct.pack("<q", int(ahead.total_seconds())))

    def now(self) -> datetime:
        """What time it is for them."""
        (seconds,) = struct.unpack("<q", self.file.read_bytes())
        return datetime.now(UTC) + timedelta(seconds=seconds)


@contextmanager
def shifted_clock(folder: Path) -> Iterator[ShiftedClock]:
    """Processes started within have it. Skips the test where no C compiler is installed."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("no C compiler, which builds the clock that jumps")
    library, file = folder / "clock_shim.so", folder / "shift"
    subprocess.run([compiler, "-shared", "-fPIC", "-O2", "-o", str(library), str(SOURCE)], check=True)
    file.write_bytes(struct.pack("<q", 0))
    before = {name: os.environ.get(name) for name in ("LD_PRELOAD", "SHIFT_FILE")}
    os.environ |= {"LD_PRELOAD": str(library), "SHIFT_FILE": str(file)}
    try:
        yield ShiftedClock(file=file)
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
