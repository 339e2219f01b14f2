"""Writes and reads snapshots: content-addressed JSONL, one row a line.

In: a snapshot. Out: the path of its file. A file is written under a temporary name, flushed to disk, then renamed, so that a
kill leaves no incomplete file under its final name. Reading checks the rows against the hash in the snapshot's id.
"""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from flywheel.errors import CannotRun
from flywheel.ids import SnapshotId, WorkloadId
from flywheel.training_set.example import Example
from flywheel.training_set.snapshot import Snapshot, example_of, id_of, line


def write_snapshot(snapshot: Snapshot, *, folder: Path) -> Path:
    """``<folder>/<id>.jsonl``; writing the same snapshot again changes nothing."""
    path = folder / f"{snapshot.id}.jsonl"
    if path.exists():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=folder, prefix=f".{snapshot.id}-", suffix=".part")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as file:
            for example in snapshot.examples:
                file.write(line(example) + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    _sync_folder(folder)
    return path


def read_examples(path: Path, *, snapshot_id: SnapshotId, workload: WorkloadId) -> Sequence[Example]:
    """The rows. Raises CannotRun when the file cannot be read or its rows do not match the id."""
    try:
        content = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CannotRun(
            "the snapshot's file cannot be read", where=str(path), remedy="Restore it from a backup, or build the data set again."
        ) from error
    try:
        examples = tuple(example_of(row) for row in content.split("\n") if row)
        found = id_of(workload=workload, examples=examples)
    except (ValueError, KeyError, TypeError):
        found = SnapshotId("unreadable rows")
        examples = ()
    if found != snapshot_id:
        raise CannotRun(
            f"the rows are not those of {snapshot_id}",
            where=str(path),
            value=found,
            remedy="The file was changed: build the data set again.",
        )
    return examples


def _sync_folder(folder: Path) -> None:
    """Flushes the folder: only then the rename survives a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
