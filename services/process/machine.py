"""What this machine has: processor features, memory, disk, ports, a GPU.

In: a path, a port. Out: readings, and CannotRun with one sentence where a reading rules something out.
Does not decide what Flywheel needs.
"""

import errno
import os
import platform
import shutil
import socket
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from flywheel.errors import CannotRun
from flywheel.retention import ClockReading

GIB = 2**30
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, kw_only=True)
class Machine:
    """One reading."""

    system: str
    processor: str
    cores: int
    memory_gib: float
    features: frozenset[str]  # as the kernel names them: avx2, avx512f, ...; empty where it does not tell
    gpu: str | None


def read_machine(*, cpuinfo: Path = Path("/proc/cpuinfo"), meminfo: Path = Path("/proc/meminfo")) -> Machine:
    """Reads files only: nothing is started."""
    return Machine(
        system=platform.system(),
        processor=platform.machine(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        memory_gib=_memory_gib(meminfo),
        features=_features(cpuinfo),
        gpu=_gpu(),
    )


def read_clock() -> ClockReading:
    """The wall clock, beside the time since the machine started, which no setting of the clock moves."""
    boot = BOOT_ID.read_text().strip() if BOOT_ID.exists() else ""
    # without CLOCK_BOOTTIME, as on macOS, time in which the machine sleeps looks like a clock that was set
    running = time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
    return ClockReading(wall=datetime.now(UTC), running=running, boot=boot)


def require_processor(machine: Machine) -> None:
    """vLLM for CPU is compiled for AVX2; without it the process dies of an illegal instruction, without a message."""
    if machine.gpu is None and machine.processor in ("x86_64", "AMD64") and machine.features and "avx2" not in machine.features:
        raise CannotRun(
            "this processor has no AVX2, which vLLM for CPU needs",
            where="processor",
            value=machine.processor,
            remedy="Use another machine, or set serving.url to a vLLM that runs elsewhere.",
        )


def free_gib(path: Path) -> float:
    """Free space of the file system that holds ``path`` or would hold it."""
    existing = next(parent for parent in (path.absolute(), *path.absolute().parents) if parent.exists())
    return shutil.disk_usage(existing).free / GIB


def require_disk(path: Path, *, gib: float, what: str) -> None:
    free = free_gib(path)
    if free < gib:
        raise CannotRun(
            f"too little disk: {what} needs {gib:g} GiB, {free:.1f} GiB are free",
            where=str(path),
            remedy="Free some space, or set data_dir to another disk.",
        )


def port_is_free(host: str, port: int) -> bool:
    """As a server would find it: a port in TIME_WAIT counts as free."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                return False
            raise CannotRun("cannot listen there", where="http.host", value=host, remedy="Name an address of this machine.") from error
    return True


def require_port(host: str, port: int, *, where: str, what: str) -> None:
    if not port_is_free(host, port):
        raise CannotRun(
            f"the port for {what} is taken",
            where=where,
            value=f"{host}:{port}",
            remedy="Stop the process that uses this port, or set another port.",
        )


def _features(cpuinfo: Path) -> frozenset[str]:
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        return frozenset()
    return next((frozenset(line.partition(":")[2].split()) for line in lines if line.startswith(("flags", "Features"))), frozenset())


def _memory_gib(meminfo: Path) -> float:
    try:
        total = next(line for line in meminfo.read_text().splitlines() if line.startswith("MemTotal:"))
        return int(total.split()[1]) * 1024 / GIB
    except (OSError, StopIteration, ValueError):
        return 0.0


def _gpu() -> str | None:
    if Path("/dev/nvidia0").exists() and shutil.which("nvidia-smi"):
        return "NVIDIA"
    return None
