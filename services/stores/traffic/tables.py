"""The tables of ``traffic.db``, and a pane's counts as one blob."""

import json
import struct
import zlib

import numpy as np
from sqlalchemy import Boolean, Column, Float, Index, Integer, LargeBinary, MetaData, String, Table, text

from flywheel.windows.counts import CountMatrix
from flywheel.windows.slices import Pane

metadata = MetaData()
HAS_COMPLETION_ID = text("completion_id != ''")  # the same text in index and query, so that SQLite uses the partial index
HAS_CLIENT_REQUEST_ID = text("client_request_id != ''")
HAS_CONTENT = text("sealed IS NOT NULL")
IS_RETRIED = text("state = 'retried'")

inferences = Table(
    "inferences",
    metadata,
    Column("event_id", String, primary_key=True),
    Column("request_id", String, nullable=False),
    Column("workload", String, nullable=False),
    Column("adapter", String, nullable=False),
    Column("arm", String, nullable=False),
    Column("session", String, nullable=False),
    Column("client", String, nullable=False),
    Column("occurred_at", String, nullable=False),
    Column("messages", String, nullable=False),  # text of rows from before ``exchange_contents``; "" since
    Column("answer", String),  # likewise; NULL since
    Column("finish_reason", String),
    Column("status", Integer, nullable=False),
    Column("outcome", String),
    Column("error", String),  # likewise: it may repeat the request
    Column("latency_ms", Float, nullable=False),
    Column("prompt_tokens", Integer),
    Column("answer_tokens", Integer),
    Column("dimensions", String, nullable=False),
    Column("truncated", Integer, nullable=False),  # something was left out of the content
    Column("route_version", Integer, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("features", String, nullable=False),
    Column("sample_rank", Integer, nullable=False),  # see flywheel.windows.sample
    Column("recorded_at", String, nullable=False),
    Column("completion_id", String, nullable=False, server_default=""),
    Column("client_request_id", String, nullable=False, server_default=""),
    Column("answered", Boolean),  # NULL of rows from before
    Column("stated_at", String),  # the gateway's own time, where it lay in the future; NULL otherwise
    Index("inferences_by_time", "workload", "occurred_at"),
    Index("inferences_by_request", "request_id"),
    Index("inferences_by_completion", "completion_id", sqlite_where=HAS_COMPLETION_ID),
    Index("inferences_by_client_request", "client_request_id", sqlite_where=HAS_CLIENT_REQUEST_ID),
)
exchange_contents = Table(
    "exchange_contents",
    metadata,
    Column("event_id", String, primary_key=True),
    Column("subject_key", Integer, nullable=False),  # its id in the ledger; without that key the content is erased
    Column("compression", Integer, nullable=False),  # see ``compression``
    Column("sealed", LargeBinary, nullable=False),
)
seen_ids = Table(  # outlives the rows, as long as the topic can deliver an event again
    "seen_ids",
    metadata,
    Column("event_id", String, primary_key=True),
    Column("at", String, nullable=False),
)
session_firsts = Table(  # which sessions have been counted on which day (UTC), and in which column
    "session_firsts",
    metadata,
    Column("workload", String, primary_key=True),
    Column("session", String, primary_key=True),
    Column("day", String, primary_key=True),
    Column("counted_in", String, primary_key=True),
)
panes = Table(  # one writer per row: the worker that holds the partition; readers add up
    "panes",
    metadata,
    Column("workload", String, primary_key=True),
    Column("pane_start", String, primary_key=True),
    Column("topic", String, primary_key=True),
    Column("partition", Integer, primary_key=True),
    Column("counts", LargeBinary, nullable=False),
    Column("changed", Integer, nullable=False, server_default="0"),  # the workload's ``recorded`` when it changed last
    # Which panes changed is asked every second: all it takes stands in this index, so that no blob is read for it.
    Index("panes_by_change", "workload", "pane_start", "changed"),
)
traffic_counts = Table(
    "traffic_counts",
    metadata,
    Column("workload", String, primary_key=True),  # "" for dead letters that name no workload
    Column("recorded", Integer, nullable=False),
    Column("duplicates_ignored", Integer, nullable=False),
    Column("dead_lettered", Integer, nullable=False),
    Column("newest", String),
)
positions = Table(
    "positions",
    metadata,
    Column("log", String, primary_key=True),  # the topic's id: a broker that came back empty has another
    Column("topic", String, primary_key=True),
    Column("partition", Integer, primary_key=True),
    Column("epoch", Integer, nullable=False),
    Column("next_offset", Integer, nullable=False),
)
dead_letters = Table(
    "dead_letters",
    metadata,
    Column("id", String, primary_key=True),
    Column("event_id", String, nullable=False, index=True),
    Column("workload", String, nullable=False),
    Column("topic", String, nullable=False),
    Column("partition", Integer, nullable=False),
    Column("offset", Integer, nullable=False),
    Column("reason", String, nullable=False),
    Column("path", String, nullable=False),
    Column("at", String, nullable=False),
    Column("raw", LargeBinary, nullable=False),  # of letters from before ``sealed``; empty since
    Column("attempts", Integer, nullable=False),
    Column("cause", String, nullable=False, server_default="unreadable"),
    Column("state", String, nullable=False, server_default="waiting"),
    Column("size", Integer, nullable=False, server_default="0"),  # of the event, in bytes
    Column("sealed", LargeBinary),  # NULL without content
    Index("dead_letters_by_time", "at", "size", sqlite_where=HAS_CONTENT),
    Index("dead_letters_retried", "id", sqlite_where=IS_RETRIED),
    Index("dead_letters_by_age", "workload", "at"),
)

_LENGTH = struct.Struct("<I")


def pane_to_blob(pane: Pane) -> bytes:
    """A header (slices, rows, columns with their number of bins), then the counts, slice by slice: far smaller than a row per cell."""
    matrix = pane.matrix
    header = json.dumps({"slices": matrix.slices, "rows": matrix.rows.tolist(), "columns": matrix.bins, "over": dict(pane.over)}).encode()
    return _LENGTH.pack(len(header)) + header + zlib.compress(matrix.counts.astype("<i8").tobytes(), 1)


def pane_from_blob(blob: bytes) -> Pane:
    """The inverse. Says which columns it contains by itself, so panes of an older set of columns stay readable."""
    (length,) = _LENGTH.unpack_from(blob)
    header = json.loads(blob[_LENGTH.size : _LENGTH.size + length])
    body = np.frombuffer(zlib.decompress(blob[_LENGTH.size + length :]), dtype="<i8").astype(np.int64)
    slices, bins = tuple(header["slices"]), tuple((str(name), int(number)) for name, number in header["columns"])
    matrix = CountMatrix(
        slices=slices,
        bins=bins,
        counts=body.reshape(len(slices), sum(number for _, number in bins)),
        rows=np.array(header["rows"], dtype=np.int64),
    )
    return Pane(matrix=matrix, over=header.get("over", {}))
