"""Pins the traffic of a period that a person chose as the reference of drift.

In: a person, a workload, a period, the time. Out: the reference, saved with its journal line. The routes check who may ask.
"""

from datetime import datetime, timedelta

from flywheel.drift.reference import Reference, pinning_moment
from flywheel.drift.reference import pin as make_reference
from flywheel.errors import InvalidInput, Refused
from flywheel.ids import BASE, Person
from flywheel.journal import JournalEntry, JournalKind
from flywheel.traffic.features import COLUMNS
from flywheel.windows.pane import pane_start
from services.api.wiring import ApiParts, WorkloadRules

LONGEST_PERIOD = timedelta(days=28)  # when nobody names a start


def pin(
    parts: ApiParts, workload: WorkloadRules, *, by: Person, start: datetime | None, end: datetime | None, reason: str, now: datetime
) -> Reference:
    """Without ``start`` the period is all recorded traffic, at most four weeks. Raises Refused when there is none."""
    newest = parts.traffic.newest(workload.id, until=now)
    if newest is None:
        raise Refused("no traffic has been recorded yet", where=workload.id, remedy="Send requests through the gateway first.")
    until = end or pane_start(newest, workload.pane) + workload.pane
    longest = until - LONGEST_PERIOD
    since = start or parts.traffic.oldest(workload.id, start=longest, end=until) or longest
    if since >= until:
        raise InvalidInput("the period is empty", where="start", value=since.isoformat(), remedy="Give a start before the end.")
    counts = parts.traffic.window(workload=workload.id, start=since, end=until)
    route = parts.ledger.releases.route(workload.id)
    adapter = route.champion if route is not None else BASE
    at = pinning_moment(parts.ledger.drift.references(workload.id), now=now)
    reference = make_reference(counts=counts, adapter=adapter, by=by, now=at, whole_day=workload.whole_day, columns=COLUMNS)
    parts.ledger.drift.pin(
        reference,
        JournalEntry(
            at=now,
            workload=workload.id,
            kind=JournalKind.REFERENCE,
            subject=reference.id,
            state="pinned",
            reason=reason,
            actor=by,
            evidence={
                "adapter": adapter,
                "start": since.isoformat(),
                "end": until.isoformat(),
                "maturity": reference.maturity.value,
                "rows": counts.matrix.rows_by_slice,
            },
        ),
    )
    return reference
