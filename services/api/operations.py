"""What a named person does to alerts, references, the golden set, and the queues of work.

In: a person, what is asked, the time. Out: the new state, kept with its journal line. The decisions are taken in
``flywheel``; who may ask is decided by the routes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from flywheel.alerts.acknowledgement import acknowledge as decide_acknowledgement
from flywheel.alerts.alert import Alert
from flywheel.alerts.lifecycle import AlertPolicy
from flywheel.drift.reference import Reference, pinning_moment
from flywheel.drift.reference import pin as make_reference
from flywheel.errors import Conflict, InvalidInput, NotFound, Refused
from flywheel.ids import BASE, AdapterName, AlertId, Person, WorkloadId, derive
from flywheel.journal import JournalEntry
from flywheel.regression_suite.case import Case, Tier
from flywheel.regression_suite.golden import GoldenSet, case_of_row
from flywheel.regression_suite.golden import freeze as make_golden
from flywheel.traffic.features import COLUMNS
from flywheel.windows.assign import pane_start
from services.api.bodies import lines, parsed
from services.api.wiring import ApiParts, WorkloadRules
from services.ports.record import WorkItem

ATTEMPTS = 5  # another process may move the same thing between our reading and our writing
LONGEST_PERIOD = timedelta(days=28)  # what a reference takes when nobody names a start


def acknowledge(parts: ApiParts, alert_id: AlertId, *, by: Person, note: str, hours: float | None, now: datetime) -> Alert:
    """Raises NotFound, Refused (resolved already)."""
    for _ in range(ATTEMPTS):
        alert = parts.watch.alert(alert_id)
        if alert is None:
            raise NotFound("there is no such alert", where="alert", value=alert_id, remedy="List them: flywheel alerts list.")
        until = now + (timedelta(hours=hours) if hours is not None else acknowledgement_length(parts, alert.workload))
        changed = decide_acknowledgement(alert=alert, by=by, note=note, now=now, until=until)
        entry = JournalEntry(
            at=now,
            workload=alert.workload,
            kind="alert",
            subject=alert.id,
            state=changed.state.value,
            reason="a named person took it",
            actor=by,
            evidence={"until": until.isoformat(), "from": alert.state.value},
        )
        if parts.watch.save_alert(changed, entry, expected=alert):
            return changed
    raise moved_on("alert", alert_id)


def acknowledgement_length(parts: ApiParts, workload: WorkloadId) -> timedelta:
    """A workload that left the configuration can still have an open alert."""
    rules = parts.workloads.get(workload)
    return rules.acknowledgement if rules is not None else AlertPolicy.acknowledgement


def pin(
    parts: ApiParts, workload: WorkloadRules, *, by: Person, start: datetime | None, end: datetime | None, reason: str, now: datetime
) -> Reference:
    """Pins the traffic of a period, by default all there is (at most four weeks), as what later traffic is compared with."""
    newest = parts.traffic.newest(workload.id)
    if newest is None:
        raise Refused("no traffic has been recorded yet", where=workload.id, remedy="Send requests through the gateway first.")
    until = end or pane_start(newest, workload.pane) + workload.pane
    since = start or _oldest(parts, workload, until)
    if since >= until:
        raise InvalidInput("the period is empty", where="start", value=since.isoformat(), remedy="Give a start before the end.")
    counts = parts.traffic.window(workload=workload.id, start=since, end=until)
    route = parts.releases.route(workload.id)
    adapter = route.champion if route is not None else BASE
    at = pinning_moment(parts.watch.references(workload.id), now=now)
    reference = make_reference(counts=counts, adapter=adapter, by=by, now=at, whole_day=workload.whole_day, columns=COLUMNS)
    rows = {name: int(number) for name, number in counts.rows.items()}
    parts.watch.pin(
        reference,
        JournalEntry(
            at=now,
            workload=workload.id,
            kind="reference",
            subject=reference.id,
            state="pinned",
            reason=reason,
            actor=by,
            evidence={
                "adapter": adapter,
                "start": since.isoformat(),
                "end": until.isoformat(),
                "maturity": reference.maturity.value,
                "rows": rows,
            },
        ),
    )
    return reference


def _oldest(parts: ApiParts, workload: WorkloadRules, until: datetime) -> datetime:
    """The first pane with traffic; rows are a bounded sample, so on much traffic it may begin a little late, never early."""
    sample = parts.traffic.rows(workload=workload.id, start=until - LONGEST_PERIOD, end=until)
    if not sample:
        return until - LONGEST_PERIOD
    return pane_start(min(row.inference.occurred_at for row in sample), workload.pane)


@dataclass(frozen=True, kw_only=True)
class Imported:
    """How many cases of each tier the file held, and how many of them were new."""

    tiers: dict[str, int]
    new: int


def import_cases(parts: ApiParts, workload: WorkloadRules, raw: bytes, *, by: Person, now: datetime) -> Imported:
    """All lines or none. The same line again is the same case."""
    cases: dict[str, Case] = {}
    for number, line in lines(raw):
        where = f"line {number}"
        case = case_of_row(parsed(line, where=where), workload=workload.id, where=where, now=now, by=by)
        cases.setdefault(case.id, case)
    if not cases:
        raise InvalidInput("holds no case", where="body", remedy="Send one JSON object a line; see deploy/docs.")
    known = {case.id for case in parts.learn.cases(workload.id)}
    new = [case for case in cases.values() if case.id not in known]
    tiers = {tier.value: sum(case.tier is tier for case in cases.values()) for tier in (Tier.GOLDEN, Tier.GENERAL, Tier.SAFETY)}
    if new:
        entry = JournalEntry(
            at=now,
            workload=workload.id,
            kind="golden",
            subject=derive("import", workload.id, *sorted(cases)),
            state="imported",
            reason="cases imported by a person",
            actor=by,
            evidence={"tiers": tiers, "new": len(new)},
        )
        parts.learn.add_cases(new, entry)
    return Imported(tiers=tiers, new=len(new))


def freeze(parts: ApiParts, workload: WorkloadRules, *, by: Person, now: datetime) -> tuple[GoldenSet, bool]:
    """The imported golden cases as the next version. The same cases as in the newest version stay that version (False)."""
    cases = parts.learn.cases(workload.id, tier=Tier.GOLDEN)
    newest = parts.learn.golden(workload.id)
    golden = make_golden(cases=cases, workload=workload.id, version=newest.version + 1 if newest else 1, by=by, now=now)
    if newest is not None and newest.id == golden.id:
        return newest, False
    parts.learn.freeze_golden(
        golden,
        JournalEntry(
            at=now,
            workload=workload.id,
            kind="golden",
            subject=golden.id,
            state="frozen",
            reason=f"version {golden.version} frozen by a person",
            actor=by,
            evidence={"version": golden.version, "items": len(golden.cases)},
        ),
    )
    return golden, True


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A step that another process will do. ``state``: "open", "leased", "done" or "failed"."""

    id: str
    kind: str
    state: str
    new: bool


def ask(
    parts: ApiParts, kind: str, workload: WorkloadRules, *, by: Person, payload: dict[str, object], key: str | None, now: datetime
) -> Asked:
    """Puts work into the ledger. ``key`` is the caller's: the same key asks once; without one, each asking is its own cause."""
    cause = key or now.isoformat()
    item = WorkItem(
        id=derive("work", kind, workload.id, by, cause),
        kind=kind,
        workload=workload.id,
        payload={**payload, "actor": by},
        caused_by=derive("asked", by, cause),
    )
    new = parts.work.put(item, now=now)
    return Asked(id=item.id, kind=kind, state=parts.work.state(item.id) or "open", new=new)


def ask_for_gate(parts: ApiParts, workload: WorkloadRules, *, adapter: str, by: Person, key: str | None, now: datetime) -> Asked:
    """Raises NotFound for an adapter that nobody registered."""
    bundle = parts.train.adapter(AdapterName(adapter))
    if bundle is None or bundle.workload != workload.id:
        names: Sequence[str] = [known.name for known in parts.train.adapters(workload.id)][:5]
        raise NotFound(
            "there is no such adapter", where="adapter", value=adapter, remedy=f"Registered are: {', '.join(names) or 'none yet'}."
        )
    return ask(parts, "gate", workload, by=by, payload={"adapter": adapter}, key=key, now=now)


def moved_on(kind: str, subject: str) -> Conflict:
    """Somebody else was quicker each time."""
    return Conflict(f"the {kind} keeps changing", where=kind, value=subject, remedy="Look at it and try again.")
