"""How many bytes a recorded exchange takes on disk, in both databases together."""

import random
import sqlite3
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import islice
from pathlib import Path
from uuid import UUID

import orjson

from flywheel.ids import EventId, RequestId, WorkloadId
from flywheel.retention import OldPeriod, RecordKind, RetentionPolicy
from flywheel.traffic.exchange import exchange_from_wire
from flywheel.traffic.features import columns_of
from flywheel.windows.pane_shape import PaneShape
from flywheel.windows.slices import SlicePolicy
from services.ports.traffic import RecordedInference, RecordingBatch
from services.stores.ledger.old_ledger import OldLedger
from services.stores.traffic.compression import AS_IT_IS, Compressor
from services.stores.traffic.old_traffic import OldTraffic
from tests.traffic_events import NOON, inference
from tests.traffic_stores import recording_store

SUPPORT = WorkloadId("support")
PAGES = sorted((Path(__file__).parents[2] / "deploy" / "docs").glob("*.md"))
"""English text that nobody made up for a figure about its compression."""
BATCH = 500
PARTITIONS, FILLED = 4, 0.65  # of the traffic topic; how full pages of random keys are


class AsItIs(Compressor):
    """Leaves content as it is."""

    def compressed(self, content: bytes) -> tuple[bytes, int]:
        return content, AS_IT_IS


def bytes_on_disk(*, compressed: bool, exchanges: int = 5_000, size: int = 1_000, requests_a_session: int = 5, seed: int = 1) -> float:
    """Bytes an exchange whose request and answer have about ``size`` bytes of JSON, system text and settings included."""
    rows = list(_rows(random.Random(seed), exchanges, size, requests_a_session))
    with tempfile.TemporaryDirectory() as folder:
        shape = PaneShape(pane=timedelta(minutes=5), slices=SlicePolicy(dimensions=("tenant",)))
        store = recording_store(Path(folder), shapes={SUPPORT: shape})
        if not compressed:
            store._sealer._compressor = AsItIs()
        empty = _size(Path(folder))
        for at in range(0, exchanges, BATCH):
            store.record(RecordingBatch(advances=[], rows=rows[at : at + BATCH], recorded_at=NOON))
        return (_size(Path(folder)) - empty) / exchanges


def _size(folder: Path) -> int:
    """Without what still stands in the write-ahead logs twice."""
    for name in ("traffic.db", "ledger.db"):
        with closing(sqlite3.connect(folder / name)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return sum((folder / name).stat().st_size for name in ("traffic.db", "ledger.db"))


def _rows(rng: random.Random, exchanges: int, size: int, requests_a_session: int) -> Iterator[RecordedInference]:
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)

    def piece(length: int) -> str:
        at = rng.randrange(len(text) - length)
        return text[at : at + length]

    frame = len(orjson.dumps(_wire("", "", "", rng)))
    for number in range(exchanges):
        length = max(size - frame, 3)
        request, response = _wire(piece(length // 6), piece(length // 2), piece(length // 3), rng)
        one = replace(
            inference(number, session=f"session-{number // requests_a_session}"),
            event_id=EventId(str(UUID(int=rng.getrandbits(128)))),
            request_id=RequestId(str(UUID(int=rng.getrandbits(128)))),
            exchange=exchange_from_wire(request, response, where="$"),
        )
        yield RecordedInference(inference=one, features=columns_of(one, valid_format=None))


def _wire(system: str, asked: str, answered: str, rng: random.Random) -> tuple[dict[str, object], dict[str, object]]:
    request = {
        "messages": [{"role": "system", "content": system}, {"role": "user", "content": asked}],
        "temperature": 0.2,
        "max_tokens": 256,
    }
    response = {
        "id": f"chatcmpl-{rng.randbytes(16).hex()}",
        "object": "chat.completion",
        "created": 1_790_000_000 + rng.randrange(10**6),
        "choices": [{"index": 0, "message": {"role": "assistant", "content": answered}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": rng.randrange(900), "total_tokens": rng.randrange(900), "completion_tokens": rng.randrange(900)},
    }
    return request, response


@dataclass(frozen=True, kw_only=True)
class YearOnDisk:
    """Predicted bytes after a year, by what takes them. Of one workload, with the default settings and four partitions."""

    rows: float  # with indexes, ids and keys, of the days for which rows are kept
    contents: float
    ids: float  # of the days after that
    panes: float

    @property
    def total(self) -> float:
        return self.rows + self.contents + self.ids + self.panes


def year_on_disk(*, a_second: float = 10.0, size: int = 1_000, days: int = 4, rows_a_day: int = 1_500, seed: int = 1) -> YearOnDisk:
    """From a small record that is kept for ``days`` and lasts twice as long, so that its pages are as full as deleting leaves them."""
    policy, a_day = RetentionPolicy(), a_second * 86_400
    with tempfile.TemporaryDirectory() as named:
        folder, shape = Path(named), PaneShape(pane=timedelta(minutes=5), slices=SlicePolicy(dimensions=("tenant",)))
        store = recording_store(folder, shapes={SUPPORT: shape})
        traffic, ledger = OldTraffic(store.engine, now=lambda: NOON + timedelta(days=365)), OldLedger(store.keys._engine)
        empty = _used(folder)
        rows = _rows(random.Random(seed), 2 * days * rows_a_day, size, 5)
        for day in range(2 * days):
            at = NOON + timedelta(days=day)
            today = [
                replace(row, inference=replace(row.inference, occurred_at=at + timedelta(seconds=n)))
                for n, row in enumerate(islice(rows, rows_a_day))
            ]
            for start in range(0, rows_a_day, BATCH):
                store.record(RecordingBatch(advances=[], rows=today[start : start + BATCH], recorded_at=at))
            old = OldPeriod(start=None, end=at - timedelta(days=days - 1))
            for kind in (RecordKind.ROWS, RecordKind.IDS, RecordKind.PANES):
                while traffic.delete_some(kind, SUPPORT, old, at_most=BATCH):
                    pass
            while ledger.delete_some(RecordKind.KEYS, SUPPORT, old, at_most=BATCH):
                pass
        a_row = (_used(folder) - empty) / (days * rows_a_day)
        with closing(sqlite3.connect(folder / "traffic.db")) as database:
            a_pane = database.execute("SELECT avg(length(counts) + length(workload) + length(topic) + 60) FROM panes").fetchone()[0]
            contents = "SELECT sum(pgsize) FROM dbstat WHERE name LIKE '%exchange_contents%'"
            a_content = database.execute(contents).fetchone()[0] / (days * rows_a_day)
            an_id = database.execute("SELECT avg(2 * length(event_id) + length(at) + 20) FROM seen_ids").fetchone()[0] / FILLED
    return YearOnDisk(
        rows=(a_row - a_content) * a_day * policy.rows,
        contents=a_content * a_day * policy.contents,
        ids=an_id * a_day * (policy.ids - policy.rows),
        panes=365 * 24 * 12 * PARTITIONS * a_pane / FILLED,
    )


def _used(folder: Path) -> int:
    """Without free pages and write-ahead logs."""
    total = 0
    for name in ("traffic.db", "ledger.db"):
        with closing(sqlite3.connect(folder / name)) as database:
            pages, free, size = (database.execute(f"PRAGMA {one}").fetchone()[0] for one in ("page_count", "freelist_count", "page_size"))
        total += (pages - free) * size
    return total


if __name__ == "__main__":
    predicted = year_on_disk(days=4, rows_a_day=5_000)
    for name in ("rows", "contents", "ids", "panes", "total"):
        sys.stdout.write(f"{name}: {getattr(predicted, name) / 1e9:.1f} GB\n")
