"""Puts work for another process into the ledger's queue, in a person's name.

In: a person, what is wanted, the time. Out: the work's id and state. The process that leases the work does it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from flywheel.errors import NotFound
from flywheel.ids import AdapterName, Person, derive
from services.api.wiring import ApiParts, WorkloadRules
from services.ports.work import WorkItem


@dataclass(frozen=True, kw_only=True)
class RequestedWork:
    """``state`` is "open", "leased", "done" or "failed"; ``new`` is False when the same key asked before."""

    id: str
    kind: str
    state: str
    new: bool


def ask(
    parts: ApiParts, kind: str, workload: WorkloadRules, *, by: Person, payload: dict[str, object], key: str | None, now: datetime
) -> RequestedWork:
    """``key`` is the caller's idempotency key: the same key asks once. Without a key, each call asks anew."""
    cause = key or now.isoformat()
    item = WorkItem(
        id=derive("work", kind, workload.id, by, cause),
        kind=kind,
        workload=workload.id,
        payload={**payload, "actor": by},
        caused_by=derive("asked", by, cause),
    )
    new = parts.ledger.work.put(item, now=now)
    return RequestedWork(id=item.id, kind=kind, state=parts.ledger.work.state(item.id) or "open", new=new)


def ask_for_gate(parts: ApiParts, workload: WorkloadRules, *, adapter: str, by: Person, key: str | None, now: datetime) -> RequestedWork:
    """Raises NotFound for an adapter that is not registered."""
    bundle = parts.ledger.runs.adapter(AdapterName(adapter))
    if bundle is None or bundle.workload != workload.id:
        names: Sequence[str] = [known.name for known in parts.ledger.runs.adapters(workload.id)][:5]
        raise NotFound(
            "there is no such adapter", where="adapter", value=adapter, remedy=f"Registered are: {', '.join(names) or 'none yet'}."
        )
    return ask(parts, "gate", workload, by=by, payload={"adapter": adapter}, key=key, now=now)
