"""Cases and golden sets in the ledger."""

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Column, Engine, Index, Integer, PrimaryKeyConstraint, String, Table, select
from sqlalchemy.dialects.sqlite import insert

from flywheel.errors import Conflict
from flywheel.ids import CaseId, CorrectionId, Person, WorkloadId
from flywheel.journal import JournalEntry
from flywheel.regression_suite.case import Case, Grader, Tier
from flywheel.regression_suite.golden import GoldenSet
from flywheel.traffic.message import Json, Message, message_from_wire
from services.stores.database import metadata, reading, to_json, to_moment, to_text, writing
from services.stores.ledger.journal import append_entries

case_table = Table(
    "cases",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("id", String, nullable=False, unique=True),
    Column("workload", String, nullable=False),
    Column("tier", String, nullable=False),
    Column("body", String, nullable=False),
    Index("cases_by_tier", "workload", "tier"),
)


golden_table = Table(
    "golden_sets",
    metadata,
    Column("workload", String, nullable=False),
    Column("version", Integer, nullable=False),
    Column("id", String, nullable=False),
    Column("frozen_by", String, nullable=False),
    Column("frozen_at", String, nullable=False),
    Column("body", String, nullable=False),
    PrimaryKeyConstraint("workload", "version"),
)


class LedgerSuite:
    """SuiteLedger on SQL."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def cases(self, workload: WorkloadId, *, tier: Tier | None = None) -> Sequence[Case]:
        query = select(case_table).where(case_table.c.workload == workload).order_by(case_table.c.seq)
        if tier is not None:
            query = query.where(case_table.c.tier == tier.value)
        with reading(self._engine) as connection:
            return [case_from(row.body) for row in connection.execute(query)]

    def add_cases(self, cases: Sequence[Case], entry: JournalEntry) -> None:
        with writing(self._engine) as connection:
            for case in cases:
                connection.execute(insert(case_table).values(**case_values(case)).on_conflict_do_nothing(index_elements=["id"]))
            append_entries(connection, entry)

    def freeze_golden(self, golden: GoldenSet, entry: JournalEntry) -> None:
        table = golden_table
        with writing(self._engine) as connection:
            done = connection.execute(
                insert(table)
                .values(
                    workload=golden.workload,
                    version=golden.version,
                    id=golden.id,
                    frozen_by=golden.frozen_by,
                    frozen_at=to_text(golden.frozen_at),
                    body=to_json([case_values(case)["body"] for case in golden.cases]),
                )
                .on_conflict_do_nothing()
            )
            if done.rowcount == 1:
                append_entries(connection, entry)
                return
            version = (table.c.workload == golden.workload) & (table.c.version == golden.version)
            known = connection.execute(select(table.c.id).where(version)).scalar()
        if known != golden.id:
            raise Conflict(
                "this version is frozen with other cases", where=golden.workload, value=golden.version, remedy="Freeze the next version."
            )

    def golden(self, workload: WorkloadId, *, version: int | None = None) -> GoldenSet | None:
        table = golden_table
        query = select(table).where(table.c.workload == workload).order_by(table.c.version.desc()).limit(1)
        if version is not None:
            query = query.where(table.c.version == version)
        with reading(self._engine) as connection:
            row = connection.execute(query).first()
        if row is None:
            return None
        return GoldenSet(
            id=row.id,
            workload=WorkloadId(row.workload),
            version=row.version,
            cases=tuple(case_from(body) for body in json.loads(row.body)),
            frozen_by=Person(row.frozen_by),
            frozen_at=to_moment(row.frozen_at),
        )


def case_values(case: Case) -> dict[str, Any]:
    """Columns of ``cases``; ``body`` alone makes the case again."""
    body = {
        "id": case.id,
        "workload": case.workload,
        "tier": case.tier.value,
        "messages": messages_values(case.messages),
        "grader": {"kind": case.grader.kind, "expected": dict(case.grader.expected)},
        "entity": case.entity,
        "slice": case.slice,
        "correction": case.correction,
        "reference_answer": case.reference_answer,
        "verified_by": case.verified_by,
        "created_at": to_text(case.created_at) if case.created_at is not None else None,
        "tools": list(case.tools),
        "settings": dict(case.settings),
    }
    return {"id": case.id, "workload": case.workload, "tier": case.tier.value, "body": to_json(body)}


def case_from(text: str) -> Case:
    """The inverse of ``case_values``, from its body."""
    body = json.loads(text)
    return Case(
        id=CaseId(body["id"]),
        workload=WorkloadId(body["workload"]),
        tier=Tier(body["tier"]),
        messages=messages_from(body["messages"]),
        grader=Grader(kind=body["grader"]["kind"], expected=body["grader"]["expected"]),
        entity=body["entity"],
        slice=body["slice"],
        correction=CorrectionId(body["correction"]) if body["correction"] is not None else None,
        reference_answer=body["reference_answer"],
        verified_by=body["verified_by"],
        created_at=to_moment(body["created_at"]) if body["created_at"] is not None else None,
        tools=tuple(body.get("tools", ())),
        settings=body.get("settings", {}),
    )


def messages_values(messages: Sequence[Message]) -> list[Json]:
    """A pair of role and text for a plain message, OpenAI's form for any other."""
    return [
        [message.role, message.content] if message == Message(role=message.role, content=message.text) else message.to_wire()
        for message in messages
    ]


def messages_from(values: Sequence[Json]) -> tuple[Message, ...]:
    """The inverse of ``messages_values``; rows of earlier versions hold pairs alone."""
    return tuple(
        message_from_wire(value, where="messages") if isinstance(value, dict) else Message(role=value[0], content=value[1])
        for value in values
    )
