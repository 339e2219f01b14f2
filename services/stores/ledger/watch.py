"""References, judged windows, alerts and their notices in the ledger.

In and out: values of ``flywheel.drift`` and ``flywheel.alerts``. State, journal line and outbox event are one transaction.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

import numpy as np
from sqlalchemy import Column, Connection, Engine, Integer, String, Table, select, update
from sqlalchemy.dialects.sqlite import insert

from flywheel.alerts.alert import Acknowledgement, Alert, AlertState, Severity
from flywheel.drift.incident import Retest
from flywheel.drift.late import Judged
from flywheel.drift.profile import Profile
from flywheel.drift.reference import Maturity, Reference
from flywheel.drift.verdict import DriftStatus
from flywheel.ids import AdapterName, AlertId, Person, WorkloadId, derive
from flywheel.journal import JournalEntry
from flywheel.windows.pane import WindowCounts
from services.ports.cloud_events import encode
from services.ports.record import OutboxMessage
from services.ports.traffic import TrafficCounts
from services.ports.watch import ClosedWindow, Judgement, LateFinding, SecondOpinion
from services.stores.database import metadata, reading, to_json, to_moment, to_text, writing
from services.stores.ledger.judgements import (
    move_position,
    put_judgement,
    read_judgements,
    read_late_findings,
    verdict_dict,
    verdicts_from,
)
from services.stores.ledger.profile import put_profile, read_profile
from services.stores.ledger.record import append_entries, put_messages

DRIFT_TYPE = "flywheel.drift.v1"
ALERT_TYPE = "flywheel.alert.v1"

reference_table = Table(
    "drift_reference",
    metadata,
    Column("id", String, primary_key=True),
    Column("workload", String, nullable=False, index=True),
    Column("adapter", String, nullable=False),
    Column("start", String, nullable=False),
    Column("end", String, nullable=False),
    Column("maturity", String, nullable=False),
    Column("pinned_by", String, nullable=False),
    Column("pinned_at", String, nullable=False),
    Column("counts", String, nullable=False),
    Column("meta", String, nullable=False),
)
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
)
alert_table = Table(
    "alert",
    metadata,
    Column("id", String, primary_key=True),
    Column("workload", String, nullable=False, index=True),
    Column("fingerprint", String, nullable=False),
    Column("state", String, nullable=False),
    Column("started_at", String, nullable=False),
    Column("body", String, nullable=False),
)
notice_table = Table(
    "alert_notice",
    metadata,
    Column("alert", String, primary_key=True),
    Column("kind", String, primary_key=True),
    Column("at", String, nullable=False),
    Column("detail", String, nullable=False),
)


class LedgerWatch:
    """The watch ledger on SQL."""

    def __init__(self, engine: Engine, *, drift_topic: str, alerts_topic: str) -> None:
        self._engine, self._drift_topic, self._alerts_topic = engine, drift_topic, alerts_topic

    def reference(self, workload: WorkloadId, *, adapter: AdapterName) -> Reference | None:
        found = self._references(workload, adapter=adapter, limit=1)
        return found[0] if found else None

    def references(self, workload: WorkloadId) -> Sequence[Reference]:
        return self._references(workload)

    def pin(self, reference: Reference, entry: JournalEntry, *, profile: Profile | None = None) -> None:
        """The counts never change; pinning the same period once more brings it back in force."""
        again = {
            "maturity": reference.maturity.value,
            "pinned_by": reference.pinned_by,
            "pinned_at": to_text(reference.pinned_at),
            "meta": to_json(dict(reference.meta)),
        }
        values = {
            "id": reference.id,
            "workload": reference.workload,
            "adapter": reference.adapter,
            "start": to_text(reference.start),
            "end": to_text(reference.end),
            "counts": _counts_text(reference.counts),
            **again,
        }
        with writing(self._engine) as connection:
            connection.execute(insert(reference_table).values(**values).on_conflict_do_update(index_elements=["id"], set_=again))
            if profile is not None:
                put_profile(connection, reference, profile)
            append_entries(connection, entry)

    def profile(self, reference: Reference) -> Profile | None:
        with reading(self._engine) as connection:
            return read_profile(connection, reference)

    def close(self, window: ClosedWindow, entry: JournalEntry, *, judgement: Judgement) -> bool:
        with writing(self._engine) as connection:
            done = connection.execute(
                insert(window_table)
                .values(
                    id=window.id,
                    workload=window.workload,
                    start=to_text(window.start),
                    end=to_text(window.end),
                    second_opinions=to_json([asdict(opinion) for opinion in window.second_opinions]),
                    **_judged_values(window),
                )
                .on_conflict_do_nothing(index_elements=["id"])
            )
            if done.rowcount != 1:
                return False
            self._put_judged(connection, window, entry, judgement=judgement)
        return True

    def judge_again(self, window: ClosedWindow, entry: JournalEntry, *, judgement: Judgement, retest: Retest) -> bool:
        """The second opinions stay: they are of the sample that was there when the window closed."""
        with writing(self._engine) as connection:
            done = connection.execute(
                update(window_table)
                .where(window_table.c.id == window.id, window_table.c.judged_again == window.judged_again - 1)
                .values(**_judged_values(window))
            )
            if done.rowcount != 1:
                return False
            self._put_judged(connection, window, entry, judgement=judgement, retest=retest)
        return True

    def same_rows(self, judged: Judged, *, position: int) -> None:
        with writing(self._engine) as connection:
            move_position(connection, judged, position=position)

    def judgements(self, workload: WorkloadId, *, ended_after: datetime) -> Sequence[Judgement]:
        with reading(self._engine) as connection:
            return read_judgements(connection, workload, ended_after=ended_after)

    def late_findings(self, workload: WorkloadId, *, after: int = 0, limit: int = 50) -> Sequence[LateFinding]:
        with reading(self._engine) as connection:
            return read_late_findings(connection, workload, after=after, limit=limit)

    def window(self, window_id: str) -> ClosedWindow | None:
        with reading(self._engine) as connection:
            row = connection.execute(select(window_table).where(window_table.c.id == window_id)).first()
        return _window(row) if row is not None else None

    def windows(self, workload: WorkloadId, *, limit: int = 50) -> Sequence[ClosedWindow]:
        query = (
            select(window_table)
            .where(window_table.c.workload == workload)
            .order_by(window_table.c.end.desc(), window_table.c.id)
            .limit(limit)
        )
        with reading(self._engine) as connection:
            return [_window(row) for row in connection.execute(query)]

    def alert(self, alert_id: AlertId) -> Alert | None:
        with reading(self._engine) as connection:
            body = connection.execute(select(alert_table.c.body).where(alert_table.c.id == alert_id)).scalar()
        return _alert(json.loads(body)) if body is not None else None

    def alerts(self, *, workload: WorkloadId | None = None, open_only: bool = False) -> Sequence[Alert]:
        query = select(alert_table.c.body).order_by(alert_table.c.started_at.desc(), alert_table.c.id)
        if workload is not None:
            query = query.where(alert_table.c.workload == workload)
        if open_only:
            query = query.where(alert_table.c.state != AlertState.RESOLVED.value)
        with reading(self._engine) as connection:
            return [_alert(json.loads(body)) for body in connection.execute(query).scalars()]

    def save_alert(self, alert: Alert, entry: JournalEntry, *, expected: Alert | None) -> bool:
        values = {
            "workload": alert.workload,
            "fingerprint": alert.fingerprint,
            "state": alert.state.value,
            "started_at": to_text(alert.started_at),
            "body": _alert_text(alert),
        }
        with writing(self._engine) as connection:
            if not _stands(connection, alert.id, expected):
                return False
            if expected is None:
                connection.execute(insert(alert_table).values(id=alert.id, **values))
            else:
                connection.execute(update(alert_table).where(alert_table.c.id == alert.id).values(**values))
            append_entries(connection, entry)
            put_messages(connection, self._alert_event(alert, entry))
        return True

    def notice_due(self, alert_id: AlertId, *, kind: str) -> bool:
        query = select(notice_table.c.at).where(notice_table.c.alert == alert_id, notice_table.c.kind == kind)
        with reading(self._engine) as connection:
            return connection.execute(query).first() is None

    def notice_sent(self, alert_id: AlertId, *, kind: str, at: datetime, detail: str) -> None:
        with writing(self._engine) as connection:
            connection.execute(
                insert(notice_table)
                .values(alert=alert_id, kind=kind, at=to_text(at), detail=detail)
                .on_conflict_do_nothing(index_elements=["alert", "kind"])
            )

    def _references(self, workload: WorkloadId, *, adapter: AdapterName | None = None, limit: int | None = None) -> Sequence[Reference]:
        query = (
            select(reference_table)
            .where(reference_table.c.workload == workload)
            .order_by(reference_table.c.pinned_at.desc(), reference_table.c.id)
            .limit(limit)
        )
        if adapter is not None:
            query = query.where(reference_table.c.adapter == adapter)
        with reading(self._engine) as connection:
            return [_reference(row) for row in connection.execute(query)]

    def _put_judged(
        self, connection: Connection, window: ClosedWindow, entry: JournalEntry, *, judgement: Judgement, retest: Retest | None = None
    ) -> None:
        put_judgement(connection, judgement, workload=window.workload, retest=retest)
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
            "second_opinions": [asdict(opinion) for opinion in window.second_opinions if opinion.drifted],
            **again,
        }
        value = encode(type=DRIFT_TYPE, id=message_id, workload=window.workload, time=entry.at, data=data, partitionkey=window.workload)
        return OutboxMessage(id=message_id, topic=self._drift_topic, key=window.workload, value=value, created_at=entry.at)

    def _alert_event(self, alert: Alert, entry: JournalEntry) -> OutboxMessage:
        message_id = derive("alert-event", entry.id)
        value = encode(
            type=ALERT_TYPE,
            id=message_id,
            workload=alert.workload,
            time=entry.at,
            data={**json.loads(_alert_text(alert)), "reason": entry.reason},
            partitionkey=alert.fingerprint,
        )
        return OutboxMessage(id=message_id, topic=self._alerts_topic, key=alert.fingerprint, value=value, created_at=entry.at)


def _judged_values(window: ClosedWindow) -> dict[str, object]:
    """What a later judgement replaces."""
    return {
        "reference": window.reference,
        "traffic": to_json(asdict(window.traffic)),
        "verdicts": to_json([verdict_dict(verdict, start=window.start) for verdict in window.verdicts]),
        "judged_again": window.judged_again,
    }


def _stands(connection: Connection, alert_id: AlertId, expected: Alert | None) -> bool:
    body = connection.execute(select(alert_table.c.body).where(alert_table.c.id == alert_id)).scalar()
    return bool(body == (None if expected is None else _alert_text(expected)))


def _counts_text(counts: WindowCounts) -> str:
    return to_json(
        {
            "rows": dict(counts.rows),
            "counts": {name: {column: values.tolist() for column, values in columns.items()} for name, columns in counts.counts.items()},
        }
    )


def _reference(row: Any) -> Reference:
    held = json.loads(row.counts)
    start, end = to_moment(row.start), to_moment(row.end)
    counts = WindowCounts(
        workload=WorkloadId(row.workload),
        start=start,
        end=end,
        counts={
            name: {column: np.asarray(values, dtype=np.int64) for column, values in columns.items()}
            for name, columns in held["counts"].items()
        },
        rows=held["rows"],
    )
    return Reference(
        id=row.id,
        workload=WorkloadId(row.workload),
        adapter=AdapterName(row.adapter),
        start=start,
        end=end,
        maturity=Maturity(row.maturity),
        pinned_by=Person(row.pinned_by),
        pinned_at=to_moment(row.pinned_at),
        counts=counts,
        meta=json.loads(row.meta),
    )


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
        second_opinions=tuple(SecondOpinion(**held) for held in json.loads(row.second_opinions)),
        judged_again=row.judged_again,
    )


def _alert_text(alert: Alert) -> str:
    taken = alert.acknowledgement
    return to_json(
        {
            "id": alert.id,
            "fingerprint": alert.fingerprint,
            "workload": alert.workload,
            "labels": dict(alert.labels),
            "severity": alert.severity.name.lower(),
            "state": alert.state.value,
            "summary": alert.summary,
            "first_action": alert.first_action,
            "runbook": alert.runbook,
            "started_at": to_text(alert.started_at),
            "last_seen_at": to_text(alert.last_seen_at),
            "fired_at": to_text(alert.fired_at) if alert.fired_at else None,
            "resolved_at": to_text(alert.resolved_at) if alert.resolved_at else None,
            "acknowledgement": {"by": taken.by, "at": to_text(taken.at), "until": to_text(taken.until), "note": taken.note}
            if taken
            else None,
            "evidence": dict(alert.evidence),
        }
    )


def _alert(held: Mapping[str, Any]) -> Alert:
    taken = held["acknowledgement"]
    return Alert(
        id=AlertId(held["id"]),
        fingerprint=held["fingerprint"],
        workload=WorkloadId(held["workload"]),
        labels=held["labels"],
        severity=Severity[held["severity"].upper()],
        state=AlertState(held["state"]),
        summary=held["summary"],
        first_action=held["first_action"],
        runbook=held["runbook"],
        started_at=to_moment(held["started_at"]),
        last_seen_at=to_moment(held["last_seen_at"]),
        fired_at=to_moment(held["fired_at"]) if held["fired_at"] else None,
        resolved_at=to_moment(held["resolved_at"]) if held["resolved_at"] else None,
        acknowledgement=Acknowledgement(
            by=Person(taken["by"]), at=to_moment(taken["at"]), until=to_moment(taken["until"]), note=taken["note"]
        )
        if taken
        else None,
        evidence=held["evidence"],
    )
