"""Releases and routes in the ledger.

A release moves by compare-and-set; the route that a move brings, both lines of the journal and the route's event for the releases
topic are the same transaction, so that no gateway receives a route that was not stored.
"""

from collections.abc import Sequence
from dataclasses import fields
from datetime import datetime

from sqlalchemy import Column, Connection, Engine, Float, Integer, Row, String, Table, insert, select, update

from flywheel.ids import AdapterName, Person, ReleaseId, WorkloadId, derive
from flywheel.journal import JournalEntry
from flywheel.rollout.release import CLOSED, Release, ReleaseState, Route, route_line
from flywheel.traffic.inference import Arm
from services.ports.cloud_events import encode
from services.ports.outbox import OutboxMessage
from services.ports.route_on_the_wire import to_wire
from services.stores.database import metadata, reading, to_moment, to_text, writing
from services.stores.ledger.journal import append_entries
from services.stores.ledger.outbox import put_messages

ROUTE_TYPE = "flywheel.route.v1"

releases_table = Table(
    "releases",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("id", String, nullable=False, unique=True),
    Column("workload", String, nullable=False, index=True),
    Column("adapter", String, nullable=False),
    Column("state", String, nullable=False),
    Column("since", String, nullable=False),
    Column("reason", String, nullable=False),
    Column("actor", String, nullable=False),
    Column("step", Integer, nullable=False),
    Column("gate", String, nullable=False),
    Column("overridden_by", String),
    Column("approved_by", String),
    Column("step_since", String),
    Column("replaced", String),
)
routes_table = Table(
    "routes",
    metadata,
    Column("workload", String, primary_key=True),
    Column("alias", String, nullable=False),
    Column("version", Integer, nullable=False),
    Column("champion", String, nullable=False),
    Column("challenger", String),
    Column("challenger_arm", String),
    Column("share", Float, nullable=False),
    Column("salt", String, nullable=False),
    Column("changed_at", String),
)


class LedgerReleases:
    """The ReleaseLedger on SQL. ``topic`` is where gateways read routes."""

    def __init__(self, engine: Engine, *, topic: str) -> None:
        self._engine, self._topic = engine, topic

    def release(self, release_id: ReleaseId) -> Release | None:
        with reading(self._engine) as connection:
            return _release(connection, release_id)

    def releases(self, workload: WorkloadId, *, open_only: bool = False) -> Sequence[Release]:
        query = select(releases_table).where(releases_table.c.workload == workload).order_by(releases_table.c.seq.desc())
        if open_only:
            query = query.where(releases_table.c.state.not_in([state.value for state in CLOSED]))
        with reading(self._engine) as connection:
            return [_to_release(row) for row in connection.execute(query)]

    def save_release(self, release: Release, entry: JournalEntry, *, expected: Release | None, route: Route | None = None) -> bool:
        with writing(self._engine) as connection:
            # Both conditions are looked at before anything is written: nothing needs to be undone.
            if _release(connection, release.id) != expected:
                return False
            if route is not None and not _follows(connection, route):
                return False
            if expected is None:
                connection.execute(insert(releases_table).values(**_from_release(release)))
            else:
                connection.execute(update(releases_table).where(releases_table.c.id == release.id).values(**_from_release(release)))
            append_entries(connection, entry)
            if route is not None:
                line = route_line(route, actor=entry.actor, reason=entry.reason, at=entry.at, caused_by=release.id)
                self._keep_route(connection, route, line)
            return True

    def route(self, workload: WorkloadId) -> Route | None:
        with reading(self._engine) as connection:
            return _route(connection, workload)

    def routes(self) -> Sequence[Route]:
        with reading(self._engine) as connection:
            return [_to_route(row) for row in connection.execute(select(routes_table).order_by(routes_table.c.workload))]

    def save_route(self, route: Route, entry: JournalEntry) -> bool:
        with writing(self._engine) as connection:
            if not _follows(connection, route):
                return False
            self._keep_route(connection, route, entry)
            return True

    def _keep_route(self, connection: Connection, route: Route, entry: JournalEntry) -> None:
        values = {
            "alias": route.alias,
            "version": route.version,
            "champion": route.champion,
            "challenger": route.challenger,
            "challenger_arm": route.challenger_arm.value if route.challenger_arm else None,
            "share": route.share,
            "salt": route.salt,
            "changed_at": to_text(route.changed_at) if route.changed_at else None,
        }
        if route.version == 1:
            connection.execute(insert(routes_table).values(workload=route.workload, **values))
        else:
            connection.execute(update(routes_table).where(routes_table.c.workload == route.workload).values(**values))
        append_entries(connection, entry)
        put_messages(connection, _event(route, topic=self._topic, at=entry.at))


def _event(route: Route, *, topic: str, at: datetime) -> OutboxMessage:
    event_id = derive("route", route.workload, route.version)
    value = encode(type=ROUTE_TYPE, id=event_id, workload=route.workload, time=at, data=to_wire(route), partitionkey=route.workload)
    return OutboxMessage(id=event_id, topic=topic, key=route.workload, value=value, created_at=at)


def _follows(connection: Connection, route: Route) -> bool:
    kept = _route(connection, route.workload)
    return route.version == (kept.version if kept else 0) + 1


def _release(connection: Connection, release_id: ReleaseId) -> Release | None:
    row = connection.execute(select(releases_table).where(releases_table.c.id == release_id)).first()
    return None if row is None else _to_release(row)


def _route(connection: Connection, workload: WorkloadId) -> Route | None:
    row = connection.execute(select(routes_table).where(routes_table.c.workload == workload)).first()
    return None if row is None else _to_route(row)


def _from_release(release: Release) -> dict[str, object]:
    values: dict[str, object] = {field.name: getattr(release, field.name) for field in fields(release)}
    values |= {"state": release.state.value, "since": to_text(release.since)}
    values["step_since"] = to_text(release.step_since) if release.step_since else None
    return values


def _to_release(row: Row[tuple[object, ...]]) -> Release:
    return Release(
        id=ReleaseId(row.id),
        workload=WorkloadId(row.workload),
        adapter=AdapterName(row.adapter),
        state=ReleaseState(row.state),
        since=to_moment(row.since),
        reason=row.reason,
        actor=Person(row.actor),
        step=row.step,
        gate=row.gate,
        overridden_by=Person(row.overridden_by) if row.overridden_by else None,
        approved_by=Person(row.approved_by) if row.approved_by else None,
        step_since=to_moment(row.step_since) if row.step_since else None,
        replaced=AdapterName(row.replaced) if row.replaced else None,
    )


def _to_route(row: Row[tuple[object, ...]]) -> Route:
    return Route(
        workload=WorkloadId(row.workload),
        alias=row.alias,
        version=row.version,
        champion=AdapterName(row.champion),
        challenger=AdapterName(row.challenger) if row.challenger else None,
        challenger_arm=Arm(row.challenger_arm) if row.challenger_arm else None,
        share=row.share,
        salt=row.salt,
        changed_at=to_moment(row.changed_at) if row.changed_at else None,
    )
