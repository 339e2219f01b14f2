"""Alerts and their notifications in the ledger. State, journal line and outbox event are one transaction.

An alert is one document with columns beside it for what is asked often: ``version`` for compare-and-set, ``changed`` (a number that
rises with each save of any alert) for readers that want only news.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import Column, Engine, Index, Integer, String, Table, func, or_, select, update
from sqlalchemy.dialects.sqlite import insert

from flywheel.alerts.alert import Acknowledgement, Alert, AlertMessage, AlertState, DriftedSeries, Severity, WindowsSeen
from flywheel.ids import AlertId, Person, WorkloadId, derive
from flywheel.journal import JournalEntry
from services.ports.cloud_events import encode
from services.ports.outbox import OutboxMessage
from services.stores.database import metadata, newest_row, reading, to_json, to_moment, to_text, writing
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
    Column("version", Integer, nullable=False, server_default="1"),
    Column("changed", Integer, nullable=False, server_default="0"),
    Column("resolved_at", String),
    Index("alert_by_change", "changed"),
    Index("alert_by_start", "workload", "started_at"),
)
notification_table = Table(
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
            row = connection.execute(_ALERTS.where(alert_table.c.id == alert_id)).first()
        return _alert(row) if row is not None else None

    def alerts(
        self, *, workload: WorkloadId | None = None, open_only: bool = False, ended_after: datetime | None = None, limit: int = 10_000
    ) -> Sequence[Alert]:
        query = _ALERTS.order_by(newest_row(alert_table)).limit(limit)
        if workload is not None:
            query = query.where(alert_table.c.workload == workload)
        is_open = alert_table.c.state != AlertState.RESOLVED.value
        if open_only:
            query = query.where(is_open)
        elif ended_after is not None:
            query = query.where(or_(is_open, alert_table.c.resolved_at > to_text(ended_after)))
        with reading(self._engine) as connection:
            return [_alert(row) for row in connection.execute(query)]

    def alert_saves(self) -> int:
        with reading(self._engine) as connection:
            return int(connection.execute(_SAVES).scalar_one())

    def save_alert(self, alert: Alert, entry: JournalEntry) -> Alert | None:
        saved = replace(alert, version=alert.version + 1)
        with writing(self._engine) as connection:
            values = {
                "workload": saved.workload,
                "fingerprint": saved.fingerprint,
                "state": saved.state.value,
                "started_at": to_text(saved.started_at),
                "body": to_json(_document(saved)),
                "version": saved.version,
                "changed": connection.execute(_SAVES).scalar_one() + 1,
                "resolved_at": _moment_text(saved.resolved_at),
            }
            if alert.version == 0:
                done = connection.execute(insert(alert_table).values(id=alert.id, **values).on_conflict_do_nothing(index_elements=["id"]))
            else:
                based_on = (alert_table.c.id == alert.id) & (alert_table.c.version == alert.version)
                done = connection.execute(update(alert_table).where(based_on).values(**values))
            if done.rowcount != 1:
                return None
            append_entries(connection, entry)
            put_messages(connection, self._alert_event(saved, entry))
        return saved

    def notification_due(self, alert_id: AlertId, *, kind: str) -> bool:
        query = select(notification_table.c.at).where(notification_table.c.alert == alert_id, notification_table.c.kind == kind)
        with reading(self._engine) as connection:
            return connection.execute(query).first() is None

    def notification_sent(self, alert_id: AlertId, *, kind: str, at: datetime, detail: str) -> None:
        with writing(self._engine) as connection:
            connection.execute(
                insert(notification_table)
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
            data={**alert_event_data(alert), "reason": entry.reason},
            partitionkey=alert.fingerprint,
        )
        return OutboxMessage(id=message_id, topic=self._alerts_topic, key=alert.fingerprint, value=value, created_at=entry.at)


_ALERTS = select(alert_table.c.body, alert_table.c.version)
_SAVES = select(func.coalesce(func.max(alert_table.c.changed), 0))


def alert_event_data(alert: Alert) -> dict[str, object]:
    """The alert as the alerts topic carries it (schemas/alerts/alert.v1.json, without ``reason``)."""
    document = _document(alert)
    message, seen = document.pop("message"), document.pop("seen")
    assert isinstance(message, dict)
    assert isinstance(seen, dict)
    evidence = {
        **alert.evidence,
        "first_window": seen["first"],
        "window": seen["newest"],
        "seen_until": seen["until"],
        "late_windows": seen["late"],
        "drifted": seen["drifted_count"],
        "fired_again_at": document.pop("fired_again_at"),
    }
    return {**document, **message, "fingerprint": alert.fingerprint, "labels": dict(alert.labels), "evidence": evidence}


def _document(alert: Alert) -> dict[str, object]:
    taken, seen = alert.acknowledgement, alert.seen
    return {
        "id": alert.id,
        "workload": alert.workload,
        "severity": alert.severity.name.lower(),
        "state": alert.state.value,
        "message": {
            "summary": alert.message.summary,
            "first_action": alert.message.first_action,
            "runbook": alert.message.runbook,
        },
        "started_at": to_text(alert.started_at),
        "last_seen_at": to_text(alert.last_seen_at),
        "seen": {
            "first": seen.first,
            "newest": seen.newest,
            "until": to_text(seen.until),
            "late": list(seen.late),
            "drifted": sorted([series.slice, series.column] for series in seen.drifted),
            "drifted_count": seen.drifted_count,
        },
        "fired_at": _moment_text(alert.fired_at),
        "fired_again_at": _moment_text(alert.fired_again_at),
        "resolved_at": _moment_text(alert.resolved_at),
        "acknowledgement": {"by": taken.by, "at": to_text(taken.at), "until": to_text(taken.until), "note": taken.note} if taken else None,
        "evidence": dict(alert.evidence),
    }


def _alert(row: Any) -> Alert:
    """The inverse of ``_document``."""
    held: Mapping[str, Any] = json.loads(row.body)
    taken, seen = held["acknowledgement"], held["seen"]
    return Alert(
        id=AlertId(held["id"]),
        workload=WorkloadId(held["workload"]),
        severity=Severity[held["severity"].upper()],
        state=AlertState(held["state"]),
        message=AlertMessage(**held["message"]),
        started_at=to_moment(held["started_at"]),
        last_seen_at=to_moment(held["last_seen_at"]),
        seen=WindowsSeen(
            first=seen["first"],
            newest=seen["newest"],
            until=to_moment(seen["until"]),
            late=tuple(seen["late"]),
            drifted=frozenset(DriftedSeries(*series) for series in seen["drifted"]),
            drifted_count=seen["drifted_count"],
        ),
        fired_at=_moment(held["fired_at"]),
        fired_again_at=_moment(held["fired_again_at"]),
        resolved_at=_moment(held["resolved_at"]),
        acknowledgement=Acknowledgement(
            by=Person(taken["by"]), at=to_moment(taken["at"]), until=to_moment(taken["until"]), note=taken["note"]
        )
        if taken
        else None,
        evidence=held["evidence"],
        version=row.version,
    )


def _moment_text(moment: datetime | None) -> str | None:
    return to_text(moment) if moment is not None else None


def _moment(text: str | None) -> datetime | None:
    return to_moment(text) if text is not None else None
