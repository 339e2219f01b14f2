"""The content of exchanges: compressed, sealed with the subject's data key, and kept in a table of its own.

In: inferences. Out: the rows of ``exchange_contents``, and from these the exchanges again. A content that cannot be opened gives an
exchange that says why, so that it fails no other row.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import Connection, select

from flywheel.errors import FlywheelError
from flywheel.ids import EventId, WorkloadId
from flywheel.traffic.exchange import ERASED, Exchange, exchange_from_wire, exchange_without_content
from flywheel.traffic.inference import Inference
from flywheel.traffic.subject import subject_of
from services.ports.traffic import NotSealed
from services.stores.database import in_parts
from services.stores.ledger.subject_keys import LedgerSubjectKeys, UnusableKey
from services.stores.sealing import SealBroken
from services.stores.traffic.compression import Compressor, Decompressor, UnknownCompression
from services.stores.traffic.tables import exchange_contents


@dataclass(frozen=True, kw_only=True)
class ExchangeContent:
    """What is sealed. ``error``: its text may repeat the request."""

    exchange: Exchange
    error: str | None


class ContentSealer:
    """Seals the content of what the recorder writes. For one thread at a time. ``subjects``: the subject's field, by workload."""

    def __init__(self, keys: LedgerSubjectKeys, *, subjects: Mapping[WorkloadId, str]) -> None:
        self._keys, self._subjects, self._compressor = keys, subjects, Compressor()
        self.sealing_key = keys.sealing
        """For what belongs to no subject that could be read: dead letters."""

    def sealed(self, inferences: Sequence[Inference], *, at: datetime) -> list[dict[str, object]]:
        """A row of ``exchange_contents`` for each. Missing keys are made first: a crash after that leaves no more than an unused key.

        Raises NotSealed, which names each inference whose subject's key cannot be used.
        """
        subjects = [(one.workload, subject_of(one, self._subjects[one.workload])) for one in inferences]
        digests = {subject: self._keys.digest(*subject) for subject in set(subjects)}
        keys = self._keys.ensured({digest: workload for (workload, _), digest in digests.items()}, at=at)
        rows: list[dict[str, object]] = []
        refused: dict[EventId, FlywheelError] = {}
        for one, subject in zip(inferences, subjects, strict=True):
            held = keys[digests[subject]]
            if isinstance(held, UnusableKey):
                refused[one.event_id] = held
                continue
            content, compression = self._compressor.compressed(_to_json(one))
            sealed = held.key.seal(content, bound_to=_place(one.event_id, compression))
            rows.append({"event_id": one.event_id, "subject_key": held.id, "compression": compression, "sealed": sealed})
        if refused:
            raise NotSealed(refused)
        return rows


def opened_contents(connection: Connection, ids: Sequence[EventId], *, keys: LedgerSubjectKeys) -> dict[EventId, ExchangeContent]:
    """Of each event that has a content."""
    held = [
        row for part in in_parts(ids) for row in connection.execute(select(exchange_contents).where(exchange_contents.c.event_id.in_(part)))
    ]
    data_keys, decompressor = keys.held({row.subject_key for row in held}), Decompressor()
    found: dict[EventId, ExchangeContent] = {}
    for row in held:
        key = data_keys.get(row.subject_key)
        if row.subject_key not in data_keys:
            found[row.event_id] = without_content(ERASED)
        elif key is None:
            found[row.event_id] = without_content("the subject's key cannot be opened with the sealing key")
        else:
            try:
                content = key.open(row.sealed, bound_to=_place(row.event_id, row.compression))
                found[row.event_id] = _from_json(decompressor.decompressed(content, row.compression))
            except SealBroken:
                found[row.event_id] = without_content("the content was changed, or belongs to another row")
            except UnknownCompression:
                found[row.event_id] = without_content("a newer version wrote the content")
    return found


def without_content(why: str) -> ExchangeContent:
    """Of a row whose content cannot be shown."""
    return ExchangeContent(exchange=exchange_without_content(why), error=None)


def _place(event_id: str, compression: int) -> bytes:
    """What the content is bound to: sealed content cannot be moved to another row."""
    return f"{compression}:{event_id}".encode()


def _to_json(inference: Inference) -> bytes:
    exchange = inference.exchange
    wire: dict[str, Any] = {
        "request": exchange.prompt.to_wire(),
        "response": exchange.response_to_wire(),
        "added": exchange.added,
        "left_out": exchange.left_out,
    }
    return orjson.dumps(wire if inference.attempt.error is None else {"error": inference.attempt.error, **wire})


def _from_json(content: bytes) -> ExchangeContent:
    held = orjson.loads(content)
    exchange = exchange_from_wire(held["request"], held["response"], where="$", added=held["added"], left_out=held["left_out"])
    return ExchangeContent(exchange=exchange, error=held.get("error"))
