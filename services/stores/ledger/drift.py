"""References and judged windows in the ledger. State, journal line and outbox event are one transaction."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from sqlalchemy import Column, Connection, Engine, Index, Integer, String, Table, literal_column, select, update
from sqlalchemy.dialects.sqlite import insert

from flywheel.drift.late_data import JudgedRows, Reevaluation
from flywheel.drift.reference import Reference
from flywheel.drift.seasonal_reference import SeasonalReference
from flywheel.drift.verdict import DriftStatus
from flywheel.ids import WorkloadId, derive
from flywheel.journal import JournalEntry
from services.ports.cloud_events import encode
from services.ports.drift import ClosedWindow, EvidentlyScore, Judgement, LateFinding
from services.ports.outbox import OutboxMessage
from services.ports.traffic import TrafficCounts
from services.stores.database import metadata, reading, to_json, to_moment, to_text, writing
from services.stores.ledger.journal import append_entries
from services.stores.ledger.judgements import (
    move_position,
    newest_judgement,
    put_judgement,
    read_judgements,
    read_late_findings,
    verdict_dict,
    verdicts_from,
)
from services.stores.ledger.outbox import put_messages
from services.stores.ledger.references import (
    counts_text,
    meta_text,
    put_seasonal_reference,
    read_seasonal_reference,
    reference_from,
    reference_table,
)

DRIFT_TYPE = "flywheel.drift.v1"

window_table = Table(
    "drift_window",
    metadata,
    Column("id", String, primary_key=True),
    Column("workload", String, nullable=False, index=True),
    Column("start", String, nullable=False),
    Column("end", String, nullable=False),
    Column("reference", String, nullable=False),
    Column("traffic", String, nullable=False),
    Column("verdicts", String, nullable=False),
    Column("second_opinions", String, nullable=False),
    Column("judged_again", Integer, nullable=False, server_default="0"),
    Index("drift_window_by_end", "workload", "end"),
)


class LedgerDrift:
    """DriftLedger on SQL. ``topic``: where drift events go."""

    def __init__(self, engine: Engine, *, topic: str) -> None:
        self._engine, self._drift_topic = engine, topic

    def references(self, workload: WorkloadId) -> Sequence[Reference]:
        newest_first = (
            select(reference_table)
            .where(reference_table.c.workload == workload)
            .order_by(reference_table.c.pinned_at.desc(), reference_table.c.id)
        )
        with reading(self._engine) as connection:
            return [reference_from(row) for row in connection.execute(newest_first)]

    def pin(self, reference: Reference, entry: JournalEntry, *, seasonal: SeasonalReference | None = None) -> None:
        """The counts never change. Pinning the same period again puts its reference back in force."""
        again = {
            "maturity": reference.maturity.value,
            "pinned_by": reference.pinned_by,
            "pinned_at": to_text(reference.pinned_at),
            "meta": meta_text(reference),
        }
        values = {
            "id": reference.id,
            "workload": reference.workload,
            "adapter": reference.adapter,
            "start": to_text(reference.start),
            "end": to_text(reference.end),
            "counts": counts_text(reference.counts),
            **again,
        }
        with writing(self._engine) as connection:
            connection.execute(insert(reference_table).values(**values).on_conflict_do_update(index_elements=["id"], set_=again))
            if seasonal is not None:
                put_seasonal_reference(connection, reference, seasonal)
            append_entries(connection, entry)

    def seasonal_reference(self, reference: Reference) -> SeasonalReference | None:
        with reading(self._engine) as connection:
            return read_seasonal_reference(connection, reference)

    def close(self, window: ClosedWindow, entry: JournalEntry, *, judgement: Judgement) -> bool:
        with writing(self._engine) as connection:
            done = connection.execute(
                insert(window_table)
                .values(
                    id=window.id,
                    workload=window.workload,
                    start=to_text(window.start),
                    end=to_text(window.end),
                    second_opinions=to_json([asdict(score) for score in window.second_opinions]),
                    **_judged_values(window),
                )
                .on_conflict_do_nothing(index_elements=["id"])
            )
            if done.rowcount != 1:
                return False
            self._put_judged(connection, window, entry, judgement=judgement)
        return True

    def reevaluate(self, window: ClosedWindow, entry: JournalEntry, *, judgement: Judgement, reevaluation: Reevaluation) -> bool:
        """Evidently's scores stay unchanged: they are of the sample that existed when the window closed."""
        with writing(self._engine) as connection:
            done = connection.execute(
                update(window_table)
                .where(window_table.c.id == window.id, window_table.c.judged_again == window.judged_again - 1)
                .values(**_judged_values(window))
            )
            if done.rowcount != 1:
                return False
            self._put_judged(connection, window, entry, judgement=judgement, reevaluation=reevaluation)
        return True

    def same_rows(self, judged: JudgedRows, *, position: int) -> None:
        with writing(self._engine) as connection:
            move_position(connection, judged, position=position)

    def judgements(self, workload: WorkloadId, *, ended_after: datetime) -> Sequence[Judgement]:
        with reading(self._engine) as connection:
            return read_judgements(connection, workload, ended_after=ended_after)

    def judgement_count(self) -> int:
        with reading(self._engine) as connection:
            return newest_judgement(connection)

    def late_findings(self, workload: WorkloadId, *, after: int = 0, limit: int = 50) -> Sequence[LateFinding]:
        with reading(self._engine) as connection:
            return read_late_findings(connection, workload, after=after, limit=limit)

    def window(self, window_id: str) -> ClosedWindow | None:
        with reading(self._engine) as connection:
            row = connection.execute(_WINDOWS.where(window_table.c.id == window_id)).first()
        return _window(row) if row is not None else None

    def windows(self, workload: WorkloadId, *, until: datetime | None = None, after: int = 0, limit: int = 50) -> Sequence[ClosedWindow]:
        query = _WINDOWS.where(window_table.c.workload == workload).order_by(window_table.c.end.desc(), window_table.c.id).limit(limit)
        if until is not None:
            query = query.where(window_table.c.end <= to_text(until))
        if after:
            query = query.where(window_number > after)
        with reading(self._engine) as connection:
            return [_window(row) for row in connection.execute(query)]

    def _put_judged(
        self,
        connection: Connection,
        window: ClosedWindow,
        entry: JournalEntry,
        *,
        judgement: Judgement,
        reevaluation: Reevaluation | None = None,
    ) -> None:
        put_judgement(connection, judgement, workload=window.workload, reevaluation=reevaluation)
        append_entries(connection, entry)
        put_messages(connection, self._drift_event(window, entry))

    def _drift_event(self, window: ClosedWindow, entry: JournalEntry) -> OutboxMessage:
        again = {"judged_again": window.judged_again} if window.judged_again else {}
        message_id = derive("drift", window.id, *again.values())
        data = {
            "window": window.id,
            "start": to_text(window.start),
            "end": to_text(window.end),
            "reference": window.reference,
            "traffic": asdict(window.traffic),
            "verdicts": [verdict_dict(verdict, start=window.start) for verdict in window.verdicts if verdict.status is not DriftStatus.OK],
            "ok": sum(verdict.status is DriftStatus.OK for verdict in window.verdicts),
            "second_opinions": [asdict(score) for score in window.second_opinions if score.drifted],
            **again,
        }
        value = encode(type=DRIFT_TYPE, id=message_id, workload=window.workload, time=entry.at, data=data, partitionkey=window.workload)
        return OutboxMessage(id=message_id, topic=self._drift_topic, key=window.workload, value=value, created_at=entry.at)


window_number = literal_column("drift_window.rowid", Integer)
_WINDOWS = select(window_table, window_number.label("number"))


def _judged_values(window: ClosedWindow) -> dict[str, object]:
    """What a later judgement replaces."""
    return {
        "reference": window.reference,
        "traffic": to_json(asdict(window.traffic)),
        "verdicts": to_json([verdict_dict(verdict, start=window.start) for verdict in window.verdicts]),
        "judged_again": window.judged_again,
    }


def _window(row: Any) -> ClosedWindow:
    workload, start, end = WorkloadId(row.workload), to_moment(row.start), to_moment(row.end)
    return ClosedWindow(
        id=row.id,
        workload=workload,
        start=start,
        end=end,
        reference=row.reference,
        traffic=TrafficCounts(**json.loads(row.traffic)),
        verdicts=verdicts_from(row.verdicts, workload=workload, start=start, end=end),
        second_opinions=tuple(EvidentlyScore(**held) for held in json.loads(row.second_opinions)),
        judged_again=row.judged_again,
        number=row.number,
    )
