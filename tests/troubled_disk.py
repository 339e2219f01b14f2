"""A disk that becomes read-only or slow, or loses its power: for processes that start while it is in force, and not for the test itself.

A real file system cannot be made read-only while a process has a file open for writing, as one that fails is. So a library that is loaded
before libc answers the calls that write; it is compiled here. Without a C compiler the test is not run, and says so.
"""

import shutil
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_name("disk_shim.c")


@dataclass(frozen=True, kw_only=True)
class TroubledDisk:
    """What stands below one folder."""

    folder: Path
    state: Path
    platter: Path

    def becomes(self, *, error: int = 0, seconds: float = 0.0) -> None:
        """``error``: of each call that writes, 0 for none; ``seconds``: how long each takes. In place: processes have mapped the file."""
        with self.state.open("r+b") as held:
            held.write(struct.pack("<qq", error, int(seconds * 1_000_000)))

    def begin(self) -> None:
        """What stands in the folder now has been synced."""
        for path in [self.folder, *self.folder.rglob("*")]:
            if path.is_dir():
                lines = "".join(f"{one.stat().st_ino} {one.name}\n" for one in path.iterdir())
                (self.platter / (self._flat(path) + "%")).write_text(lines)
            elif path.is_file():
                shutil.copyfile(path, self.platter / str(path.stat().st_ino))

    def after_power_cut(self, into: Path) -> None:
        """Makes a folder of what was synced: names, and the contents of files. SQLite makes its shared memory anew."""
        for listing in self.platter.glob("*%"):
            folder = into / listing.name.removesuffix("%").replace("%", "/")
            folder.mkdir(parents=True, exist_ok=True)
            for line in listing.read_text().splitlines():
                inode, _, name = line.partition(" ")
                if (self.platter / inode).is_file() and not name.endswith("-shm"):
                    shutil.copyfile(self.platter / inode, folder / name)
                    (folder / name).chmod(0o600)

    def _flat(self, path: Path) -> str:
        return "" if path == self.folder else str(path.relative_to(self.folder)).replace("/", "%")


@contextmanager
def troubled_disk(folder: Path) -> Iterator[TroubledDisk]:
    """Processes started within have it. Skips the test where no C compiler is installed."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("no C compiler, which builds the disk with troubles")
    disk = TroubledDisk(folder=folder / "disk", state=folder / "disk-state", platter=folder / "platter")
    library = folder / "disk_shim.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-O2", "-o", str(library), str(SOURCE)], check=True)
    disk.folder.mkdir()
    disk.platter.mkdir()
    disk.state.write_bytes(struct.pack("<qq", 0, 0))
    values = {"LD_PRELOAD": library, "DISK_FOLDER": disk.folder, "DISK_STATE": disk.state, "DISK_PLATTER": disk.platter}
    with pytest.MonkeyPatch.context() as environment:
        for name, value in values.items():
            environment.setenv(name, str(value))
        yield disk
