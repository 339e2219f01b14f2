"""Gates, and the answers they were decided on, in the ledger."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from sqlalchemy import Column, Engine, Integer, Row, String, Table, func, select
from sqlalchemy.dialects.sqlite import insert

from flywheel.gate.documents import decision_document, decision_of
from flywheel.ids import AdapterName, GateId, WorkloadId
from flywheel.journal import JournalEntry
from services.ports.gate import Answer, GateRecord
from services.stores.database import in_parts, metadata, newest_row, reading, to_json, to_moment, to_text, writing
from services.stores.ledger.journal import append_entries

gates_table = Table(
    "gates",
    metadata,
    Column("id", String, primary_key=True),
    Column("workload", String, nullable=False, index=True),
    Column("adapter", String, nullable=False),
    Column("champion", String, nullable=False),
    Column("golden_version", Integer, nullable=False),
    Column("verdict", String, nullable=False),
    Column("at", String, nullable=False),
    Column("decision", String, nullable=False),
)
answers_table = Table(
    "gate_answers",
    metadata,
    Column("key", String, primary_key=True),
    Column("answer", String, nullable=False),
)


class LedgerGates:
    """GateLedger on SQL."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def save_gate(self, gate: GateRecord, entry: JournalEntry) -> None:
        with writing(self._engine) as connection:
            connection.execute(
                insert(gates_table)
                .values(
                    id=gate.id,
                    workload=gate.workload,
                    adapter=gate.adapter,
                    champion=gate.champion,
                    golden_version=gate.golden_version,
                    verdict=gate.decision.verdict,
                    at=to_text(gate.at),
                    decision=to_json(decision_document(gate.decision)),
                )
                .on_conflict_do_nothing(index_elements=["id"])
            )
            append_entries(connection, entry)

    def gate(self, gate_id: GateId) -> GateRecord | None:
        with reading(self._engine) as connection:
            row = connection.execute(select(gates_table).where(gates_table.c.id == gate_id)).first()
        return None if row is None else _gate(row)

    def gates(self, workload: WorkloadId, *, adapter: AdapterName | None = None) -> Sequence[GateRecord]:
        newest_first = select(gates_table).where(gates_table.c.workload == workload).order_by(newest_row(gates_table))
        if adapter is not None:
            newest_first = newest_first.where(gates_table.c.adapter == adapter)
        with reading(self._engine) as connection:
            return [_gate(row) for row in connection.execute(newest_first)]

    def cached_answers(self, keys: Sequence[str]) -> Mapping[str, Answer]:
        found: dict[str, Answer] = {}
        with reading(self._engine) as connection:
            for part in in_parts(keys):
                wanted = select(answers_table).where(answers_table.c.key.in_(part))
                found.update({row.key: Answer(**json.loads(row.answer)) for row in connection.execute(wanted)})
        return found

    def answered(self) -> int:
        """How many answers are kept."""
        with reading(self._engine) as connection:
            return int(connection.execute(select(func.count()).select_from(answers_table)).scalar_one())

    def cache_answers(self, answers: Mapping[str, Answer]) -> None:
        if not answers:
            return
        rows = [{"key": key, "answer": to_json(asdict(answer))} for key, answer in answers.items()]
        with writing(self._engine) as connection:
            connection.execute(insert(answers_table).on_conflict_do_nothing(index_elements=["key"]), rows)


def _gate(row: Row[tuple[str, ...]]) -> GateRecord:
    return GateRecord(
        id=GateId(row.id),
        workload=WorkloadId(row.workload),
        adapter=AdapterName(row.adapter),
        champion=AdapterName(row.champion),
        golden_version=row.golden_version,
        decision=decision_of(json.loads(row.decision)),
        at=to_moment(row.at),
    )
