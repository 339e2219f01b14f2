"""Corrections, cases, golden sets and snapshots in the ledger.

In: values of the learning stages. Out: the same values, later. State and journal line are one transaction. The rows of a
snapshot stand in its file; here stand its counts and its path.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from sqlalchemy import Engine, func, select, update
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.exc import IntegrityError

from flywheel.corrections.correction import CorrectionState
from flywheel.errors import Conflict
from flywheel.ids import CorrectionId, Person, SnapshotId, WorkloadId
from flywheel.journal import JournalEntry
from flywheel.regression_suite.case import Case, Tier
from flywheel.regression_suite.golden import GoldenSet
from flywheel.training_set.example import Example
from flywheel.training_set.snapshot import Snapshot, example_of, line
from services.ports.learn import KeptCorrection, Submission
from services.ports.record import OutboxMessage
from services.stores.database import reading, to_json, to_moment, to_text, writing
from services.stores.ledger.learn_rows import case_from, case_values, kept_from, kept_values, snapshot_from, snapshot_values
from services.stores.ledger.learn_tables import (
    case_table,
    correction_table,
    general_table,
    golden_table,
    snapshot_table,
    submission_table,
    turned_away_table,
)
from services.stores.ledger.record import append_entries, put_messages
from services.stores.snapshot_files import read_examples


class LedgerLearn:
    """The learning part of the ledger on SQL."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def submit(self, submission: Submission, message: OutboxMessage) -> str:
        with writing(self._engine) as connection:
            known = connection.execute(select(submission_table.c.body_digest).where(submission_table.c.id == submission.id)).scalar()
            if known is None:
                connection.execute(
                    insert(submission_table).values(
                        id=submission.id,
                        workload=submission.workload,
                        source=submission.source,
                        submitted_by=submission.submitted_by,
                        body_digest=submission.body_digest,
                        at=to_text(submission.at),
                        repeats=0,
                    )
                )
                put_messages(connection, message)
                return "accepted"
            if known == submission.body_digest:
                table = submission_table
                connection.execute(update(table).where(table.c.id == submission.id).values(repeats=table.c.repeats + 1))
                return "duplicate"
        raise Conflict(
            "the id was used for another correction", where="correction_id", value=submission.id, remedy="Give each correction its own id."
        )

    def rejected_submission(self, *, reason: str, source: str, at: datetime, kind: str) -> None:
        with writing(self._engine) as connection:
            connection.execute(insert(turned_away_table).values(kind=kind, reason=reason, source=source, at=to_text(at)))

    def submission_counts(self, workload: WorkloadId) -> Mapping[str, int]:
        """What was turned away is counted for all workloads: its workload is a claim nobody checked."""
        table = submission_table
        with reading(self._engine) as connection:
            taken, repeats = connection.execute(
                select(func.count(), func.coalesce(func.sum(table.c.repeats), 0)).where(table.c.workload == workload)
            ).one()
            kinds = connection.execute(select(turned_away_table.c.kind, func.count()).group_by(turned_away_table.c.kind))
            turned_away = {str(row[0]): int(row[1]) for row in kinds}
        rejected, forged = turned_away.get("rejected", 0), turned_away.get("forged", 0)
        return {"submitted": int(taken) + int(repeats), "duplicates": int(repeats), "rejected": rejected, "forged": forged}

    def correction(self, correction_id: CorrectionId) -> KeptCorrection | None:
        with reading(self._engine) as connection:
            row = connection.execute(select(correction_table).where(correction_table.c.id == correction_id)).first()
        return kept_from(row) if row is not None else None

    def corrections(self, workload: WorkloadId, *, state: CorrectionState | None = None, limit: int = 100_000) -> Sequence[KeptCorrection]:
        table = correction_table
        query = select(table).where(table.c.workload == workload).order_by(table.c.decided_at, table.c.id).limit(limit)
        if state is not None:
            query = query.where(table.c.state == state.value)
        with reading(self._engine) as connection:
            return [kept_from(row) for row in connection.execute(query)]

    def keep(self, kept: KeptCorrection, case: Case | None, entry: JournalEntry, messages: Sequence[OutboxMessage] = ()) -> bool:
        values = kept_values(kept)
        statement = insert(correction_table).values(**values)
        if kept.state is CorrectionState.SUBMITTED:
            statement = statement.on_conflict_do_nothing(index_elements=["id"])
        else:
            waiting = correction_table.c.state == CorrectionState.SUBMITTED.value
            statement = statement.on_conflict_do_update(index_elements=["id"], set_=values, where=waiting)
        try:
            with writing(self._engine) as connection:
                if connection.execute(statement).rowcount != 1:
                    return False
                if case is not None:
                    connection.execute(insert(case_table).values(**case_values(case)).on_conflict_do_nothing(index_elements=["id"]))
                append_entries(connection, entry)
                put_messages(connection, *messages)
        except IntegrityError as error:
            raise Conflict(
                "the same prompt was accepted meanwhile", where=kept.joined.correction.id, remedy="Decide again on what is accepted now."
            ) from error
        return True

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

    def general_examples(self, workload: WorkloadId) -> Sequence[Example]:
        query = select(general_table).where(general_table.c.workload == workload).order_by(general_table.c.id)
        with reading(self._engine) as connection:
            return [example_of(row.body) for row in connection.execute(query)]

    def add_general_examples(self, workload: WorkloadId, examples: Sequence[Example], entry: JournalEntry) -> None:
        with writing(self._engine) as connection:
            for example in examples:
                connection.execute(
                    insert(general_table).values(workload=workload, id=example.id, body=line(example)).on_conflict_do_nothing()
                )
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

    def keep_snapshot(self, snapshot: Snapshot, *, path: str, entry: JournalEntry) -> None:
        with writing(self._engine) as connection:
            done = connection.execute(
                insert(snapshot_table).values(**snapshot_values(snapshot, path=path)).on_conflict_do_nothing(index_elements=["id"])
            )
            if done.rowcount == 1:  # the same rows again are the same snapshot, and it was built once
                append_entries(connection, entry)

    def snapshot(self, snapshot_id: SnapshotId) -> tuple[Snapshot, str] | None:
        with reading(self._engine) as connection:
            row = connection.execute(select(snapshot_table).where(snapshot_table.c.id == snapshot_id)).first()
        if row is None:
            return None
        examples = read_examples(Path(row.path), snapshot_id=SnapshotId(row.id), workload=WorkloadId(row.workload))
        return snapshot_from(row, examples=tuple(examples)), str(row.path)

    def snapshots(self, workload: WorkloadId) -> Sequence[Snapshot]:
        query = select(snapshot_table).where(snapshot_table.c.workload == workload).order_by(snapshot_table.c.seq.desc())
        with reading(self._engine) as connection:
            return [snapshot_from(row, examples=()) for row in connection.execute(query)]
