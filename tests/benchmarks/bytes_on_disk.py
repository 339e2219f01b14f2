"""How many bytes a recorded exchange takes on disk, in both databases together."""

import random
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import orjson

from flywheel.ids import EventId, RequestId, WorkloadId
from flywheel.traffic.exchange import exchange_from_wire
from flywheel.traffic.features import columns_of
from flywheel.windows.pane_shape import PaneShape
from flywheel.windows.slices import SlicePolicy
from services.ports.traffic import RecordedInference, RecordingBatch
from services.stores.traffic.compression import AS_IT_IS, Compressor
from tests.traffic_events import NOON, inference
from tests.traffic_stores import recording_store

SUPPORT = WorkloadId("support")
PAGES = sorted((Path(__file__).parents[2] / "deploy" / "docs").glob("*.md"))
"""English text that nobody made up for a figure about its compression."""
BATCH = 500


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
