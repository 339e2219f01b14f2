"""Runs and adapters in the ledger."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from sqlalchemy import Column, Engine, Row, String, Table, select
from sqlalchemy.dialects.sqlite import insert

from flywheel.errors import Conflict
from flywheel.ids import AdapterName, RunId, SnapshotId, WorkloadId
from flywheel.journal import JournalEntry
from flywheel.retraining.plan import TrainingPlan, TrainingPolicy
from flywheel.retraining.training_run import AdapterBundle, Run, RunState
from services.stores.database import metadata, newest_row, reading, to_json, to_moment, to_text, writing
from services.stores.ledger.journal import append_entries

runs_table = Table(
    "runs",
    metadata,
    Column("id", String, primary_key=True),
    Column("workload", String, nullable=False, index=True),
    Column("adapter", String, nullable=False),
    Column("state", String, nullable=False),
    Column("requested_at", String, nullable=False),
    Column("body", String, nullable=False),
)
adapters_table = Table(
    "adapters",
    metadata,
    Column("name", String, primary_key=True),
    Column("workload", String, nullable=False, index=True),
    Column("run", String, nullable=False),
    Column("path", String, nullable=False),
    Column("digest", String, nullable=False),
    Column("base_digest", String, nullable=False),
    Column("made_at", String, nullable=False),
)


class LedgerRuns:
    """RunLedger on SQL."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def save_run(self, run: Run, entry: JournalEntry) -> None:
        values = {
            "id": run.id,
            "workload": run.workload,
            "adapter": run.adapter,
            "state": run.state,
            "requested_at": to_text(run.requested_at),
            "body": _run_body(run),
        }
        changed = {key: values[key] for key in ("state", "body")}
        with writing(self._engine) as connection:
            connection.execute(insert(runs_table).values(**values).on_conflict_do_update(index_elements=["id"], set_=changed))
            append_entries(connection, entry)

    def run(self, run_id: RunId) -> Run | None:
        with reading(self._engine) as connection:
            row = connection.execute(select(runs_table).where(runs_table.c.id == run_id)).first()
        return None if row is None else _run(row)

    def runs(self, workload: WorkloadId) -> Sequence[Run]:
        newest_first = select(runs_table).where(runs_table.c.workload == workload).order_by(newest_row(runs_table))
        with reading(self._engine) as connection:
            return [_run(row) for row in connection.execute(newest_first)]

    def register_adapter(self, bundle: AdapterBundle, entry: JournalEntry) -> None:
        with writing(self._engine) as connection:
            done = connection.execute(
                insert(adapters_table)
                .values(
                    name=bundle.name,
                    workload=bundle.workload,
                    run=bundle.run,
                    path=bundle.path,
                    digest=bundle.digest,
                    base_digest=bundle.base_digest,
                    made_at=to_text(bundle.made_at),
                )
                .on_conflict_do_nothing(index_elements=["name"])
            )
            if done.rowcount == 0:
                kept = connection.execute(select(adapters_table.c.digest).where(adapters_table.c.name == bundle.name)).scalar()
                if kept != bundle.digest:
                    raise Conflict(
                        "an adapter with this name exists and has other weights",
                        where=bundle.name,
                        value=bundle.digest[:16],
                        remedy="Names are immutable: register the weights under the name that their plan gives.",
                    )
                return
            append_entries(connection, entry)

    def adapter(self, name: AdapterName) -> AdapterBundle | None:
        with reading(self._engine) as connection:
            row = connection.execute(select(adapters_table).where(adapters_table.c.name == name)).first()
        return None if row is None else _bundle(row)

    def adapters(self, workload: WorkloadId) -> Sequence[AdapterBundle]:
        newest_first = select(adapters_table).where(adapters_table.c.workload == workload).order_by(newest_row(adapters_table))
        with reading(self._engine) as connection:
            return [_bundle(row) for row in connection.execute(newest_first)]


def plan_from(body: Mapping[str, object]) -> TrainingPlan:
    """The inverse of ``asdict``."""
    values = dict(body)
    policy = dict(values.pop("policy"))  # type: ignore[call-overload]
    policy["target_modules"] = tuple(policy["target_modules"])
    values["workload"], values["snapshot"] = WorkloadId(str(values["workload"])), SnapshotId(str(values["snapshot"]))
    return TrainingPlan(policy=TrainingPolicy(**policy), **values)  # type: ignore[arg-type]


def _run_body(run: Run) -> str:
    return to_json(
        {
            "plan": asdict(run.plan),
            "ended_at": None if run.ended_at is None else to_text(run.ended_at),
            "steps": run.steps,
            "seconds": run.seconds,
            "reason": run.reason,
            "metrics": dict(run.metrics),
        }
    )


def _run(row: Row[tuple[str, ...]]) -> Run:
    body = json.loads(row.body)
    return Run(
        id=RunId(row.id),
        workload=WorkloadId(row.workload),
        plan=plan_from(body["plan"]),
        adapter=AdapterName(row.adapter),
        state=RunState(row.state),
        requested_at=to_moment(row.requested_at),
        ended_at=None if body["ended_at"] is None else to_moment(body["ended_at"]),
        steps=body["steps"],
        seconds=body["seconds"],
        reason=body["reason"],
        metrics=body["metrics"],
    )


def _bundle(row: Row[tuple[str, ...]]) -> AdapterBundle:
    return AdapterBundle(
        name=AdapterName(row.name),
        workload=WorkloadId(row.workload),
        run=RunId(row.run),
        path=row.path,
        digest=row.digest,
        base_digest=row.base_digest,
        made_at=to_moment(row.made_at),
    )
