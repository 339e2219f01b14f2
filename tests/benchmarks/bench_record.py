"""What recording costs: CPU time an event through the recorder's own batch step, and bytes on disk for an exchange.

The events are made as the gateway makes them, and recorded in batches of 500 into new databases. An event that its producer has redacted is
stored as it is; of another one the recorder searches every text for personal data.
"""

import json
import random
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from unittest.mock import patch

from flywheel.traffic.recording import RawRecord
from services.gateway.traffic_event import UpstreamAttempt, event_data
from services.integrations.kafka.event_codec import TRAFFIC_TYPE, claimed_ids, decode_traffic
from services.integrations.presidio.redactor import PresidioRedactor
from services.ports.cloud_events import encode
from services.process.start_stop import collect_garbage_rarely
from services.settings import Settings
from services.stores.traffic.compression import AS_IT_IS, Compressor
from services.traffic_windower.record_batches import Recording, record_batch
from tests.benchmarks.exchange_traffic import NOON, SEED, SIZES, WORKLOAD, attempts, completion, cpu_microseconds, text
from tests.benchmarks.figures import Figure, at_most, report, soak
from tests.opened import traffic_store

BATCH = 500
COUNTS = {"1 KB": 4_000 if soak() else 1_000, "50 KB": 400 if soak() else 100}
EVENT_MICROSECONDS, REDACTED_MICROSECONDS, LARGE_SECONDS = 60, 170, 1.0
LARGE = 850_000  # bytes of a prompt as JSON; its answer has a tenth, and an event at most 1 MiB
PERSONAL = 0.02
PLAIN = {"line breaks": "\n", "blanks": " ", "list marks": "- ", "digits and dashes": "1-", "code words": "function "}
PLAIN |= {"brackets": "[", "pseudonyms half written": "<A:"}
DIGITS = {"dates": "1/2/", "digits and dashes": "1-", "country codes": "+1 ", "card numbers begun": "4111 ", "hexadecimals": "1:"}
DIGITS |= {"accounts begun": "AB12", "addresses begun": "a@a.", "orders": "order 4521 of 2024 for 12 EUR, "}
TIMES = 5 if soak() else 2


class Unchanged:
    """A redactor that finds nothing and searches nothing."""

    def redact(self, text: str, names: tuple[str, ...] = ()) -> tuple[str, int]:
        return text, 0


def events(count: int, *, characters: int, redacted: bool) -> list[bytes]:
    """Bytes of events as the topic holds them."""
    made = []
    for one in attempts(count, characters=characters, personal=0.0 if redacted else PERSONAL):
        data = event_data(one, redactor=Unchanged()) | {"redacted": redacted}
        made.append(_encoded(one, data))
    return made


def large_events(units: Mapping[str, str], *, redacted: bool) -> dict[str, bytes]:
    """Prompt and answer of common words, and of texts that repeat a unit, on which a pattern that is not linear takes minutes."""
    (one,) = attempts(1, characters=10)
    texts = {"common words": text(random.Random(SEED), LARGE)}
    texts |= {kind: unit * (LARGE // (len(json.dumps(unit)) - 2)) for kind, unit in units.items()}
    made = {}
    for kind, said in texts.items():
        body, answer = {"messages": [{"role": "user", "content": said}]}, completion(1, said[: LARGE // 10])
        data = event_data(replace(one, body=body, reply=replace(one.reply, response=answer)), redactor=Unchanged())
        made[kind] = _encoded(one, data | {"redacted": redacted})
    return made


def _encoded(one: UpstreamAttempt, data: Mapping[str, object]) -> bytes:
    key = str(data["session_id"])
    return encode(type=TRAFFIC_TYPE, id=one.event_id, workload=one.workload, time=one.arrived_at, data=data, partitionkey=key)


def record(raws: Sequence[bytes], folder: Path, redactor: PresidioRedactor) -> None:
    settings = Settings(data_dir=folder, workloads={WORKLOAD: {"alias": "router"}})  # type: ignore[arg-type]
    store = traffic_store(settings)
    parts = Recording(recorder=store, decode=decode_traffic, claimed_ids=claimed_ids, redactor=lambda: redactor, formats={WORKLOAD: None})
    position = store.assign(topic_id="log", topic="traffic", partition=0)
    for start in range(0, len(raws), BATCH):
        values = raws[start : start + BATCH]
        records = [RawRecord(topic="traffic", partition=0, offset=start + at, value=value) for at, value in enumerate(values)]
        at = ("traffic", 0)
        record_batch(records=records, positions={at: position}, reading_at={at: start}, parts=parts, now=NOON + timedelta(minutes=1))
        position = replace(position, offset=start + len(records))


def cpu(raws: Sequence[bytes], redactor: PresidioRedactor, *, times: int = TIMES) -> float:
    def act() -> None:
        with tempfile.TemporaryDirectory(prefix="flywheel-record-") as folder:
            record(raws, Path(folder), redactor)

    return cpu_microseconds(act, events=len(raws), times=times)


def bytes_on_disk(raws: Sequence[bytes], redactor: PresidioRedactor) -> float:
    """Of all files, for each event: rows, indexes, panes and the subjects' keys."""
    with tempfile.TemporaryDirectory(prefix="flywheel-record-") as folder:
        record(raws, Path(folder), redactor)
        return sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file()) / len(raws)


def main() -> int:
    collect_garbage_rarely()  # as the recorder's process does
    redactor = PresidioRedactor(key=b"benchmark" * 4)
    redactor.redact("4155550134")  # imports what it needs
    figures = []
    for name, characters in SIZES.items():
        for redacted in (True, False):
            raws = events(COUNTS[name] // (1 if redacted else 4), characters=characters, redacted=redacted)
            said = "redacted by its producer" if redacted else f"redacted by the recorder, {PERSONAL:.0%} with personal data"
            told, cost = f"CPU time an event, prompt of {name}, {said}", cpu(raws, redactor)
            if name == "1 KB":
                goal = EVENT_MICROSECONDS if redacted else REDACTED_MICROSECONDS
                figures.append(at_most(goal, name=told, value=cost, unit="microseconds", n=len(raws)))
            else:
                figures.append(Figure(name=told, value=cost, unit="microseconds", n=len(raws)))
    for redacted, units in ((True, PLAIN), (False, DIGITS)):
        for kind, raw in large_events(units, redacted=redacted).items():
            peer, by = f"{len(raw) / 1024:.0f} KiB", "its producer" if redacted else "the recorder"
            cost = cpu([raw], redactor, times=TIMES if redacted else 1) / 1e6
            told = f"CPU time of one event of 1 MB, redacted by {by}, {kind}"
            figures.append(at_most(LARGE_SECONDS, name=told, value=cost, unit="s", peer=peer))
    raws = events(COUNTS["1 KB"], characters=SIZES["1 KB"], redacted=True)
    size = f"the event itself has {sum(map(len, raws)) / len(raws):.0f} bytes"
    figures.append(Figure(name="on disk for an exchange of 1 KB, compressed", value=bytes_on_disk(raws, redactor), unit="bytes", peer=size))
    with patch.object(Compressor, "compressed", lambda self, content: (content, AS_IT_IS)):  # the one way to leave it out
        figures.append(Figure(name="on disk for an exchange of 1 KB, not compressed", value=bytes_on_disk(raws, redactor), unit="bytes"))
    report("record", figures, seeds=[SEED])
    return 0


if __name__ == "__main__":
    sys.exit(main())
