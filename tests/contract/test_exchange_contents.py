"""Recorded content: exactly what was served comes back; without its subject's key nothing does, and nothing else breaks."""

import hashlib
import json
import multiprocessing
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flywheel.corrections.correction import Correction, CorrectionKind
from flywheel.corrections.join_inference import JoinOutcome, join
from flywheel.ids import CorrectionId, RequestId, WorkloadId
from flywheel.traffic.exchange import CUT, ERASED, Exchange, exchange_from_wire
from flywheel.traffic.features import columns_of
from flywheel.traffic.inference import Inference
from flywheel.traffic.recording import LostPartition
from flywheel.windows.pane_shape import PaneShape
from flywheel.windows.slices import SlicePolicy
from services.ports.traffic import Advance, NotSealed, RecordedInference, RecordingBatch
from services.stores.database import open_ledger
from services.stores.ledger.subject_keys import open_subject_keys
from services.stores.migrate import migrate
from services.stores.schema_version import TRAFFIC
from services.stores.sealing import DataKey, SealingKey
from services.stores.traffic import compression
from services.stores.traffic.compression import Compressor, Decompressor
from services.stores.traffic.traffic_store import TrafficStore
from tests.benchmarks.bytes_on_disk import bytes_on_disk
from tests.databases import migrated_ledger
from tests.traffic_events import NOON, inference
from tests.traffic_stores import BothSides, recording_store

SUPPORT, LATER = WorkloadId("support"), NOON + timedelta(hours=1)
SHAPES = {SUPPORT: PaneShape(pane=timedelta(seconds=10), slices=SlicePolicy(dimensions=("tenant",)))}
CALL = {"id": "call-1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}}
EVERY_PLANE = "".join(map(chr, (0x0, 0x7F, 0x85, 0x2028, 0xFFFD, 0xFFFF, 0x1F600, 0x20000, 0x30000, 0xE0041, 0xF0000, 0x10FFFF)))


@pytest.fixture
def store(tmp_path: Path) -> BothSides:
    return recording_store(tmp_path, shapes=SHAPES)


def record(store: BothSides, *inferences: Inference) -> None:
    rows = [RecordedInference(inference=one, features=columns_of(one, valid_format=None), topic="t") for one in inferences]
    store.record(RecordingBatch(advances=[], rows=rows, recorded_at=LATER))


def read(store: TrafficStore) -> list[Inference]:
    return [row.inference for row in store.rows(workload=SUPPORT, start=NOON, end=LATER)]


def served(asked: dict[str, Any], *messages: dict[str, Any], reason: str | None = "stop", **more: Any) -> Exchange:
    choices = [{"index": at, "message": {"role": "assistant", **one}, "finish_reason": reason} for at, one in enumerate(messages)]
    response = {"id": "chatcmpl-7", "object": "chat.completion", "choices": choices, "usage": {"prompt_tokens": 9}, **more}
    return exchange_from_wire({"messages": [{"role": "user", "content": "hello"}], **asked}, response, where="$")


EXCHANGES = {
    "plain": served({}, {"content": "hi"}),
    "settings": served(
        {
            "temperature": 0.1,
            "top_p": 1,
            "stop": ["\n"],
            "seed": 2**63 - 1,
            "response_format": {"type": "json_object"},
            "x": [None, {}, 1e-300],
        },
        {"content": "{}"},
        system_fingerprint="fp_1",
        created=1_790_000_000,
    ),
    "tools": served(
        {
            "tools": [TOOL],
            "tool_choice": {"type": "function", "function": {"name": "weather"}},
            "messages": [
                {"role": "developer", "content": "Be brief."},
                {"role": "user", "content": "Weather?", "name": "ann"},
                {"role": "assistant", "content": None, "tool_calls": [CALL]},
                {"role": "tool", "content": '{"degrees": 4}', "tool_call_id": "call-1"},
            ],
        },
        {"content": None, "tool_calls": [CALL, {**CALL, "id": "call-2", "function": {"name": "weather", "arguments": '{"city": '}}]},
        reason="tool_calls",
    ),
    "parts": served(
        {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "What is this?", "cache_control": {"type": "ephemeral"}},
                        {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "QUJD" * 40, "detail": "low"}},
                        {"type": "unheard_of", "value": 7},
                    ],
                }
            ]
        },
        {"content": "A letter."},
    ),
    "refusal": served({}, {"content": None, "refusal": "I will not."}, reason="content_filter"),
    "reasoning": served({}, {"content": "4", "reasoning_content": "2 + 2", "reasoning": {"effort": 1}}),
    "several choices": served({"n": 3}, {"content": "a"}, {"content": "b"}, {"content": None, "tool_calls": [CALL]}, reason=None),
    "every plane": served({"messages": [{"role": "user", "content": EVERY_PLANE, EVERY_PLANE: EVERY_PLANE}]}, {"content": EVERY_PLANE}),
    "empty": served({"messages": [{"role": "user", "content": ""}]}, {"content": ""}),
    "no content": served({"messages": [{"role": "user", "content": None}]}, {"content": None}),
    "huge": served({"messages": [{"role": "user", "content": "æ0\n" * 225_000}]}, {"content": "x" * 100_000}),
    "incompressible": served({"messages": [{"role": "user", "content": hashlib.shake_256(b"seed").hexdigest(50_000)}]}, {"content": ""}),
    "no answer": exchange_from_wire({"messages": [{"role": "user", "content": "hello"}]}, None, where="$", added=("request.temperature",)),
    "no choice": served({}),
    "cut": replace(served({}, {"content": "hi"}), left_out=CUT),
    "added": replace(served({"temperature": 0}, {"content": "hi"}), added=("request.messages[0]", "request.temperature")),
}


@pytest.mark.parametrize("name", EXCHANGES)
def test_an_exchange_comes_back_exactly(store: BothSides, name: str) -> None:
    one = inference(1, client_request_id="order-7", error="HTTP 400: hello?")
    one = replace(one, exchange=EXCHANGES[name])
    record(store, one)
    assert read(store) == [one]
    found = store.by_request("req-1", workload=SUPPORT)
    assert found is not None
    assert found.inference == one


def test_all_of_them_come_back_from_one_batch_each_in_its_place(store: BothSides) -> None:
    recorded = [replace(inference(number), exchange=exchange) for number, exchange in enumerate(EXCHANGES.values())]
    record(store, *recorded)
    assert read(store) == recorded


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=3),
    max_leaves=8,
)
KNOWN = ["content", "name", "tool_calls", "tool_call_id", "refusal", "reasoning", "reasoning_content", "function_call", "x"]
FIELDS = st.dictionaries(st.sampled_from(KNOWN), JSON_VALUES, max_size=5)


@pytest.fixture(scope="module")
def one_store(tmp_path_factory: pytest.TempPathFactory) -> BothSides:
    return recording_store(tmp_path_factory.mktemp("any"), shapes=SHAPES)


@given(asked=FIELDS, answered=st.lists(FIELDS, max_size=2), more=st.dictionaries(st.text(max_size=12), JSON_VALUES, max_size=3))
def test_whatever_was_served_comes_back(
    one_store: BothSides, asked: dict[str, Any], answered: list[dict[str, Any]], more: dict[str, Any]
) -> None:
    request = {**more, "messages": [{"role": "user", **asked}]}
    exchange = exchange_from_wire(request, {**more, "choices": [{"message": one} for one in answered]}, where="$")
    number = one_store.counts(SUPPORT).recorded
    one = replace(inference(number), exchange=exchange)
    record(one_store, one)
    found = one_store.by_request(f"req-{number}", workload=SUPPORT)
    assert found is not None
    assert found.inference == one


def test_no_content_and_no_name_of_a_subject_key_stands_in_a_file(tmp_path: Path) -> None:
    store = recording_store(tmp_path, shapes=SHAPES, subject="client")
    one = inference(1, client="a-client-of-ours", error="the error says WOMBAT")
    record(store, replace(one, exchange=served({"messages": [{"role": "user", "content": "WOMBAT"}]}, {"content": "WOMBAT"})))
    held = b"".join(file.read_bytes() for file in tmp_path.iterdir() if file.is_file())
    assert b"WOMBAT" not in held
    assert b"a-client-of-ours" in held, "rows keep the names by which they are looked up"
    ledger = b"".join(file.read_bytes() for file in tmp_path.glob("ledger.db*"))
    assert b"a-client-of-ours" not in ledger


@pytest.mark.parametrize(("subject", "number"), [("session", 3), ("client", 1), ("dim:tenant", 2)])
def test_there_is_one_key_for_each_subject(tmp_path: Path, subject: str, number: int) -> None:
    store = recording_store(tmp_path, shapes=SHAPES, subject=subject)
    record(store, *(inference(n, session=f"s-{n % 3}") for n in range(12)))
    assert len(subjects(store)) == number
    assert len(read(store)) == 12


def subjects(store: BothSides) -> list[bytes]:
    return [row[0] for row in changed(store, "ledger", "SELECT subject FROM subject_keys")]


def changed(store: BothSides, name: str, statement: str, values: Sequence[object] = ()) -> list[Any]:
    """Runs a statement as another program would."""
    path = Path(str(store.engine.url.database)).with_name(f"{name}.db")
    with closing(sqlite3.connect(path)) as connection:
        found = connection.execute(statement, values).fetchall()
        connection.commit()
    return found


def erase(store: BothSides, session: str) -> None:
    changed(store, "ledger", "DELETE FROM subject_keys WHERE subject = ?", [store.keys.digest(SUPPORT, ("session", session))])


def break_key(store: BothSides, session: str) -> None:
    broken = "UPDATE subject_keys SET sealed_key = zeroblob(60) WHERE subject = ?"
    changed(store, "ledger", broken, [store.keys.digest(SUPPORT, ("session", session))])


def test_without_its_key_a_subjects_content_is_erased_and_all_else_goes_on(store: BothSides) -> None:
    kept, gone = inference(1, session="stays"), inference(2, session="goes", prompt_tokens=9, answer_tokens=4)
    gone = replace(gone, exchange=replace(gone.exchange, completion_id="chatcmpl-2"))
    record(store, kept, gone)
    window, counts = store.window(workload=SUPPORT, start=NOON, end=LATER), store.counts(SUPPORT)
    outcomes, features = store.outcomes(workload=SUPPORT, since=NOON), store.rows(workload=SUPPORT, start=NOON, end=LATER)[1].features
    erase(store, "goes")
    first, second = store.rows(workload=SUPPORT, start=NOON, end=LATER)
    assert first.inference == kept
    assert second.features == features
    exchange = second.inference.exchange
    assert (exchange.unreadable, exchange.left_out, exchange.prompt.messages, exchange.answer) == (ERASED, CUT, (), None)
    assert (exchange.tokens("prompt_tokens"), exchange.tokens("completion_tokens"), exchange.completion_id) == (9, 4, "chatcmpl-2")
    assert replace(second.inference, exchange=gone.exchange) == gone
    assert store.window(workload=SUPPORT, start=NOON, end=LATER).matrix == window.matrix
    assert store.counts(SUPPORT) == counts
    assert store.outcomes(workload=SUPPORT, since=NOON) == outcomes
    for id in ("req-2", "chatcmpl-2"):
        found = store.by_request(id, workload=SUPPORT)
        assert found is not None
        assert found.inference.exchange.unreadable == ERASED


def test_a_correction_of_an_erased_exchange_never_trains(store: BothSides) -> None:
    record(store, inference(1, session="goes"))
    erase(store, "goes")
    found = store.by_request("req-1", workload=SUPPORT)
    assert found is not None
    correction = Correction(
        id=CorrectionId("c"),
        workload=SUPPORT,
        source="desk",
        author="ann",
        kind=CorrectionKind.EDIT,
        created_at=NOON,
        request_id=RequestId("req-1"),
        corrected="Better.",
    )
    decision = join(correction=correction, request=found.inference, entity_keys=())
    assert (decision.outcome, decision.joined) == (JoinOutcome.CUT, None)
    assert decision.reason == "the recorded request cannot be trained on: erased"


def test_an_erased_subject_that_comes_back_gets_a_new_key(store: BothSides) -> None:
    record(store, inference(1, session="s"))
    erase(store, "s")
    record(store, inference(2, session="s"), inference(1, session="s"))
    first, second = read(store)
    assert (first.exchange.unreadable, second) == (ERASED, inference(2, session="s"))


def test_content_that_cannot_be_opened_fails_no_other_row(store: BothSides) -> None:
    sent = [inference(n, session=f"s-{n}") for n in range(6)]
    record(store, *sent)
    sealed = dict(changed(store, "traffic", "SELECT event_id, sealed FROM exchange_contents"))
    set_sealed = "UPDATE exchange_contents SET sealed = ? WHERE event_id = ?"
    changed(store, "traffic", set_sealed, [sealed["event-0"][:-1] + bytes([sealed["event-0"][-1] ^ 1]), "event-0"])
    changed(store, "traffic", set_sealed, [b"", "event-1"])
    changed(store, "traffic", "UPDATE exchange_contents SET compression = 0 WHERE event_id = 'event-2'")
    to_another_key = "UPDATE exchange_contents AS o SET subject_key = (SELECT subject_key FROM exchange_contents WHERE event_id = ?)"
    changed(store, "traffic", f"{to_another_key} WHERE event_id = 'event-3'", ["event-5"])
    break_key(store, "s-4")
    told = [one.exchange.unreadable for one in read(store)]
    broken = "the content was changed, or belongs to another row"
    no_key = "the subject's key cannot be opened with the sealing key"
    assert told == [broken, broken, broken, broken, no_key, ""]
    assert read(store)[5] == sent[5]


def test_content_of_one_subject_cannot_be_moved_to_another_row(store: BothSides) -> None:
    record(store, inference(1, session="s"), inference(2, session="s"), inference(3, session="s"))
    (one,), (two,) = (changed(store, "traffic", f"SELECT sealed FROM exchange_contents WHERE event_id = 'event-{n}'")[0] for n in (1, 2))
    changed(store, "traffic", "UPDATE exchange_contents SET sealed = ? WHERE event_id = 'event-1'", [two])
    changed(store, "traffic", "UPDATE exchange_contents SET sealed = ? WHERE event_id = 'event-2'", [one])
    assert [bool(row.exchange.unreadable) for row in read(store)] == [True, True, False]


def test_content_that_a_newer_version_wrote_says_so(store: BothSides, monkeypatch: pytest.MonkeyPatch) -> None:
    record(store, inference(1))
    monkeypatch.setattr(compression, "NEWEST", 2)
    monkeypatch.setitem(compression._DICTIONARIES, 2, "another")
    newer = recording_store(Path(str(store.engine.url.database)).parent, shapes=SHAPES)
    record(newer, inference(2))
    assert read(newer) == [inference(1), inference(2)]
    monkeypatch.undo()
    assert [one.exchange.unreadable for one in read(store)] == ["", "a newer version wrote the content"]


def test_a_row_whose_content_is_gone_says_so(store: BothSides) -> None:
    record(store, inference(1))
    changed(store, "traffic", "DELETE FROM exchange_contents")
    assert [one.exchange.unreadable for one in read(store)] == ["its content is no longer kept"]


def test_a_process_without_keys_reads_all_but_content(store: BothSides) -> None:
    record(store, inference(1))
    (row,) = TrafficStore(store.engine, shapes=SHAPES).rows(workload=SUPPORT, start=NOON, end=LATER)
    assert (row.inference.exchange.unreadable, row.inference.exchange.left_out) == ("this process opens no content", CUT)
    assert row.features["answer_chars"] == float(len("On its way."))


def test_a_crash_after_the_keys_leaves_no_more_than_a_key(store: BothSides) -> None:
    stale, fresh = (store.assign(topic_id="a", topic="t", partition=0) for _ in range(2))
    one = inference(1)
    rows = [RecordedInference(inference=one, features=columns_of(one, valid_format=None), topic="t")]
    with pytest.raises(LostPartition):
        store.record(RecordingBatch(advances=[Advance(position=stale, to_offset=1)], rows=rows, recorded_at=LATER))
    assert (len(subjects(store)), changed(store, "traffic", "SELECT * FROM exchange_contents")) == (1, [])
    store.record(RecordingBatch(advances=[Advance(position=fresh, to_offset=1)], rows=rows, recorded_at=LATER))
    assert (len(subjects(store)), read(store)) == (1, [one])


def test_a_key_that_cannot_be_opened_is_not_replaced_silently(store: BothSides) -> None:
    record(store, inference(1, session="s"), inference(2, session="other"))
    break_key(store, "s")
    with pytest.raises(NotSealed) as refused:
        record(store, inference(3, session="s"), inference(4, session="other"))
    assert {event: "cannot be opened" in str(why) for event, why in refused.value.refused.items()} == {"event-3": True}
    assert len(read(store)) == 2


def ensured_at_once(folder: str, barrier: Barrier, names: list[str], results: Any) -> None:
    """What each of two recorders does."""
    keys = open_subject_keys(open_ledger(f"sqlite:///{folder}/ledger.db"), data_dir=Path(folder), configured=None)
    wanted = {keys.digest(SUPPORT, ("session", name)): SUPPORT for name in names}
    barrier.wait(60)
    made = keys.ensured(wanted, at=NOON)
    results.put({subject: held.key.seal(b"probe", bound_to=b"") for subject, held in made.items()})


def test_two_recorders_that_make_a_key_at_once_end_with_one(tmp_path: Path) -> None:
    keys = open_subject_keys(migrated_ledger(tmp_path), data_dir=tmp_path, configured=None)
    names = [f"s-{n}" for n in range(2_000)]
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(2), context.Queue()
    recorders = [context.Process(target=ensured_at_once, args=(str(tmp_path), barrier, names, results)) for _ in range(2)]
    for recorder in recorders:
        recorder.start()
    sealed = [results.get() for _ in recorders]
    for recorder in recorders:
        recorder.join()
    (first, second), one_more = sealed, keys.ensured(dict.fromkeys(sealed[0], SUPPORT), at=NOON)
    assert first.keys() == second.keys() == one_more.keys()
    for subject, held in one_more.items():
        assert [held.key.open(probes[subject], bound_to=b"") for probes in sealed] == [b"probe"] * 2


def test_rows_of_before_are_read_as_exchanges_of_text(tmp_path: Path) -> None:
    path = tmp_path / "traffic.db"
    migrate(path, replace(TRAFFIC, revisions=TRAFFIC.revisions[:3]))
    messages = json.dumps([["system", "Be brief."], ["user", "hello"]])
    row = {
        "event_id": "old",
        "request_id": "req-old",
        "workload": SUPPORT,
        "adapter": "base",
        "arm": "champion",
        "session": "s",
        "client": "shop",
        "occurred_at": "2026-01-05T12:00:00.000000Z",
        "messages": messages,
        "answer": "hi",
        "finish_reason": "stop",
        "status": 200,
        "error": "late",
        "latency_ms": 1.0,
        "prompt_tokens": 9,
        "answer_tokens": None,
        "dimensions": "{}",
        "truncated": 0,
        "route_version": 1,
        "attempt": 1,
        "features": "{}",
        "sample_rank": 1,
        "recorded_at": "x",
    }
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"INSERT INTO inferences VALUES ({', '.join('?' * len(row))})", list(row.values()))
        connection.commit()
    assert migrate(path, TRAFFIC) == TRAFFIC.revisions[3:]
    store = recording_store(tmp_path, shapes=SHAPES)
    found = store.by_request("req-old", workload=SUPPORT)
    assert found is not None
    exchange = found.inference.exchange
    assert (exchange.text_only, exchange.unreadable, exchange.left_out) == (True, "", ())
    assert [(one.role, one.text) for one in exchange.prompt.messages] == [("system", "Be brief."), ("user", "hello")]
    assert (exchange.answer_text, dict(exchange.usage), found.inference.attempt.error) == ("hi", {"prompt_tokens": 9}, "late")
    record(store, inference(1))
    old, new = read(store)
    assert (old.exchange.text_only, new) == (True, inference(1))


def test_what_this_version_sealed_stays_readable(tmp_path: Path) -> None:
    """Written once and never edited: keys, digests and contents that are out there look like this."""
    sealing, key = SealingKey(b"0123456789abcdef0123456789abcdef", file=tmp_path), bytes(range(32))
    subject = sealing.digest("support", "session", "s-1")
    assert subject.hex() == "20835aac2d768aa6d97c9113ff3bc429"
    sealed_key = "0bab892b6510ce2ef0579b8f58248b518ab2836ef36d2babbd3df93de1d15827472b80a122ca6d6e01dd22c674b34fb0635a8fc851f4ff7b7e91880c"
    assert sealing.open(bytes.fromhex(sealed_key), bound_to=subject) == key
    sealed = (
        "c49c4df94dc2631d5bd570eae767799598724afac41275e60cb77f38f5b10f07e54113a3b1f91417ee6f63597acfd522"
        "53d1be9a7879068d6e1f45075bf7ad0e7459933f66ea79943f3adc0fdc19533b816c9c9627f5a4c1c8c3651a1c08"
    )
    content = DataKey(key).open(bytes.fromhex(sealed), bound_to=b"1:event-1")
    assert json.loads(Decompressor().decompressed(content, 1)) == {
        "request": {"messages": [{"role": "user", "content": "Where is my order?"}], "temperature": 0.2},
        "response": None,
        "added": ["request.temperature"],
        "left_out": [],
    }


def test_a_dictionary_never_changes_under_its_marker() -> None:
    digests = {marker: hashlib.sha256(text.encode()).hexdigest() for marker, text in compression._DICTIONARIES.items()}
    assert digests == {1: "4dde4e6bd759f43a757f5c99127e9384940fdefff5fe33cec43dd46b4890b195"}


@pytest.mark.parametrize("content", [b"", b"{}", b'{"request":{"messages":[' + b'{"role":"user","content":"hello"},' * 40])
def test_compressed_content_is_never_larger_and_comes_back(content: bytes) -> None:
    held, marker = Compressor().compressed(content)
    assert len(held) <= len(content)
    assert Decompressor().decompressed(held, marker) == content


def test_compression_saves_a_fifth_of_the_bytes_on_disk() -> None:
    plain, compressed = (bytes_on_disk(compressed=one, exchanges=500) for one in (False, True))
    assert compressed < 0.8 * plain
