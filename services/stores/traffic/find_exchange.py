"""Finds the exchange that an id names: ours, the completion's, or the one that the client gave.

In: the id, and the workload. Out: a row of ``inferences``. The ids are looked up in this order, and the first that is known wins.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, String, and_, func, literal_column, select

from flywheel.ids import WorkloadId
from flywheel.traffic.inference import Arm
from services.stores.database import in_parts
from services.stores.traffic.tables import HAS_CLIENT_REQUEST_ID, HAS_COMPLETION_ID, inferences


def row_named(connection: Connection, id: str, *, workload: WorkloadId) -> Row[Any] | None:
    """The last attempt that has an answer; when all failed, the last one. A client may use an id again: its newest request is meant."""
    one = inferences.c
    failed = and_(one.answer.is_(None), func.coalesce(one.answered, False).is_(False))
    latest = (failed, one.attempt.desc(), one.event_id)
    # the plus keeps SQLite from walking through all rows by time instead of using the id's index
    by_time = literal_column("+inferences.occurred_at", String).desc()
    wanted = select(inferences).where(one.workload == workload, one.arm != Arm.SHADOW).limit(1)
    queries = (
        wanted.where(one.request_id == id).order_by(*latest),
        wanted.where(one.completion_id == id, HAS_COMPLETION_ID).order_by(*latest),
        wanted.where(one.client_request_id == id, HAS_CLIENT_REQUEST_ID).order_by(by_time, *latest),
    )
    return next((row for query in queries if (row := connection.execute(query).first()) is not None), None)


def named_among(connection: Connection, ids: Sequence[str], *, workload: WorkloadId) -> set[str]:
    """The ids under which ``row_named`` finds a row."""
    one, found = inferences.c, set[str]()
    same_workload = literal_column("+inferences.workload", String) == workload  # the plus: as in ``row_named``
    for part in in_parts(ids):
        queries = (
            select(one.request_id).where(one.request_id.in_(part)),
            select(one.completion_id).where(one.completion_id.in_(part), HAS_COMPLETION_ID),
            select(one.client_request_id).where(one.client_request_id.in_(part), HAS_CLIENT_REQUEST_ID),
        )
        for query in queries:
            found.update(connection.execute(query.where(same_workload, one.arm != Arm.SHADOW).distinct()).scalars())
    return found
