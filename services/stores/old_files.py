"""Deletes old files: lines of logs, and the pages that Evidently wrote.

In: a kind, a workload, a period, how many at most. Out: how many files were cut or deleted. A log is turned over each time when half of
its time is over, or at 64 MiB: what it has goes to ``<name>.log.1``, and what that had is gone. So no line is older than its time.
"""

import os
import shutil
from collections.abc import Callable, Collection
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from flywheel.clock import lies_ahead
from flywheel.ids import WorkloadId
from flywheel.retention import OldPeriod, RecordKind

LOG_BYTES = 64 * 1024**2


class OldFiles:
    """OldRecords in the data folder. A file's time is that of its last change."""

    kinds = frozenset({RecordKind.LOGS, RecordKind.REPORTS})

    def __init__(self, data_dir: Path, *, now: Callable[[], datetime], workload_of: Callable[[str], WorkloadId | None]) -> None:
        """``workload_of``: whose window an id names; None for one that is not known any more."""
        self._logs, self._reports = data_dir / "logs", data_dir / "reports"
        self._now, self._workload_of = now, workload_of

    def workloads(self) -> Collection[WorkloadId]:
        return {WorkloadId("")}

    def delete_some(self, kind: RecordKind, workload: WorkloadId | None, period: OldPeriod, *, at_most: int) -> int:
        if kind is RecordKind.LOGS:
            return self._turn_logs(half=(self._now() - period.end) / 2, at_most=at_most)
        deleted = 0
        for page in sorted(self._reports.glob("*.html")):
            changed = _changed(page)
            inside = changed is not None and changed < period.end and (period.start is None or changed >= period.start)
            if inside and (self._workload_of(page.stem) or WorkloadId("")) == workload and deleted < at_most:
                page.unlink(missing_ok=True)
                deleted += 1
        return deleted

    def start_anew(self) -> None:
        """Nothing is remembered."""

    def give_back(self) -> bool:
        return False

    def _turn_logs(self, *, half: timedelta, at_most: int) -> int:
        now, turned = self._now(), 0
        for log in sorted(self._logs.glob("*.log")):
            before = log.with_suffix(".log.1")
            since = _changed(before)
            if since is None or lies_ahead(since, now=now):
                before.touch()  # counts from here
                os.utime(before, (now.timestamp(), now.timestamp()))
            elif (
                turned < at_most and (now - since >= half or log.stat().st_size > LOG_BYTES) and log.stat().st_size + before.stat().st_size
            ):
                _turn(log, before, at=now)
                turned += 1
        for before in sorted(self._logs.glob("*.log.1")):
            since = _changed(before)
            if turned < at_most and since is not None and now - since >= half and not before.with_suffix("").exists():
                before.unlink(missing_ok=True)
                turned += 1
        return turned


def _turn(log: Path, before: Path, *, at: datetime) -> None:
    """Its process goes on writing at the end of the same file. What it writes between copy and cut is lost: one line, if any."""
    copy = before.with_suffix(".2")
    shutil.copyfile(log, copy)
    os.truncate(log, 0)
    copy.replace(before)
    os.utime(before, (at.timestamp(), at.timestamp()))


def _changed(file: Path) -> datetime | None:
    """None where there is no file."""
    with suppress(FileNotFoundError):
        return datetime.fromtimestamp(file.stat().st_mtime, tz=UTC)
    return None
