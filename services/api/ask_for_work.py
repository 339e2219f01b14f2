"""Puts work for another process into the ledger's queue, in a person's name.

In: a person, what is wanted, the time. Out: the work's id and state. The process that leases the work does it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from flywheel.errors import NotFound
from flywheel.ids import AdapterName, Person, derive
from services.api.wiring import ApiParts, WorkloadRules
from services.ports.work_queue import GateCommand, RetrainCommand, SnapshotCommand, WorkItem

AskedCommand = TypeVar("AskedCommand", SnapshotCommand, RetrainCommand, GateCommand)


@dataclass(frozen=True, kw_only=True)
class RequestedWork:
    """``state`` is "open", "leased", "done" or "failed"; ``new`` is False when the same key asked before."""

    id: str
    kind: str
    state: str
    new: bool


def ask(parts: ApiParts, command: AskedCommand, workload: WorkloadRules, *, key: str | None, now: datetime) -> RequestedWork:
    """``key`` is the caller's idempotency key: the same key asks once. Without a key, each call asks anew."""
    cause, by = key or now.isoformat(), command.asked_by
    item = WorkItem(
        id=derive("work", command.kind, workload.id, by, cause),
        workload=workload.id,
        command=command,
        caused_by=derive("asked", by, cause),
    )
    new = parts.ledger.work.put(item, now=now)
    return RequestedWork(id=item.id, kind=command.kind, state=parts.ledger.work.state(item.id) or "open", new=new)


def ask_for_gate(parts: ApiParts, workload: WorkloadRules, *, adapter: str, by: Person, key: str | None, now: datetime) -> RequestedWork:
    """Raises NotFound for an adapter that is not registered."""
    bundle = parts.ledger.runs.adapter(AdapterName(adapter))
    if bundle is None or bundle.workload != workload.id:
        names: Sequence[str] = [known.name for known in parts.ledger.runs.adapters(workload.id)][:5]
        raise NotFound(
            "there is no such adapter", where="adapter", value=adapter, remedy=f"Registered are: {', '.join(names) or 'none yet'}."
        )
    return ask(parts, GateCommand(adapter=bundle.name, asked_by=by), workload, key=key, now=now)
