"""Exchanges on disk before they are redacted: sealed, appended to files, and deleted once they are done.

In: contents, and which of them are done. Out: where each stands, and the contents again, also of an earlier run. A file ("segment") begins
with a data key of its own, sealed with the daemon's sealing key. Written by one thread, read by another. What a content is, is not decided
here.
"""

import contextlib
import os
import re
import stat
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import structlog

from services.stores.sealing import KEY_BYTES, DataKey, SealBroken, SealingKey
from services.stores.spooled_event import LIMIT_BYTES, SpoolUnwritable

log = structlog.get_logger()
SEGMENT_SECONDS, SEGMENT_BYTES = 1.0, 8 * 1024**2
"""A segment takes no more after this. It is deleted as a whole, so this bounds how long a content stays that is done."""
LENGTH_BYTES = 4
SUFFIX, UNREADABLE = ".sealed", ".unreadable"
SEGMENT_NAME = re.compile(rf"[0-9]{{10}}{re.escape(SUFFIX)}")


class SealedPlace(NamedTuple):
    """Where a content stands: number of the segment, first byte behind its length, and length in bytes."""

    segment: int
    offset: int
    length: int


class SealedLog:
    """One folder, used by one process."""

    def __init__(
        self, folder: Path, *, key: SealingKey, limit_bytes: int = LIMIT_BYTES, require_room: Callable[[], None] = lambda: None
    ) -> None:
        """``require_room`` raises OSError where there is none for exchanges."""
        self._require_room = require_room
        self._folder, self._key, self._limit = folder, key, limit_bytes
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = threading.Lock()
        self._keys: dict[int, DataKey] = {}
        self._open: dict[int, int] = {}  # contents that are not done, by segment
        self._sizes: dict[int, int] = {}
        self._file: int | None = None  # descriptor of the segment that is written
        self._current, self._began = 0, 0.0
        self._unsynced: set[int] = set()  # segments that hold contents which only the operating system has yet
        self._names_synced = True  # whether the disk has the names of all segments

    def left_over(self) -> Sequence[SealedPlace]:
        """What an earlier run has not done, oldest first; asked before the first ``append``."""
        places: list[SealedPlace] = []
        for file in sorted(self._folder.glob(f"*{SUFFIX}")):
            segment = int(file.stem) if SEGMENT_NAME.fullmatch(file.name) else 0
            self._current = max(self._current, segment)
            if not segment or not stat.S_ISREG(file.lstat().st_mode):
                log.warning("A file among the sealed exchanges is not ours.", action="sealed_foreign", file=str(file))
                continue
            try:
                found = self._places(file, segment)
            except (SealBroken, OSError) as error:
                log.error(
                    "A file of sealed exchanges cannot be read.", action="sealed_unreadable", file=str(file), error=type(error).__name__
                )
                file.rename(file.with_suffix(UNREADABLE))
                continue
            if not found:
                file.unlink(missing_ok=True)
                self._sizes.pop(segment, None)
                continue
            self._open[segment] = len(found)
            places += found
        return places

    def append(self, contents: Sequence[bytes], *, fsync: bool = False) -> Sequence[SealedPlace]:
        """Writes all or none. After it they survive the process; with ``fsync`` the machine too. Raises SpoolUnwritable."""
        with self._lock:
            try:
                self._require_room()
                if self._file is None or self._is_full():
                    self._begin_segment()
                return self._appended(contents, fsync=fsync)
            except OSError as error:
                raise SpoolUnwritable(
                    f"exchanges cannot be written: {error.strerror}",
                    where=str(self._folder),
                    remedy="See that the disk has room and that this user may write there.",
                ) from error

    def fsync(self) -> None:
        """The same for what was appended without, in segments that are ended too. Raises OSError."""
        with self._lock:
            for segment in sorted(self._unsynced):
                file = os.open(self._path(segment), os.O_RDONLY | os.O_CLOEXEC)
                try:
                    os.fdatasync(file)
                finally:
                    os.close(file)
                self._unsynced.discard(segment)
            self._sync_names()

    def read(self, place: SealedPlace) -> bytes:
        """Raises SealBroken and OSError."""
        with self._path(place.segment).open("rb") as file:
            file.seek(place.offset)
            sealed = file.read(place.length)
        return self._keys[place.segment].open(sealed, bound_to=b"%d" % place.offset)

    def done(self, places: Sequence[SealedPlace]) -> None:
        """These are kept elsewhere, or not wanted."""
        with self._lock:
            for place in places:
                self._open[place.segment] -= 1
            for segment in {place.segment for place in places}:
                self._delete_if_done(segment)

    def tidy(self) -> None:
        """For idle times: nothing else ends the last segment, or deletes what could not be deleted before."""
        with self._lock:
            for segment in list(self._open):
                self._delete_if_done(segment)

    def waiting(self) -> int:
        """How many contents are not done."""
        with self._lock:
            return sum(self._open.values())

    def close(self) -> None:
        with self._lock:
            self._end_segment()

    def _appended(self, contents: Sequence[bytes], *, fsync: bool) -> Sequence[SealedPlace]:
        assert self._file is not None
        before = end = self._sizes[self._current]
        places, pieces, key = [], [], self._keys[self._current]
        for content in contents:
            offset = end + LENGTH_BYTES
            sealed = key.seal(content, bound_to=b"%d" % offset)
            pieces += [len(sealed).to_bytes(LENGTH_BYTES, "big"), sealed]
            places.append(SealedPlace(self._current, offset, len(sealed)))
            end = offset + len(sealed)
        if sum(self._sizes.values()) + end - before > self._limit:
            raise OSError(0, f"over {self._limit} bytes wait to be redacted")
        try:
            write_all(self._file, b"".join(pieces))
            if fsync:
                os.fdatasync(self._file)
                self._sync_names()
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, before)  # no half of a content before the next one
            raise
        if fsync:
            self._unsynced.discard(self._current)
        else:
            self._unsynced.add(self._current)
        self._sizes[self._current] = end
        self._open[self._current] += len(places)
        return places

    def _is_full(self) -> bool:
        return self._sizes[self._current] > SEGMENT_BYTES or time.monotonic() - self._began > SEGMENT_SECONDS

    def _sync_names(self) -> None:
        if not self._names_synced:
            _fsync_folder(self._folder)
            self._names_synced = True

    def _begin_segment(self) -> None:
        self._end_segment()
        segment = self._current + 1
        secret = os.urandom(KEY_BYTES)
        head = self._key.seal(secret, bound_to=_name(segment))
        file = os.open(self._path(segment), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            write_all(file, len(head).to_bytes(LENGTH_BYTES, "big") + head)
        except OSError:
            os.close(file)
            self._path(segment).unlink(missing_ok=True)
            raise
        self._file, self._current, self._began = file, segment, time.monotonic()
        self._names_synced = False
        self._keys[segment], self._open[segment], self._sizes[segment] = DataKey(secret), 0, LENGTH_BYTES + len(head)

    def _end_segment(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None
            self._delete_if_done(self._current)

    def _delete_if_done(self, segment: int) -> None:
        if self._open.get(segment, 1) or (segment == self._current and self._file is not None and not self._is_full()):
            return
        if segment == self._current and self._file is not None:
            os.close(self._file)
            self._file = None
        try:
            self._path(segment).unlink(missing_ok=True)
        except OSError:  # a disk that is read-only: ``tidy`` tries it again
            return
        self._open.pop(segment, None)
        self._keys.pop(segment, None)
        self._sizes.pop(segment, None)
        self._unsynced.discard(segment)

    def _places(self, file: Path, segment: int) -> list[SealedPlace]:
        """A process that ended while it wrote leaves a part of a content at the end; nobody had its answer yet."""
        raw = file.read_bytes()
        places: list[SealedPlace] = []
        at = 0
        while at + LENGTH_BYTES <= len(raw):
            length = int.from_bytes(raw[at : at + LENGTH_BYTES], "big")
            at += LENGTH_BYTES
            if not length or at + length > len(raw):  # a power cut can leave zeros at the end
                break
            if segment not in self._keys:
                self._keys[segment] = DataKey(self._key.open(raw[at : at + length], bound_to=_name(segment)))
            else:
                places.append(SealedPlace(segment, at, length))
            at += length
        self._sizes[segment] = len(raw)
        return places

    def _path(self, segment: int) -> Path:
        return self._folder / f"{segment:010d}{SUFFIX}"


def take_over(folder: Path, others: Sequence[Path], *, key: SealingKey) -> None:
    """Brings what waits in other folders into this one, before anyone writes there, and removes the others.

    A kill in between leaves a content in both; its event has one id, so it is recorded once. On a full disk they wait for the next start.
    """
    for other in others:
        left = SealedLog(other, key=key)
        places = left.left_over()
        try:
            if places:
                _copy(left, places, into=SealedLog(folder, key=key))
            other.rmdir()
        except (SpoolUnwritable, OSError) as error:  # or the folder holds a file that cannot be read
            log.warning("Sealed exchanges stay where they are.", action="sealed_not_taken_over", folder=str(other), error=str(error))


def _copy(left: SealedLog, places: Sequence[SealedPlace], *, into: SealedLog) -> None:
    into.left_over()  # so that it begins behind the last segment
    for place in places:
        with contextlib.suppress(SealBroken):
            into.append([left.read(place)])
    into.close()
    left.done(places)


def write_all(file: int, content: bytes) -> None:
    """Raises OSError, also when only a part went in: a full disk takes what fits and says so at the next write."""
    view = memoryview(content)
    while view:
        view = view[os.write(file, view) :]


def _fsync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _name(segment: int) -> bytes:
    return b"sealed exchanges %d" % segment
