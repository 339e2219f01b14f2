"""Submissions and corrections in the ledger. State, case, journal line and events are one transaction."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Boolean, Column, Engine, Index, Integer, String, Table, func, select, text, update
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.exc import IntegrityError

from flywheel.corrections.correction import Correction, CorrectionKind, CorrectionState, InlineRequest, JoinedCorrection, Remarks
from flywheel.errors import Conflict
from flywheel.ids import CorrectionId, RequestId, WorkloadId
from flywheel.journal import JournalEntry
from flywheel.regression_suite.case import Case
from services.ports.corrections import KeptCorrection, Submission
from services.ports.outbox import OutboxMessage
from services.stores.database import metadata, reading, to_json, to_moment, to_text, writing
from services.stores.ledger.journal import append_entries
from services.stores.ledger.outbox import put_messages
from services.stores.ledger.regression_suite import case_table, case_values, messages_from, messages_values

submission_table = Table(
    "submissions",
    metadata,
    Column("id", String, primary_key=True),
    Column("workload", String, nullable=False, index=True),
    Column("source", String, nullable=False),
    Column("submitted_by", String, nullable=False),
    Column("body_digest", String, nullable=False),
    Column("at", String, nullable=False),
    Column("repeats", Integer, nullable=False),  # how often the same body came again
    Column("given_id", String, nullable=False, server_default=""),  # as the source gave it; rows of older versions have it as their id
    Index("submissions_by_given_id", "given_id", "source", "workload", unique=True),
)


turned_away_table = Table(
    "submissions_turned_away",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("kind", String, nullable=False),  # "rejected" or "forged"
    Column("reason", String, nullable=False),
    Column("source", String, nullable=False),
    Column("at", String, nullable=False),
)


correction_table = Table(
    "corrections",
    metadata,
    Column("id", String, primary_key=True),
    Column("workload", String, nullable=False),
    Column("state", String, nullable=False),
    Column("reason", String, nullable=False),
    Column("decided_at", String, nullable=False),
    Column("entity", String, nullable=False),
    Column("held_out", Boolean, nullable=False),
    Column("prompt_key", String, nullable=False),
    Column("body", String, nullable=False),
    Column("source", String, nullable=False, server_default=""),
    Column("given_id", String, nullable=False, server_default=""),
    Index("corrections_by_state", "workload", "state", "decided_at", "id", "held_out"),
    Index("corrections_by_time", "workload", "decided_at", "id"),
    Index("corrections_by_given_id", "given_id", "source", "workload", unique=True),
    # Two accepted fixes of one prompt are a duplicate or a contradiction: the database itself lets only one in.
    Index(
        "corrections_one_per_prompt", "workload", "prompt_key", unique=True, sqlite_where=text("state = 'accepted' AND prompt_key <> ''")
    ),
)


class LedgerCorrections:
    """CorrectionLedger on SQL."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def submit(self, submission: Submission, message: OutboxMessage) -> str:
        table = submission_table
        with writing(self._engine) as connection:
            same_id = table.c.given_id == submission.given_id
            same_id &= (table.c.source == submission.source) & (table.c.workload == submission.workload)
            known = connection.execute(select(table).where(same_id)).first()
            if known is None:
                values = {
                    "id": submission.id,
                    "workload": submission.workload,
                    "source": submission.source,
                    "submitted_by": submission.submitted_by,
                    "body_digest": submission.body_digest,
                    "at": to_text(submission.at),
                    "repeats": 0,
                    "given_id": submission.given_id,
                }
                connection.execute(insert(table).values(**values))
                put_messages(connection, message)
                return "accepted"
            if known.body_digest == submission.body_digest:
                connection.execute(update(table).where(same_id).values(repeats=table.c.repeats + 1))
                return "duplicate"
        raise Conflict(
            f"{known.submitted_by} used the id for another correction of {submission.source}",
            where="correction_id",
            value=submission.given_id,
            remedy="Give each correction of a source its own id.",
        )

    def rejected_submission(self, *, reason: str, source: str, at: datetime, kind: str) -> None:
        with writing(self._engine) as connection:
            connection.execute(insert(turned_away_table).values(kind=kind, reason=reason, source=source, at=to_text(at)))

    def submission_counts(self, workload: WorkloadId) -> Mapping[str, int]:
        """Rejected corrections are counted over all workloads, because their workload was not verified."""
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

    def by_given_id(self, given_id: str, *, source: str | None = None, workload: WorkloadId | None = None) -> Sequence[KeptCorrection]:
        table = correction_table
        query = select(table).where(table.c.given_id == given_id).order_by(table.c.source, table.c.workload)
        if source is not None:
            query = query.where(table.c.source == source)
        if workload is not None:
            query = query.where(table.c.workload == workload)
        with reading(self._engine) as connection:
            return [kept_from(row) for row in connection.execute(query)]

    def corrections(self, workload: WorkloadId, *, state: CorrectionState | None = None, limit: int = 100_000) -> Sequence[KeptCorrection]:
        table = correction_table
        query = select(table).where(table.c.workload == workload).order_by(table.c.decided_at, table.c.id).limit(limit)
        if state is not None:
            query = query.where(table.c.state == state.value)
        with reading(self._engine) as connection:
            return [kept_from(row) for row in connection.execute(query)]

    def newest(self, workload: WorkloadId, *, state: CorrectionState | None = None, limit: int) -> Sequence[KeptCorrection]:
        table = correction_table
        query = select(table).where(table.c.workload == workload).order_by(table.c.decided_at.desc(), table.c.id.desc()).limit(limit)
        if state is not None:
            query = query.where(table.c.state == state.value)
        with reading(self._engine) as connection:
            return [kept_from(row) for row in connection.execute(query)]

    def state_counts(self, workload: WorkloadId) -> Mapping[CorrectionState, int]:
        table = correction_table
        query = select(table.c.state, func.count()).where(table.c.workload == workload).group_by(table.c.state)
        with reading(self._engine) as connection:
            return {CorrectionState(row[0]): int(row[1]) for row in connection.execute(query)}

    def trainable(self, workload: WorkloadId, *, since: datetime | None = None) -> int:
        table = correction_table
        query = select(func.count()).where(table.c.workload == workload, table.c.state == CorrectionState.ACCEPTED.value)
        query = query.where(table.c.held_out.is_(False))
        if since is not None:
            query = query.where(table.c.decided_at > to_text(since))
        with reading(self._engine) as connection:
            return int(connection.execute(query).scalar_one())

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


def kept_values(kept: KeptCorrection) -> dict[str, Any]:
    """Columns of ``corrections``."""
    joined, correction = kept.joined, kept.joined.correction
    body = {
        "source": correction.source,
        "author": correction.author,
        "kind": correction.kind.value,
        "created_at": to_text(correction.created_at),
        "request_id": correction.request_id,
        "messages": messages_values(correction.inline.messages),
        "tools": list(correction.inline.tools),
        "dimensions": dict(correction.inline.dimensions),
        "left_out": list(correction.inline.left_out),
        "original": correction.original,
        "corrected": correction.corrected,
        "reason_code": correction.reason_code,
        "comment": correction.remarks.comment,
        "supersedes": correction.supersedes,
        "ticket": correction.remarks.ticket,
        "redactions": correction.redactions,
        "joined": {
            "messages": messages_values(joined.messages),
            "original": joined.original,
            "entity": joined.entity,
            "dimensions": dict(joined.dimensions),
            "adapter": joined.adapter,
            "joined": joined.joined,
            "tools": list(joined.tools),
            "settings": dict(joined.settings),
        },
    }
    return {
        "id": correction.id,
        "workload": correction.workload,
        "state": kept.state.value,
        "reason": kept.reason,
        "decided_at": to_text(kept.decided_at),
        "entity": kept.entity,
        "held_out": kept.held_out,
        "prompt_key": kept.prompt_key,
        "body": to_json(body),
        "source": correction.source,
        "given_id": correction.given_id,
    }


def kept_from(row: Any) -> KeptCorrection:
    """The inverse of ``kept_values``."""
    body = json.loads(row.body)
    request = body["joined"]
    correction = Correction(
        id=CorrectionId(row.id),
        workload=WorkloadId(row.workload),
        source=body["source"],
        author=body["author"],
        kind=CorrectionKind(body["kind"]),
        created_at=to_moment(body["created_at"]),
        request_id=RequestId(body["request_id"]) if body["request_id"] is not None else None,
        inline=InlineRequest(
            messages=messages_from(body["messages"]),
            tools=tuple(body.get("tools", ())),
            dimensions=body.get("dimensions", {}),
            left_out=tuple(body.get("left_out", ())),
        ),
        original=body["original"],
        corrected=body["corrected"],
        reason_code=body["reason_code"],
        supersedes=CorrectionId(body["supersedes"]) if body["supersedes"] is not None else None,
        remarks=Remarks(comment=body["comment"], ticket=body["ticket"]),
        redactions=body["redactions"],
    )
    return KeptCorrection(
        joined=JoinedCorrection(
            correction=correction,
            messages=messages_from(request["messages"]),
            original=request["original"],
            entity=request["entity"],
            dimensions=request["dimensions"],
            adapter=request["adapter"],
            joined=request["joined"],
            tools=tuple(request.get("tools", ())),
            settings=request.get("settings", {}),
        ),
        state=CorrectionState(row.state),
        reason=row.reason,
        decided_at=to_moment(row.decided_at),
        entity=row.entity,
        held_out=bool(row.held_out),
        prompt_key=row.prompt_key,
    )
