"""A file that keeps some room on the disk, and is given up when the ledger can no longer be written.

In: the data folder. Out: room for the ledger on a disk that others have filled. While the file is gone, what fills the disk (the recorder,
the gateway's spool) waits for more room than it held, so that the ledger alone gets it. It is made again when there is room for it.
"""

import contextlib
import errno
import os
import shutil
from pathlib import Path

import structlog

NAME = "reserve"
RESERVE_BYTES = 32 * 1024**2
MADE_ABOVE = 4  # times its size must be free before it is made
SQLITE_FULL = 13
log = structlog.get_logger()


class DiskReserve:
    """Any process may give it up; ``flywheel up`` makes it."""

    def __init__(self, data_dir: Path, *, size: int = RESERVE_BYTES) -> None:
        self._file, self._size = data_dir / NAME, size

    def make(self) -> bool:
        """True when it is there. Nothing happens while there is too little room for it."""
        if self._file.exists():
            return True
        draft = self._file.with_suffix(".new")
        try:
            if self._free() < MADE_ABOVE * self._size:
                return False
            with draft.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, self._size)
            draft.replace(self._file)
        except OSError as error:
            with contextlib.suppress(OSError):
                draft.unlink()
            log.warning("The reserve cannot be made.", action="reserve_not_made", file=str(self._file), error=error.strerror)
            return False
        return True

    def give_up(self) -> None:
        """Frees its room. Safe to repeat."""
        try:
            self._file.unlink()
        except OSError:
            return
        log.warning("The disk is full: the reserve is given up, so that the ledger can be written.", action="reserve_given_up")

    def require_room(self) -> None:
        """For all but ledger and sealed exchanges. Raises OSError (no space) while the reserve is gone and less than twice its size is
        free."""
        if not self._file.exists() and self._free() < 2 * self._size:
            raise OSError(errno.ENOSPC, "No space left on device but for the ledger", str(self._file.parent))

    def require_half(self) -> None:
        """For sealed exchanges: users have their answers, and what is in memory alone would be lost with the process. The ledger keeps the
        other half of the reserve."""
        if not self._file.exists() and self._free() < self._size // 2:
            raise OSError(errno.ENOSPC, "No space left on device but for the ledger", str(self._file.parent))

    def _free(self) -> int:
        return shutil.disk_usage(self._file.parent).free
