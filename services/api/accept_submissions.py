"""Accepts submitted corrections: who sent it, is it valid, is it known already.

In: the raw body and the token. Out: a receipt, once the ledger has the submission's digest and its event, saved in one transaction.
The correction desk decides what becomes of the correction.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from prometheus_client import Counter

from flywheel.corrections.correction import qualified_id
from flywheel.errors import Conflict, FlywheelError, InvalidInput, NotAllowed, NotFound
from flywheel.ids import Person, WorkloadId, derive, digest_of
from services.api.access import SUBMIT, Caller, RefusalCount, status_of
from services.api.requests import TooLarge, parsed_object, uploaded_objects
from services.api.wiring import ApiParts
from services.ports.corrections import Submission
from services.ports.outbox import OutboxMessage

EVENT_TYPE = "flywheel.correction.v1"
REMEDY = "Correct the submission; see schemas/corrections/correction.v1.json."
MESSAGE_PREFIX = "correction:"  # callers choose the id: without a prefix it could equal another message's
RECEIVED = Counter("flywheel_submissions_total", "Corrections handed in over HTTP", ["result"])


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """``id``: as the source gave it. ``result`` is "accepted" or "duplicate"."""

    id: str
    result: str


@dataclass(frozen=True, kw_only=True)
class LineReceipt:
    """The outcome of one line of a batch: a receipt or an error."""

    line: int
    receipt: Receipt | None
    error: FlywheelError | None


def submit(parts: ApiParts, raw: bytes, *, caller: Caller) -> Receipt:
    """Safe to repeat. Raises NotAllowed, InvalidInput, Conflict; the first two are counted."""
    return _take(parts, lambda: parsed_object(raw), caller)


def submit_many(parts: ApiParts, raw: bytes, *, caller: Caller) -> Iterator[LineReceipt]:
    """One receipt or error per line or entry of a list."""
    for uploaded in uploaded_objects(raw):
        try:
            yield LineReceipt(line=uploaded.number, receipt=_take(parts, uploaded.checked, caller), error=None)
        except FlywheelError as error:
            yield LineReceipt(line=uploaded.number, receipt=None, error=error)


def count_refusals(parts: ApiParts) -> RefusalCount:
    """Counts tokens that may not submit: as forged when the token is unknown."""

    def count(refusal: NotAllowed, *, scopes: Sequence[str], presented: bool) -> None:
        if scopes == SUBMIT:
            forged = status_of(refusal) == 401 and presented
            _count_refused(parts, refusal, kind="forged" if forged else "rejected", source="unknown")

    return count


def _take(parts: ApiParts, read: Callable[[], dict[str, object]], caller: Caller) -> Receipt:
    """What is refused is counted under the token's name: the source in a body is only a claim, and some bodies cannot be read."""
    try:
        return _accept(parts, read(), caller=caller)
    except (NotAllowed, InvalidInput, TooLarge) as error:
        _count_refused(parts, error, kind="rejected", source=caller.person)
        raise
    except Conflict:
        RECEIVED.labels("conflict").inc()
        raise


def _accept(parts: ApiParts, body: dict[str, object], *, caller: Caller) -> Receipt:
    try:
        parts.check_correction(body)
    except InvalidInput as error:  # its remedy is for producers on the topic
        raise InvalidInput(error.reason, where=error.where, value=error.value, remedy=REMEDY) from None
    try:
        workload = caller.workload(str(body["workload_id"])).id
    except NotFound as error:
        raise InvalidInput(error.reason, where="$.workload_id", value=error.value, remedy=error.remedy) from None
    if body.get("submitted_by") not in (None, caller.person):
        raise InvalidInput("is set by the api", where="$.submitted_by", remedy="Leave it out: it is the name of your token.")
    now = parts.clock()
    submission, message = _submission(parts, body, workload=workload, person=caller.person, now=now)
    result = parts.ledger.corrections.submit(submission, message)
    RECEIVED.labels(result).inc()
    return Receipt(id=submission.given_id, result=result)


def _submission(
    parts: ApiParts, body: dict[str, object], *, workload: WorkloadId, person: Person, now: datetime
) -> tuple[Submission, OutboxMessage]:
    """Digest and event. The digest is of the canonical form, so that the order of keys makes no difference."""
    given_id, source = str(body["correction_id"]), str(body["source"])
    identity = qualified_id(workload, source, given_id)
    key = str(body.get("request_id") or body.get("ticket") or given_id)
    submission = Submission(
        id=identity,
        given_id=given_id,
        workload=workload,
        source=source,
        submitted_by=person,
        body_digest=digest_of(json.dumps({**body, "submitted_by": ""}, sort_keys=True, separators=(",", ":"), ensure_ascii=False)),
        at=now,
    )
    event_id, data = derive("correction", identity), {**body, "submitted_by": person}
    value = parts.encode(type=EVENT_TYPE, id=event_id, workload=workload, time=now, data=data, partitionkey=key)
    return submission, OutboxMessage(id=MESSAGE_PREFIX + identity, topic=parts.corrections_topic, key=key, value=value, created_at=now)


def _count_refused(parts: ApiParts, error: FlywheelError, *, kind: str, source: str) -> None:
    """Keeps the field and the kind of fault: further down in the path, and after a colon, stand words of the caller."""
    RECEIVED.labels(kind).inc()
    field, fault = ".".join(error.where.split(".")[:2]), error.reason.partition(":")[0]
    parts.ledger.corrections.rejected_submission(reason=f"{field}: {fault}", source=source, at=parts.clock(), kind=kind)
