"""The first failure per session and day, determined and stored in the transaction that records the rows.

In: rows that were not recorded before. Out: the same rows with their first failures among the column values, which are decided by
``flywheel.traffic.first_failures``.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from sqlalchemy import Connection, insert, select

from flywheel.ids import EventId
from flywheel.traffic.first_failures import candidates, day_of, with_first_failures
from flywheel.traffic.inference import Arm
from services.ports.traffic import RecordedInference
from services.stores.database import in_parts
from services.stores.traffic.tables import session_firsts

Counted = tuple[str, str, str, str]
"""(workload, session, day, column that counts it)"""


def with_first_failures_marked(connection: Connection, fresh: Mapping[EventId, RecordedInference]) -> dict[EventId, RecordedInference]:
    """In the order of the clock within a batch. Shadow answers reach no statistic and are left as they are."""
    found = dict(fresh)
    in_order = sorted((row for row in fresh.values() if row.inference.arm is not Arm.SHADOW), key=lambda row: row.inference.occurred_at)
    bad = {row.inference.event_id: candidates(row.features) for row in in_order}
    counted = _counted(connection, {(row.inference.workload, row.inference.session) for row in in_order if bad[row.inference.event_id]})
    news: list[Counted] = []
    for row in in_order:
        one, first = row.inference, []
        for name in bad[one.event_id]:
            key = (one.workload, one.session, day_of(one.occurred_at), name)
            if key not in counted:
                counted.add(key)
                news.append(key)
                first.append(name)
        found[one.event_id] = replace(row, features=with_first_failures(row.features, first))
    if news:
        names = [column.name for column in session_firsts.columns]
        connection.execute(insert(session_firsts), [dict(zip(names, key, strict=True)) for key in sorted(news)])
    return found


def _counted(connection: Connection, sessions: Iterable[tuple[str, str]]) -> set[Counted]:
    """On whatever day."""
    of_workload: dict[str, list[str]] = {}
    for workload, session in sorted(sessions):
        of_workload.setdefault(workload, []).append(session)
    one = session_firsts.c
    held: set[Counted] = set()
    for workload, named in of_workload.items():
        for part in in_parts(named):
            query = select(session_firsts).where(one.workload == workload, one.session.in_(part))
            held.update((row.workload, row.session, row.day, row.counted_in) for row in connection.execute(query))
    return held
