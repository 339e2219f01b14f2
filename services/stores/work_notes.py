"""What recorder and correction desk have in work, in a file for each partition: what a process that died was working on is known to the
next one.

In: offsets. Out: the last note of a partition. A note is overwritten in place, so it needs no space on the disk. It survives the death of
the process, not a power cut.
"""

import json
import os
from pathlib import Path
from urllib.parse import quote

import structlog

from flywheel.traffic.caution import NotedWork
from flywheel.traffic.recording import Partition

NOTE_BYTES = 512
log = structlog.get_logger()


class WorkNotes:
    """The notes under one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: dict[Partition, int] = {}

    def note(self, partition: Partition, work: NotedWork) -> None:
        """A note that cannot be written stops no recording: it only helps after a death."""
        text = json.dumps([work.topic_id, work.process, work.first, work.until, work.alone, work.deaths]).encode()
        try:
            if partition not in self._open:
                self._folder.mkdir(parents=True, exist_ok=True)
                self._open[partition] = os.open(self._file(partition), os.O_WRONLY | os.O_CREAT, 0o600)
            os.pwrite(self._open[partition], text.ljust(NOTE_BYTES), 0)
        except OSError as error:
            log.warning("What is in work cannot be noted", action="work_not_noted", reason=str(error))

    def noted(self, partition: Partition) -> NotedWork | None:
        """None when there is none, or none that can be read."""
        try:
            topic_id, process, first, until, alone, deaths = json.loads(self._file(partition).read_bytes())
            return NotedWork(
                topic_id=str(topic_id), process=str(process), first=int(first), until=int(until), alone=bool(alone), deaths=int(deaths)
            )
        except (OSError, ValueError, TypeError):
            return None

    def forget(self, partition: Partition) -> None:
        """The work is done, and nothing more will be noted for this partition."""
        if (descriptor := self._open.pop(partition, None)) is not None:
            os.close(descriptor)
        self._file(partition).unlink(missing_ok=True)

    def _file(self, partition: Partition) -> Path:
        topic, number = partition
        return self._folder / f"{quote(topic, safe='')}-{number}.json"
