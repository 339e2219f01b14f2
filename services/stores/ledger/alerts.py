"""Alerts and their notifications in the ledger. State, journal line and outbox event are one transaction."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Column, Connection, Engine, String, Table, select, update
from sqlalchemy.dialects.sqlite import insert

from flywheel.alerts.alert import Acknowledgement, Alert, AlertState, Severity
from flywheel.ids import AlertId, Person, WorkloadId, derive
from flywheel.journal import JournalEntry
from services.ports.cloud_events import encode
from services.ports.outbox import OutboxMessage
from services.stores.database import metadata, reading, to_json, to_moment, to_text, writing
from services.stores.ledger.journal import append_entries
from services.stores.ledger.outbox import put_messages

ALERT_TYPE = "flywheel.alert.v1"

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


class LedgerAlerts:
    """AlertLedger on SQL. ``topic``: where alert events go."""

    def __init__(self, engine: Engine, *, topic: str) -> None:
        self._engine, self._alerts_topic = engine, topic

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


def _stands(connection: Connection, alert_id: AlertId, expected: Alert | None) -> bool:
    body = connection.execute(select(alert_table.c.body).where(alert_table.c.id == alert_id)).scalar()
    return bool(body == (None if expected is None else _alert_text(expected)))


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
